"""All figures about one anonymized video, per face, beside what the original scores."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from dp3_lightning.anonymize.planning.plan import Plan
from dp3_lightning.evaluation.identity import TrackEmbeddings, flicker_figure, identity_figures
from dp3_lightning.evaluation.meshes import mesh_figures
from dp3_lightning.evaluation.tools import Tools
from dp3_lightning.evaluation.views import VIEW, FaceView, face_views
from dp3_lightning.evaluation.watching import FacesOfFrames, Watched, watch
from dp3_lightning.faces.analysis import file_hash
from dp3_lightning.metrics import (
    PictureFeatures,
    average_precision,
    correlation,
    detection_auc,
    flicker,
    flow_difference,
    frechet_distance,
    head_pose,
    high_frequency_share,
    kernel_distance,
    kernel_distance_interval,
    mouth_opening,
    perceptual_difference,
    seam_visibility,
    sharpness,
    total_variation,
    touched_region,
    warping_errors,
)
from dp3_lightning.structures import Detection, FloatArray
from dp3_lightning.video import VideoReader

_RING = 16 / VIEW  # of the view: the width of the ring around the face
_BATCH = 32
# Of Wang et al. 2003 the three finest scales, which the inside of a face has pixels for.
_MS_SSIM_WEIGHTS = (0.0710, 0.4530, 0.4760)
_LEAST_SSIM = 11  # pixels, SSIM's window
_MOST_PSNR = 100.0  # dB; a face that was not touched at all has infinitely much
_LEAST_MS_SSIM = 6 * 2 ** (len(_MS_SSIM_WEIGHTS) - 1)  # what three scales of a 7 px kernel need


@dataclass(frozen=True)
class FaceFigures:
    """Figures about one face.

    Attributes:
        person: label in the plan.
        frames: first and last frame.
        values: name to figure; NaN where it has no meaning for this face.
        embeddings: of the recogniser, for figures over many people; never written anywhere.
        features: of output and original ``(n, D)``, for figures over many faces.
    """

    person: str
    frames: tuple[int, int]
    values: dict[str, float]
    embeddings: TrackEmbeddings | None = None
    features: tuple[FloatArray, FloatArray] | None = None


def evaluate_pair(
    original: str | Path,
    output: str | Path,
    plan: Plan,
    tools: Tools | None = None,
    known: FacesOfFrames | None = None,
) -> list[FaceFigures]:
    """Measure an anonymized video against its original, face by face.

    Args:
        original: the source.
        output: its anonymized copy, with as many frames.
        plan: where faces are in the original.
        tools: what to measure with; default: what is at hand.
        known: faces found in frames of the original; taken from and added to, so that they are
            not looked for again when another output of the same original is measured.

    Returns:
        One entry per track of at least eight frames.

    Raises:
        ValueError: the two have unequal numbers of frames or sizes, or the plan is of another
            video, or has no such track.
    """
    tools = tools or Tools.at_hand()
    with VideoReader(original) as real, VideoReader(output) as made:
        if len(real) != len(made) or real.size != made.size:
            raise ValueError(
                f"Expected {str(output)!r} to have the {len(real)} frames of {real.size} of its "
                f"original, got {len(made)} of {made.size}."
            )
        _check_plan(plan, Path(original), real)
        views = face_views(plan, len(real))
        if not views:
            raise ValueError("No face is followed for eight frames: nothing can be measured.")
        found = (FacesOfFrames() if known is None else known, FacesOfFrames())
        return [_figures(view, watch(view, (real, made), tools, found), tools) for view in views]


def _check_plan(plan: Plan, original: Path, video: VideoReader) -> None:
    if plan.n_frames != len(video):
        raise ValueError(f"The plan has {plan.n_frames} frames, the video {len(video)}.")
    if tuple(plan.size) != tuple(video.size):
        raise ValueError(f"The plan is of frames of {plan.size}, the video has {video.size}.")
    if plan.sha256 and plan.sha256 != file_hash(original):
        raise ValueError(
            f"The plan is of {plan.video!r} with another content than {original.name!r}: give the "
            "plan that was made of this video."
        )


@torch.no_grad()
def _figures(view: FaceView, seen: Watched, tools: Tools) -> FaceFigures:
    before, after, embeddings = seen.before, seen.after, seen.embeddings
    features = None
    if tools.features is not None:
        features = (tools.features.of(_batches(after)), tools.features.of(_batches(before)))
    values = {
        **_temporal(after, before, view, tools),
        **_quality(after, before, view),
        **_leaks(after, before, view, tools),
        **_utility(seen, view, tools),
    }
    if seen.meshes is not None:
        values |= mesh_figures(seen.meshes)
    if tools.features is not None and features is not None:
        values |= _distributions(features, tools.features)
    if tools.fake_detector is not None:
        scores = [
            torch.cat([tools.fake_detector(b) for b in _batches(clip)]).double().cpu().numpy()
            for clip in (before, after)
        ]
        values["detector AUC"] = detection_auc(*scores)
    if tools.embedder is not None and embeddings is not None:
        values |= identity_figures(embeddings, tools.embedder.threshold)
        values["identity flicker"] = flicker_figure(seen.following)
    span = (view.first, view.first + len(view) - 1)
    return FaceFigures(view.person, span, values, embeddings, features)


def _distributions(
    features: tuple[FloatArray, FloatArray], by: PictureFeatures
) -> dict[str, float]:
    """Distances of the features of output and original, with the interval of the kernel's."""
    low, high = kernel_distance_interval(*features)
    values = {
        by.kernel: kernel_distance(*features),
        f"{by.kernel}, low": low,
        f"{by.kernel}, high": high,
    }
    if len(features[0]) > features[0].shape[1]:  # else the covariances have not full rank
        values[by.frechet] = frechet_distance(*features)
    return values


