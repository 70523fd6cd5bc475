"""Measure the face tracks of a video and its drawn copy, pair by pair."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.quality.identities import Judge, identity_values
from benchmarks.quality.pictures import look_values, recompressed, tone_group, write_strip
from benchmarks.quality.signals import (
    FIVE,
    SEVEN,
    agreement,
    five_signals,
    frontal_correlation,
    is_judged,
    landmark_correlation,
    seven_signals,
    telling_frames,
)
from benchmarks.quality.watching import BoolArray, FrameAt, Observer, Seen
from dp3_lightning.anonymize.planning.plan import Plan
from dp3_lightning.evaluation.views import FaceView, face_views
from dp3_lightning.metrics import warping_errors
from dp3_lightning.optical_flow import FarnebackFlow
from dp3_lightning.structures import FloatArray, UInt8Array
from dp3_lightning.video import VideoReader

_STRIP = 8  # frames


class Original:
    """A clip, watched when it is first needed.

    Args:
        path: video.
        plan: where its faces are.
        observer: looks at it.
    """

    def __init__(self, path: Path, plan: Plan, observer: Observer) -> None:
        self.video, self.plan, self.observer = VideoReader(path), plan, observer
        alone = {n: dataclasses.replace(plan, tracks=[t]) for n, t in enumerate(plan.tracks)}
        found = {n: face_views(part, plan.n_frames) for n, part in alone.items()}
        self.views = {number: views[0] for number, views in found.items() if views}

    @cached_property
    def seen(self) -> dict[int, Seen]:
        """What it shows."""
        return self.observer.watch(self.video.frame, self.plan, self.views, motion_only=False)

    @cached_property
    def ceiling(self) -> dict[int, Seen]:
        """What is seen of its motion when it is recompressed."""

        def frame_at(index: int) -> UInt8Array:
            return recompressed(self.video.frame(index))

        return self.observer.watch(frame_at, self.plan, self.views, motion_only=True)

    def measure(self, drawn: Path, reference: FloatArray, strips: str) -> list[dict[str, Any]]:
        """Measure every track of a drawn copy: :func:`pair_values` of each; write strips.

        Args:
            drawn: the copy.
            reference: ``(468, 3)`` frontal mean mesh.
            strips: start of the strips' file names beside the copy; see ``write_strip``.
        """
        faces = []
        with VideoReader(drawn) as made:
            seen = self.observer.watch(made.frame, self.plan, self.views, motion_only=False)
            for number, view in self.views.items():
                real, best, own = self.seen[number], self.ceiling[number], seen[number]
                values: dict[str, Any] = pair_values(real, own, best, reference)
                values |= identities(real, own, self.observer.judges)
                values |= warping_values(self.video.frame, made.frame, view)
                faces.append({"track": number, "frames": len(view), **values})
                known = np.flatnonzero(real.trusted)
                if len(known):
                    telling = telling_frames(seven_signals(real.meshes[known], reference), _STRIP)
                    chosen = [(int(i), view.first + int(i)) for i in known[telling]]
                    pairs = [(i, self.video.frame(at), made.frame(at)) for i, at in chosen]
                    write_strip(drawn.with_name(strips.format(number)), view, pairs)
        return faces


def pair_values(real: Seen, made: Seen, best: Seen, reference: FloatArray) -> dict[str, Any]:
    """Compare what is seen of a track in the original, drawn, and recompressed.

    Returns:
        Figure to value. Motion is compared over the frames in which all three have a mesh.
    """
    values: dict[str, Any] = {"mesh found": _share(made.trusted, real.trusted)}
    for name in ("CenterFace", "YuNet"):
        values[name] = _share(*(np.isfinite(seen.boxes[name][:, 0]) for seen in (made, real)))
    both = real.trusted & made.trusted & best.trusted
    meshes = [seen.meshes[both] for seen in (real, made, best)]
    if both.any():
        for label, other in zip(("", " ceiling"), meshes[1:], strict=True):
            values[f"landmarks{label}"] = landmark_correlation(meshes[0], other)
            values[f"frontal{label}"] = frontal_correlation(meshes[0], other, reference)
        moving = [seven_signals(part, reference) for part in meshes]
        values |= agreement(SEVEN, "signals", *moving)
        values["not judged"] = [name for name in SEVEN if not is_judged(values, name)]
    known = np.logical_and.reduce([np.isfinite(s.five[:, 0, 0]) for s in (real, made, best)])
    if known.any():
        five = [five_signals(seen.five[known]) for seen in (real, made, best)]
        values |= agreement(FIVE, "five points", *five)
        values["not judged, five points"] = [n for n in FIVE if not is_judged(values, n)]
    common = sorted(real.looks.keys() & made.looks.keys())
    values |= look_values([real.looks[i] for i in common], [made.looks[i] for i in common])
    return {**values, "tone": tone_group(values["lightness"])}


def identities(real: Seen, made: Seen, judges: Sequence[Judge]) -> dict[str, float]:
    """Ask all judges about a track."""
    values: dict[str, float] = {}
    for judge in judges:
        before, after = real.embeddings[judge.name], made.embeddings[judge.name]
        common = sorted(before.keys() & after.keys())
        rows = [np.array([part[i] for i in common]) for part in (before, after)]
        values |= identity_values(judge, rows[0], rows[1])
    return values


def warping_values(real: FrameAt, made: FrameAt, view: FaceView) -> dict[str, float]:
    """Warping error in the face box, 1e-4 of squared levels, and as a share of the original's."""

    def clip(frame_at: FrameAt) -> Tensor:
        return torch.stack([view.picture(frame_at(view.first + i), i) for i in range(len(view))])

    errors = warping_errors(clip(made), clip(real), view.region(), FarnebackFlow(), view.pair_valid)
    return {
        "warping error": 1e4 * errors.output,
        "warping error, original": 1e4 * errors.original,
        "warping": errors.output / max(errors.original, 1e-12),
    }


def _share(found: BoolArray, of: BoolArray) -> float:
    return float(found[of].mean()) if of.any() else float("nan")
