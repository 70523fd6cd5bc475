"""Find small faces in large frames: search overlapping tiles as well as the whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dp3_lightning.faces.tracker import pairwise_iou
from dp3_lightning.structures import Detection, FaceDetector, FloatArray, UInt8Array

_SAME = 0.4  # intersection over union, or
_INSIDE = 0.7  # share of the smaller box inside the larger, from which two boxes are one face
_HARDLY_LARGER = 1.3  # in area, than the surer box inside: beyond that, both are kept


class TiledDetector:
    """Run a detector on the whole frame and on overlapping tiles, and merge the results.

    A detector that shrinks frames to 640 pixels sees Full HD at a third of its size, and two tiles
    of it at 0.58, for three times the work.

    Args:
        detector: any face detector.
        tiles: tiles along the longer side; along the shorter as many as keep them about square.
        overlap: share of a tile that the next one covers too; faces larger than that are left to
            the whole frame.

    Attributes:
        name: encodes everything that changes the answers.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, detector: FaceDetector, tiles: int = 2, overlap: float = 0.25) -> None:
        if tiles < 1:
            raise ValueError(f"Expected `tiles` >= 1, got {tiles}.")
        if not 0 <= overlap < 1:
            raise ValueError(f"Expected `overlap` in [0, 1), got {overlap}.")
        self.detector, self.tiles, self.overlap = detector, tiles, overlap
        self.name = f"{detector.name}-tiles{tiles}-overlap{overlap:g}"

    def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
        """Detect faces; as the inner detector, boxes in pixels of the whole frame."""
        return [self._detect(frame) for frame in frames]

    def _detect(self, frame: UInt8Array) -> list[Detection]:
        places = tile_corners(frame.shape[:2], self.tiles, self.overlap)
        parts = [np.ascontiguousarray(frame[y0:y1, x0:x1]) for x0, y0, x1, y1 in places]
        (found,) = self.detector([frame])
        for (x0, y0, _, _), detections in zip(places, self.detector(parts), strict=True):
            found = found + [_shifted(d, x0, y0) for d in detections]
        return merge(found)


def tile_corners(
    size: Sequence[int], tiles: int, overlap: float
) -> list[tuple[int, int, int, int]]:
    """Lay out tiles ``(x0, y0, x1, y1)`` over a frame of ``(height, width)``; they cover it.

    >>> tile_corners((100, 100), tiles=1, overlap=0.25)
    []
    """
    height, width = int(size[0]), int(size[1])
    side = max(height, width) / (tiles - (tiles - 1) * overlap)
    corners = []
    for y0, y1 in _spans(height, side, overlap):
        corners += [(x0, y0, x1, y1) for x0, x1 in _spans(width, side, overlap)]
    return corners if len(corners) > 1 else []


def _spans(length: int, side: float, overlap: float) -> list[tuple[int, int]]:
    if side >= length:
        return [(0, length)]
    count = int(np.ceil((length - side * overlap) / (side * (1 - overlap)) - 1e-9))
    starts = np.linspace(0, length - side, count)
    return [(int(s), min(int(np.ceil(s + side)), length)) for s in starts]


def _shifted(detection: Detection, x: float, y: float) -> Detection:
    x0, y0, x1, y1 = detection.box
    marks = detection.landmarks
    moved = None if marks is None else tuple((a + x, b + y) for a, b in marks)
    return Detection((x0 + x, y0 + y, x1 + x, y1 + y), detection.score, moved)


def merge(found: Sequence[Detection]) -> list[Detection]:
    """Keep one detection per face, best score first."""
    waiting = sorted(found, key=lambda d: -d.score)
    kept: list[Detection] = []
    for detection in waiting:
        box = np.array([detection.box])
        others = np.array([d.box for d in kept]).reshape(-1, 4)
        if not len(others) or not _one_face(box, others).any():
            kept.append(detection)
    return kept


def _one_face(box: FloatArray, others: FloatArray) -> np.ndarray:
    low = np.maximum(box[:, :2], others[:, :2])
    high = np.minimum(box[:, 2:], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    smaller = np.minimum((box[:, 2:] - box[:, :2]).prod(1), (others[:, 2:] - others[:, :2]).prod(1))
    inside = shared / np.maximum(smaller, 1e-9) > _INSIDE
    # A surer find inside a larger box, an eye or a nose, must not take the face's place.
    areas = (others[:, 2:] - others[:, :2]).prod(1)
    inside &= (box[:, 2:] - box[:, :2]).prod(1) <= areas * _HARDLY_LARGER
    same: np.ndarray = (pairwise_iou(box, others)[0] > _SAME) | inside
    return same
