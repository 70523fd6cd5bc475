"""Follow the mesh of one face in original and output, each on its own, and compare the two."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dp3_lightning.anonymize.planning.plan import Plan, PlannedTrack
from dp3_lightning.anonymize.rendering.mesh.measure import MotionMeter
from dp3_lightning.evaluation.views import VIEW, FaceView
from dp3_lightning.faces.expression import mean_mesh
from dp3_lightning.faces.mesh import FaceMesh
from dp3_lightning.metrics import (
    MOTION_SIGNALS,
    color_difference,
    column_correlations,
    frontal_correlation,
    landmark_correlation,
    motion_signals,
    skin_color,
)
from dp3_lightning.structures import FloatArray, UInt8Array

MESH_FIGURES = (
    "mesh found", "landmark correlation", "frontal landmark correlation",
    *(f"{name} correlation" for name in MOTION_SIGNALS),
    "skin difference", "skin lightness difference", "skin lightness, original",
)  # fmt: skip
_LEAST_FRAMES = 8
# Deviations over time below which a signal says nothing, in the order of MOTION_SIGNALS: about four
# times what recompressing a face of 225 pixels as JPEG (quality 60) adds to it. Outer eye distances
# and degrees.
_RESOLUTION = (0.01, 0.012, 0.004, 0.005, 1.0, 1.0, 0.4)


@dataclass(frozen=True)
class TrackMeshes:
    """Meshes of one track in both videos, a row per frame.

    Attributes:
        real: ``(n, 468, 3)`` of the original, pixels of the frame, where ``real_known``.
        made: the same of the output, where ``made_known``.
        real_known: ``(n,)`` bool.
        made_known: ``(n,)`` bool.
        skin: CIELAB of the skin in original and output, of some frames with both meshes.
    """

    real: FloatArray
    made: FloatArray
    real_known: npt.NDArray[np.bool_]
    made_known: npt.NDArray[np.bool_]
    skin: list[tuple[FloatArray, FloatArray]] = field(default_factory=list)


class MeshFollower:
    """Takes in frame after frame of both videos.

    Args:
        view: where the face is.
        mesh: finds meshes.
    """

    def __init__(self, view: FaceView, mesh: FaceMesh) -> None:
        boxes = [_frame_box(view, i) for i in range(len(view))]
        track = PlannedTrack(view.person, 0, boxes, ["detected"] * len(boxes))
        plan = Plan("", "", len(boxes), view.frame_size, [track])
        self._meters = (MotionMeter(plan, mesh), MotionMeter(plan, mesh))
        self._skin: list[tuple[FloatArray, FloatArray]] = []

    def add(self, index: int, pair: tuple[UInt8Array, UInt8Array], with_skin: bool) -> None:
        """Look at frame ``index`` of the track in original and output; indices are in order."""
        for meter, frame in zip(self._meters, pair, strict=True):
            meter.add(frame, index)
        found = [meter.found[0] for meter in self._meters]
        if with_skin and all(raw.trusted[index] for raw in found):
            colors = [
                skin_color(frame, raw.meshes[index].astype(np.float64))
                for frame, raw in zip(pair, found, strict=True)
            ]
            self._skin.append((colors[0], colors[1]))

    def result(self) -> TrackMeshes:
        """Return what was found."""
        real, made = (meter.found[0] for meter in self._meters)
        return TrackMeshes(
            real.meshes.astype(np.float64), made.meshes.astype(np.float64),
            real.trusted.astype(bool), made.trusted.astype(bool), self._skin,
        )  # fmt: skip


def _frame_box(view: FaceView, at: int) -> tuple[float, float, float, float]:
    window = view.windows[at]
    scale = (window[2] - window[0]) / VIEW
    x0, y0, x1, y1 = (view.boxes[at] * scale + np.tile(window[:2], 2)).tolist()
    return x0, y0, x1, y1


def mesh_figures(track: TrackMeshes) -> dict[str, float]:
    """Compare how the face moves, and the tone of its skin.

    NaN where too little is known, or where the real face moves too little to be followed.

    Args:
        track: of original and output.
    """
    values = dict.fromkeys(MESH_FIGURES, math.nan)
    if track.real_known.any():
        values["mesh found"] = float(track.made_known[track.real_known].mean())
    both = track.real_known & track.made_known
    if both.sum() >= _LEAST_FRAMES:
        real, made = track.real[both], track.made[both]
        # The person's own mean: turned to the front, it is the same for both.
        reference = mean_mesh(real)
        values["landmark correlation"] = landmark_correlation(real, made)
        values["frontal landmark correlation"] = frontal_correlation(real, made, reference)
        signals = [motion_signals(part, reference) for part in (real, made)]
        kept = np.where(signals[0].std(axis=0) < _RESOLUTION, np.nan, column_correlations(*signals))
        for name, value in zip(MOTION_SIGNALS, kept.tolist(), strict=True):
            values[f"{name} correlation"] = value
    if track.skin:
        colors = np.array(track.skin)
        gaps = [color_difference(a, b) for a, b in colors]
        values["skin difference"] = float(np.median(gaps))
        lighter = colors[:, 1, 0] - colors[:, 0, 0]
        values["skin lightness difference"] = float(np.median(lighter))
        values["skin lightness, original"] = float(np.median(colors[:, 0, 0]))
    return values
