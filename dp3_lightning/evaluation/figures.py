"""All figures about one anonymized video, per face, beside what the original scores."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from dp3_lightning.anonymize.plan import Plan
from dp3_lightning.assets import AssetUnavailableError, asset_path
from dp3_lightning.evaluation.views import VIEW, FaceView, face_views
from dp3_lightning.faces import CenterFace, DlibEmbedder
from dp3_lightning.faces.embedder import FaceEmbedder
from dp3_lightning.losses.perceptual import MobileNetV2Distance, lpips_distance, lpips_trunk
from dp3_lightning.metrics import (
    FeaturePool,
    correlation,
    flow_difference,
    frechet_distance,
    identity_stability,
    mouth_opening,
    sharpness,
    warping_errors,
)
from dp3_lightning.optical_flow import FarnebackFlow, FlowEstimator
from dp3_lightning.structures import Detection, FaceDetector, FloatArray, UInt8Array
from dp3_lightning.video import VideoReader

_RING = 16 / VIEW  # of the view: the width of the ring around the face
_EMBEDDED = 24  # frames of a track that are embedded, spread
_BATCH = 32


@dataclass
class Tools:
    """What the figures are measured with.

    Attributes:
        flow: for scoring; of another family than rendering and training used.
        detector: tells whether a face is still found.
        embedder: recogniser; None skips the figures of identity.
        perceptual: distance of pictures for tLP; None skips it.
        perceptual_name: what to call it.
        features: MobileNetV2 whose features are compared; None skips that.
        skipped: figure to the reason why it is left out.
    """

    flow: FlowEstimator
    detector: FaceDetector
    embedder: FaceEmbedder | None
    perceptual: nn.Module | None
    perceptual_name: str
    features: MobileNetV2Distance | None
    skipped: dict[str, str] = field(default_factory=dict)

    @classmethod
    def at_hand(cls) -> Tools:
        """Return the tools that this machine has; what is missing is named in ``skipped``."""
        skipped: dict[str, str] = {}
        embedder: FaceEmbedder | None = None
        try:
            embedder = DlibEmbedder()
        except ModuleNotFoundError as error:
            for name in ("identity distance", "TL-ID", "TG-ID"):
                skipped[name] = str(error)
        features: MobileNetV2Distance | None = None
        try:
            features = MobileNetV2Distance(asset_path("mobilenet_v2"))
        except AssetUnavailableError as error:
            skipped["MobileNetV2 Frechet"] = str(error).splitlines()[0]
        perceptual: nn.Module | None = None
        name = ""
        if lpips_trunk("alex").is_file():
            perceptual, name = lpips_distance("alex"), "LPIPS"
        elif features is not None:
            perceptual, name = features, "MobileNetV2 feature distance"
        else:
            skipped["tLP"] = "neither LPIPS's trunk nor MobileNetV2 is at hand"
        detector = CenterFace(threshold=0.5, runtime="auto")
        return cls(FarnebackFlow(), detector, embedder, perceptual, name, features, skipped)


@dataclass(frozen=True)
class FaceFigures:
    """Figures about one face.

    Attributes:
        person: label in the plan.
        frames: first and last frame.
        values: name to figure; NaN where it has no meaning for this face.
    """

    person: str
    frames: tuple[int, int]
    values: dict[str, float]


# What a figure means, and in which direction it is better; "leak" ones are better low.
MEANING = {
    "excess warping error": "face, x1e-4, beyond the original's; lower is steadier",
    "excess warping error, ring": "16 px around the face, x1e-4",
    "tOF": "difference of motion to the original, pixels; lower",
    "tLP": "difference of perceptual change to the original, x1e-2; lower",
    "TL-ID": "neighbouring frames are one person, as in the original: 1; higher",
    "TG-ID": "all frames are one person, as in the original: 1; higher",
    "sharpness": "gradient energy of the face, of the original's: 1",
    "MobileNetV2 Frechet": "distance of feature distributions to the original's; lower",
    "identity distance": "of drawn to real face; below the threshold it is the person",
    "identity distance, least": "the same, least over frames",
    "face found": "share of frames in which a face is found there; higher",
    "landmark error": "of the eyes' distance, where both faces are found; lower",
    "mouth correlation": "of the mouth's opening speed with the original's; higher",
    "interior PSNR": "dB, a leak proxy: lower is more private",
    "interior SSIM": "a leak proxy: lower is more private",
}


def evaluate_pair(
    original: str | Path, output: str | Path, plan: Plan, tools: Tools | None = None
) -> list[FaceFigures]:
    """Measure an anonymized video against its original, face by face.

    Args:
        original: the source.
        output: its anonymized copy, with as many frames.
        plan: where faces are in the original.
        tools: what to measure with; default: what is at hand.

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
        if plan.n_frames != len(real):
            raise ValueError(f"The plan has {plan.n_frames} frames, the video {len(real)}.")
        views = face_views(plan, len(real))
        if not views:
            raise ValueError("No face is followed for eight frames: nothing can be measured.")
        return [_figures(view, real, made, tools) for view in views]


def _figures(view: FaceView, real: VideoReader, made: VideoReader, tools: Tools) -> FaceFigures:
    pairs = [(real.frame(view.first + i), made.frame(view.first + i)) for i in range(len(view))]
    clips = [torch.stack([view.picture(p[k], i) for i, p in enumerate(pairs)]) for k in (0, 1)]
    before, after = clips
    values = {
        **_temporal(after, before, view, tools),
        **_quality(after, before, view, tools),
        **_utility(pairs, after, before, view, tools),
        **_identity(pairs, view, tools),
    }
    return FaceFigures(view.person, (view.first, view.first + len(view) - 1), values)


