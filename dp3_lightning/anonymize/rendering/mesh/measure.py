"""Follow the mesh of every face that will be drawn, in one pass over the frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from dp3_lightning.anonymize.planning.plan import Plan, PlannedTrack
from dp3_lightning.anonymize.rendering.mesh.motion import RawMotion
from dp3_lightning.faces.appearance import (
    fill_outline,
    lab_of,
    scaled_outline,
    skin_likeness,
)
from dp3_lightning.faces.mesh import GOOD_PRESENCE, FaceMesh, MeshFace
from dp3_lightning.structures import FloatArray, UInt8Array

_LEAST_OVERLAP = 0.35  # intersection over union of the mesh's bounds and the planned box
_ROLLS = (0.0, 0.6, -0.6, 1.2, -1.2, np.pi, 2.2, -2.2)  # radians, tried where none is known
_QUANTILES = np.array([0.75, 0.5, 0.5])  # skin in light, not in the shade of the chin
_RING = (1.12, 1.45)  # of the outline: where skin is measured, outside what will be covered
_SMALLEST = 400.0  # pixels of longer side above which skin is measured on a smaller copy


def is_drawn(track: PlannedTrack, at: int) -> bool:
    """Return whether the plan wants a face drawn in frame ``at`` of a track."""
    return track.action == "generate" and track.origins[at] != "padded"


class MotionMeter:
    """Measures the motion of all planned faces, frame by frame.

    Args:
        plan: who is where.
        mesh: finds meshes.
    """

    def __init__(self, plan: Plan, mesh: FaceMesh) -> None:
        self.plan, self.mesh = plan, mesh
        self.found = {
            number: RawMotion.empty(len(track.boxes))
            for number, track in enumerate(plan.tracks)
            if track.action == "generate"
        }
        self.failures: list[tuple[int, str, str]] = []
        self._before: dict[int, MeshFace] = {}
        self._undetected = frozenset(plan.undetected)

    def add(self, frame: UInt8Array, index: int) -> None:
        """Measure one frame; frames come in order."""
        for number, raw in self.found.items():
            track = self.plan.tracks[number]
            at = index - track.start
            if not 0 <= at < len(track.boxes):
                continue
            if index in self._undetected or not is_drawn(track, at):
                self._before.pop(number, None)
                continue
            try:
                self._measure(raw, frame, number, track.boxes[at], at)
            except Exception as error:  # fail closed: without a mesh the face stays blurred
                reason = f"the face mesh failed: {type(error).__name__}: {error}"
                self.failures.append((index, track.person, reason))
                self._before.pop(number, None)

    def _measure(
        self, raw: RawMotion, frame: UInt8Array, number: int, box: Sequence[float], at: int
    ) -> None:
        face = self._follow(frame, number, box)
        if face is None:
            self._before.pop(number, None)
            return
        around = _surroundings(frame, face.points)
        # Last: a face whose measuring fails is told to be blurred.
        self._before[number] = face
        raw.meshes[at], raw.trusted[at] = face.points, True
        raw.skin[at], raw.coverage[at], raw.chroma[at] = around

    def _follow(self, frame: UInt8Array, number: int, box: Sequence[float]) -> MeshFace | None:
        before = self._before.get(number)
        if before is not None:
            face = self.mesh.refine(frame, before.points)
            if _fits(face, box):
                return face
        for roll in _ROLLS:
            found = self.mesh.locate(frame, box, roll=roll)
            if found is None:
                return None
            if _fits(found, box):
                return found
        return None


def _fits(face: MeshFace, box: Sequence[float]) -> bool:
    """Whether a mesh can be trusted and lies on the face that was planned."""
    if face.presence < GOOD_PRESENCE or not np.isfinite(face.points).all():
        return False
    low, high = face.points[:, :2].min(0), face.points[:, :2].max(0)
    shared = np.minimum(high, box[2:]) - np.maximum(low, box[:2])
    if (shared <= 0).any():
        return False
    intersection = float(shared.prod())
    areas = float((high - low).prod()) + (box[2] - box[0]) * (box[3] - box[1])
    return intersection / max(areas - intersection, 1e-9) >= _LEAST_OVERLAP


def _surroundings(
    frame: UInt8Array, points: npt.NDArray[np.floating]
) -> tuple[FloatArray, float, float]:
    """Measure the skin around a face.

    Returns:
        CIELAB of it (lightness of the upper quarter, medians of a and b), the share of the
        surroundings that it is, and how strong the strongest colours there are.
    """
    outline = scaled_outline(points, _RING[1])
    low = np.maximum(np.floor(outline.min(0)), 0).astype(int)
    high = np.minimum(np.ceil(outline.max(0)), [frame.shape[1], frame.shape[0]]).astype(int)
    if (high - low < 4).any():
        return np.zeros(3), 0.0, np.nan
    part = frame[low[1] : high[1], low[0] : high[0]]
    scale = min(1.0, _SMALLEST / 4 / max(part.shape[:2]))
    if scale < 1:
        part = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    local = (points[:, :2] - low) * scale
    ring = fill_outline(part.shape[:2], scaled_outline(local, _RING[1]))
    ring[fill_outline(part.shape[:2], scaled_outline(local, _RING[0])) > 0] = 0
    down = local[152] - local[10]
    rows, columns = np.mgrid[0 : part.shape[0], 0 : part.shape[1]]
    eyes = local[[33, 263]].mean(0) - 0.3 * down
    ring[(columns - eyes[0]) * down[0] + (rows - eyes[1]) * down[1] < 0] = 0  # no hair
    lab = lab_of(part)
    seen = lab[ring > 0]
    outside = fill_outline(part.shape[:2], scaled_outline(local, _RING[0])) == 0
    colors = lab[outside] if outside.any() else seen
    chroma = (
        float(np.percentile(np.hypot(colors[:, 1], colors[:, 2]), 97)) if len(colors) else np.nan
    )
    if len(seen) < 10:
        return np.zeros(3), 0.0, chroma
    weights = skin_likeness(seen)
    coverage = float(weights.mean())
    if float(weights.sum()) < 3:
        return np.zeros(3), coverage, chroma
    order = np.argsort(seen, axis=0)
    sums = np.cumsum(weights[order], axis=0)
    middle = (sums < sums[-1] * _QUANTILES).sum(0)
    skin = np.array([seen[order[middle[c], c], c] for c in range(3)])
    return skin, coverage, chroma


def measure_motion(
    frames: Iterable[tuple[int, UInt8Array]],
    plan: Plan,
    mesh: FaceMesh,
    progress: Callable[[int], None] | None = None,
) -> MotionMeter:
    """Measure all faces of a video.

    Args:
        frames: index and picture, in order.
        plan: who is where.
        mesh: finds meshes.
        progress: called with the number of frames done.
    """
    meter = MotionMeter(plan, mesh)
    for index, frame in frames:
        meter.add(frame, index)
        if progress is not None:
            progress(index + 1)
    return meter