def _temporal(made: Tensor, real: Tensor, view: FaceView, tools: Tools) -> dict[str, float]:
    face, ring = view.region(), view.region(-_RING) - view.region()
    valid = view.pair_valid
    values = {
        "excess warping error": 1e4 * warping_errors(made, real, face, tools.flow, valid).excess,
        "excess warping error, ring": 1e4
        * warping_errors(made, real, ring, tools.flow, valid).excess,
        "excess warping error, view": 1e4
        * warping_errors(made, real, torch.ones_like(face), tools.flow, valid).excess,
        "tOF": flow_difference(made, real, face, tools.flow, valid),
        "flicker": _share(flicker(made, face, valid), flicker(real, face, valid)),
    }
    if tools.perceptual is not None:
        values["tLP"] = perceptual_difference(made, real, tools.perceptual, valid)
    return values


def _batches(clip: Tensor) -> Iterator[Tensor]:
    for start in range(0, len(clip), _BATCH):
        yield clip[start : start + _BATCH]


def _quality(made: Tensor, real: Tensor, view: FaceView) -> dict[str, float]:
    # Without the border of the box: a hard edge there would count as sharpness.
    inside = view.region(inset=0.15)
    figures = {
        "sharpness": sharpness,
        "high frequencies": high_frequency_share,
        "total variation": total_variation,
    }
    values = {name: _share(f(made, inside), f(real, inside)) for name, f in figures.items()}
    border = touched_region(made, real)
    values["seam"] = _share(seam_visibility(made, border), seam_visibility(real, border))
    scale = (view.windows[:, 2] - view.windows[:, 0]) / VIEW
    sides = (view.boxes[:, 2:] - view.boxes[:, :2]).max(axis=1)
    values["face size"] = float(np.median(sides * scale))
    return values


def _share(value: float, of: float) -> float:
    return value / of if of > 0 else math.nan


def _leaks(made: Tensor, real: Tensor, view: FaceView, tools: Tools) -> dict[str, float]:
    """How alike the insides of the two faces are, pixel by pixel."""
    seen = torch.nonzero(view.region(inset=0.15).amin((0, 1)))
    if not len(seen):  # no part of the face is in the picture all the time
        return {}
    (y0, x0), (y1, x1) = seen.amin(0).tolist(), (seen.amax(0) + 1).tolist()
    fake, true = (clip[..., y0:y1, x0:x1] for clip in (made, real))
    if min(fake.shape[-2:]) < _LEAST_SSIM:
        return {}
    psnr = float(peak_signal_noise_ratio(fake, true, 2.0))
    values = {"interior PSNR": min(psnr, _MOST_PSNR)}
    similarity = structural_similarity_index_measure(fake, true, data_range=2.0)
    assert isinstance(similarity, Tensor)
    values["interior SSIM"] = float(similarity)
    if min(fake.shape[-2:]) > _LEAST_MS_SSIM:
        several = multiscale_structural_similarity_index_measure(
            fake, true, kernel_size=7, sigma=1.0, data_range=2.0, betas=_MS_SSIM_WEIGHTS
        )
        values["interior MS-SSIM"] = float(several)
    if tools.perceptual is not None:
        pairs = zip(_batches(fake), _batches(true), strict=True)
        gaps = torch.cat([tools.perceptual(a, b).flatten() for a, b in pairs])
        values["interior perceptual distance"] = float(gaps.mean())
    return values


def _where_found(
    faces: Sequence[tuple[Detection | None, Detection | None]],
) -> tuple[list[list[Detection]], list[list[Detection]]]:
    """Original and output, of the frames in which the original's face is found."""
    known = [(before, after) for before, after in faces if before is not None]
    return [[before] for before, _ in known], [[] if a is None else [a] for _, a in known]


def _utility(seen: Watched, view: FaceView, tools: Tools) -> dict[str, float]:
    boxes = view.boxes.tolist()
    found: list[bool] = []
    errors: list[float] = []
    poses: list[float] = []
    for before, after in seen.faces:
        found.append(after is not None)
        if before is not None and after is not None and before.landmarks and after.landmarks:
            marks = np.array(before.landmarks), np.array(after.landmarks)
            eyes = float(np.linalg.norm(marks[0][0] - marks[0][1]))
            gap = np.linalg.norm(marks[0] - marks[1], axis=1).mean()
            errors.append(float(gap) / max(eyes, 1e-6))
            angles = [np.array(head_pose(m)) for m in (before.landmarks, after.landmarks)]
            poses.append(float(np.abs(angles[0] - angles[1]).mean()))
    return {
        "face found": float(np.mean(found)),
        "detections kept": average_precision(*_where_found(seen.faces)),
        "landmark error": float(np.mean(errors)) if errors else math.nan,
        "pose error": float(np.mean(poses)) if poses else math.nan,
        "mouth correlation": correlation(
            mouth_opening(seen.before, boxes, tools.flow),
            mouth_opening(seen.after, boxes, tools.flow),
        ),
    }