def _temporal(made: Tensor, real: Tensor, view: FaceView, tools: Tools) -> dict[str, float]:
    face, ring = view.region(), view.region(-_RING) - view.region()
    valid = view.pair_valid
    values = {
        "excess warping error": 1e4 * warping_errors(made, real, face, tools.flow, valid).excess,
        "excess warping error, ring": 1e4
        * warping_errors(made, real, ring, tools.flow, valid).excess,
        "tOF": flow_difference(made, real, face, tools.flow, valid),
    }
    if tools.perceptual is not None:
        changes = [_changes(clip, tools.perceptual) for clip in (made, real)]
        gap = (changes[0] - changes[1]).abs()[valid]
        values["tLP"] = 100 * float(gap.mean()) if len(gap) else math.nan
    return values


@torch.no_grad()
def _changes(clip: Tensor, distance: nn.Module) -> Tensor:
    """Perceptual distance of every frame to the one before, ``(T-1,)``."""
    pairs = zip(_batches(clip[:-1]), _batches(clip[1:]), strict=True)
    return torch.cat([distance(first, second).flatten() for first, second in pairs])


def _batches(clip: Tensor) -> Iterator[Tensor]:
    for start in range(0, len(clip), _BATCH):
        yield clip[start : start + _BATCH]


def _quality(made: Tensor, real: Tensor, view: FaceView, tools: Tools) -> dict[str, float]:
    inside = view.region(inset=0.15)
    original = sharpness(real, inside)
    values = {"sharpness": sharpness(made, inside) / original if original > 0 else math.nan}
    if tools.features is not None:
        pools = [FeaturePool.of(tools.features, _batches(clip)).features for clip in (made, real)]
        values["MobileNetV2 Frechet"] = frechet_distance(*pools)
    seen = torch.nonzero(inside.amax((0, 1)))
    (y0, x0), (y1, x1) = seen.amin(0).tolist(), (seen.amax(0) + 1).tolist()
    window = (..., slice(y0, y1), slice(x0, x1))
    values["interior PSNR"] = float(peak_signal_noise_ratio(made[window], real[window], 2.0))
    similarity = structural_similarity_index_measure(made[window], real[window], data_range=2.0)
    assert isinstance(similarity, Tensor)
    values["interior SSIM"] = float(similarity)
    return values


def _utility(
    pairs: Sequence[tuple[UInt8Array, UInt8Array]],
    made: Tensor,
    real: Tensor,
    view: FaceView,
    tools: Tools,
) -> dict[str, float]:
    boxes = view.boxes.tolist()
    found: list[bool] = []
    errors: list[float] = []
    for i, pair in enumerate(pairs):
        before, after = (_face_at(tools.detector, frame, view.windows[i]) for frame in pair)
        found.append(after is not None)
        if before is not None and after is not None and before.landmarks and after.landmarks:
            marks = np.array(before.landmarks), np.array(after.landmarks)
            eyes = float(np.linalg.norm(marks[0][0] - marks[0][1]))
            gap = np.linalg.norm(marks[0] - marks[1], axis=1).mean()
            errors.append(float(gap) / max(eyes, 1e-6))
    return {
        "face found": float(np.mean(found)),
        "landmark error": float(np.mean(errors)) if errors else math.nan,
        "mouth correlation": correlation(
            mouth_opening(real, boxes, tools.flow), mouth_opening(made, boxes, tools.flow)
        ),
    }


def _face_at(detector: FaceDetector, frame: UInt8Array, window: FloatArray) -> Detection | None:
    """The detected face whose middle is nearest to that of a window, and inside it."""
    (faces,) = detector([frame])
    center = (window[:2] + window[2:]) / 2
    best: tuple[float, Detection] | None = None
    for face in faces:
        middle = (np.array(face.box[:2]) + np.array(face.box[2:])) / 2
        gap = float(np.abs(middle - center).max())
        if gap < (window[2] - window[0]) / 4 and (best is None or gap < best[0]):
            best = (gap, face)
    return None if best is None else best[1]


def _identity(
    pairs: Sequence[tuple[UInt8Array, UInt8Array]], view: FaceView, tools: Tools
) -> dict[str, float]:
    if tools.embedder is None:
        return {}
    rows: list[tuple[FloatArray, FloatArray]] = []
    count = min(_EMBEDDED, len(pairs))
    for i in np.unique(np.linspace(0, len(pairs) - 1, count).astype(int)).tolist():
        scale = (view.windows[i][2] - view.windows[i][0]) / VIEW
        corner = np.tile(view.windows[i][:2], 2)
        box = (view.boxes[i] * scale + corner).tolist()
        before, after = (tools.embedder(frame, box) for frame in pairs[i])
        if before is not None and after is not None:
            rows.append((before, after))
    if len(rows) < 2:
        return dict.fromkeys(
            ("identity distance", "identity distance, least", "TL-ID", "TG-ID"), math.nan
        )
    real, made = (np.stack([row[k] for row in rows]) for k in (0, 1))
    gaps = np.linalg.norm(real - made, axis=1)
    local, whole = identity_stability(made, real)
    return {
        "identity distance": float(gaps.mean()),
        "identity distance, least": float(gaps.min()),
        "TL-ID": local,
        "TG-ID": whole,
    }
