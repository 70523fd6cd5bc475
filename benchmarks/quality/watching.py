"""Look at a video: meshes, boxes, landmarks, colours and embeddings of every face track."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from benchmarks.quality.identities import Judge
from benchmarks.quality.pictures import Look, look_of
from benchmarks.quality.signals import FivePoints
from dp3_lightning.anonymize.planning.plan import Plan
from dp3_lightning.anonymize.rendering.mesh.measure import MotionMeter
from dp3_lightning.evaluation.identity import embedded_frames
from dp3_lightning.evaluation.views import VIEW, FaceView
from dp3_lightning.faces import CenterFace, YuNet, smooth_boxes
from dp3_lightning.faces.mesh import FaceMesh
from dp3_lightning.faces.tracker import pairwise_iou
from dp3_lightning.structures import Detection, FloatArray, UInt8Array

FrameAt = Callable[[int], UInt8Array]
BoolArray = npt.NDArray[np.bool_]

_OVERLAP = 0.3  # with the original's box: the face was found
_WINDOW = 9  # frames that boxes are smoothed over


@dataclass
class Seen:
    """What one video shows of one track, a row per frame.

    Attributes:
        meshes: ``(n, 468, 3)`` pixels of the frame, where ``trusted``.
        trusted: ``(n,)`` bool.
        boxes: detector to ``(n, 4)``; NaN where it does not find the face.
        five: ``(n, 5, 2)`` dlib's landmarks, or NaN.
        looks: frame to its colours and details.
        embeddings: judge to frame to embedding.
    """

    meshes: FloatArray
    trusted: BoolArray
    boxes: dict[str, FloatArray]
    five: FloatArray
    looks: dict[int, Look] = field(default_factory=dict)
    embeddings: dict[str, dict[int, FloatArray]] = field(default_factory=dict)


class Observer:
    """Looks at videos.

    Args:
        judges: recognisers.
    """

    def __init__(self, judges: Sequence[Judge]) -> None:
        self.judges, self.mesh, self.points = judges, FaceMesh(), FivePoints()
        self.detectors = {"CenterFace": CenterFace(0.5, runtime="auto"), "YuNet": YuNet(0.6)}

    def watch(
        self, frame_at: FrameAt, plan: Plan, views: Mapping[int, FaceView], motion_only: bool
    ) -> dict[int, Seen]:
        """Follow all faces, each video on its own: nothing is known from another one but the plan.

        Args:
            frame_at: frame of the video by its index.
            plan: where faces are in the original.
            views: by number of the track.
            motion_only: leave out what does not serve to measure motion.
        """
        meter = MotionMeter(plan, self.mesh)
        detectors = {n: d for n, d in self.detectors.items() if n != "YuNet" or not motion_only}
        boxes = {
            number: {name: np.full((len(view), 4), np.nan) for name in detectors}
            for number, view in views.items()
        }
        for index in range(plan.n_frames):
            frame = frame_at(index)
            meter.add(frame, index)
            found = {name: detect([frame])[0] for name, detect in detectors.items()}  # type: ignore[operator]
            for number, at in _covering(views, index):
                for name, faces in found.items():
                    place = frame_box(views[number], at)
                    boxes[number][name][at] = at_place(faces, place)
        seen = {}
        for number, view in views.items():
            raw, n = meter.found[number], len(view)
            five = self._five(frame_at, view, boxes[number]["CenterFace"])
            meshes = raw.meshes[:n].astype(np.float64)
            seen[number] = Seen(meshes, raw.trusted[:n], boxes[number], five)
            if not motion_only:
                self._look_closer(frame_at, view, seen[number])
        return seen

    def _five(self, frame_at: FrameAt, view: FaceView, boxes: FloatArray) -> FloatArray:
        """Find dlib's points in boxes of this video's own, smoothed over time."""
        known = np.flatnonzero(np.isfinite(boxes[:, 0]))
        if not self.points.is_there or not len(known):
            return np.full((len(view), 5, 2), np.nan)
        times = np.arange(len(view))
        filled = np.stack([np.interp(times, known, side[known]) for side in boxes.T], axis=1)
        smooth = smooth_boxes(filled, _WINDOW)
        found = [
            self.points(frame_at(view.first + i), smooth[i].tolist()) for i in range(len(view))
        ]
        points = np.stack(found)
        points[~np.isfinite(boxes[:, 0])] = np.nan
        return points

    def _look_closer(self, frame_at: FrameAt, view: FaceView, seen: Seen) -> None:
        seen.embeddings = {judge.name: {} for judge in self.judges}
        for at in sorted(embedded_frames(len(view))):
            frame = frame_at(view.first + at)
            if seen.trusted[at]:
                seen.looks[at] = look_of(frame, seen.meshes[at])
            for judge in self.judges:
                vector = judge.embedder(frame, frame_box(view, at))
                if vector is not None and np.isfinite(vector).all():
                    seen.embeddings[judge.name][at] = vector


def frame_box(view: FaceView, at: int) -> list[float]:
    """Return the smoothed box of a face in pixels of the frame."""
    window = view.windows[at]
    scale = (window[2] - window[0]) / VIEW
    return [float(v) for v in view.boxes[at] * scale + np.tile(window[:2], 2)]


def _covering(views: Mapping[int, FaceView], index: int) -> Iterator[tuple[int, int]]:
    for number, view in views.items():
        if 0 <= index - view.first < len(view):
            yield number, index - view.first


def at_place(faces: Sequence[Detection], place: Sequence[float]) -> FloatArray:
    """Return the box of the detected face that lies there, or NaN."""
    if not faces:
        return np.full(4, np.nan)
    boxes = np.array([face.box for face in faces], np.float64)
    overlaps = pairwise_iou(np.array([place], np.float64), boxes)[0]
    best = int(overlaps.argmax())
    return boxes[best] if overlaps[best] >= _OVERLAP else np.full(4, np.nan)
