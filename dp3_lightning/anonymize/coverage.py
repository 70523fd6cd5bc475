"""How much of a face was drawn over or blurred."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from dp3_lightning.structures import Detection, FloatArray, UInt8Array

COVERED = 0.9  # share of a face that must have been drawn over or blurred
_GRID = 25  # points along each side of a face at which coverage is looked at
_EYE = 0.08  # radius around an eye that must be covered, in widths of the face
_EYES = ((0.3, 0.4), (0.7, 0.4))  # of the box, where a detector gives no landmarks
_CLOSING = 5  # pixels; a blur leaves single pixels as they were, by chance

Regions = Sequence[Sequence[float]]
Mask = npt.NDArray[np.bool_]


def covered_share(box: Sequence[float], regions: Regions) -> float:
    """Return the share of a box's area that lies in any region; all ``(x0, y0, x1, y1)``."""
    edges_x = sorted({box[0], box[2], *(v for r in regions for v in (r[0], r[2]))})
    edges_y = sorted({box[1], box[3], *(v for r in regions for v in (r[1], r[3]))})
    total = max((box[2] - box[0]) * (box[3] - box[1]), 1e-9)
    covered = 0.0
    for x0, x1 in pairwise(edges_x):
        for y0, y1 in pairwise(edges_y):
            x, y = (x0 + x1) / 2, (y0 + y1) / 2
            if not (box[0] < x < box[2] and box[1] < y < box[3]):
                continue
            if any(r[0] < x < r[2] and r[1] < y < r[3] for r in regions):
                covered += (x1 - x0) * (y1 - y0)
    return covered / total


def is_covered(
    face: Detection,
    regions: Regions,
    size: Sequence[int],
    changed: tuple[UInt8Array, UInt8Array] | None = None,
) -> bool:
    """Return whether nearly all of a found face, and all of its eyes, are covered.

    A face is the oval in its box: what detectors draw around it differs by a tenth, and the corners
    show what is behind.

    Args:
        face: as found in the rendered frame.
        regions: boxes that were blurred, drawn over or let through.
        size: ``(height, width)`` of the frame; what lies outside does not count.
        changed: real and rendered frame, when pixels that differ count as covered, too.
    """
    oval, eyes = _oval(face.box), _eyes(face)
    flags = [_covered(points, regions, size, changed) for points in (oval, eyes)]
    if not len(flags[0]):
        return True
    return bool(flags[0].mean() >= COVERED and flags[1].all())


def _oval(box: Sequence[float]) -> FloatArray:
    along = (np.arange(_GRID) + 0.5) / _GRID
    x, y = (values.ravel() for values in np.meshgrid(along, along))
    inside = (x - 0.5) ** 2 + (y - 0.5) ** 2 <= 0.25
    return np.array(box[:2]) + np.stack([x, y], 1)[inside] * np.subtract(box[2:], box[:2])


def _eyes(face: Detection) -> FloatArray:
    low, extent = np.array(face.box[:2]), np.subtract(face.box[2:], face.box[:2])
    marks = face.landmarks
    centers = low + np.array(_EYES) * extent if marks is None else np.array(marks[:2])
    turns = np.arange(8) * np.pi / 4
    around = np.concatenate([np.zeros((1, 2)), np.stack([np.cos(turns), np.sin(turns)], 1)])
    points: FloatArray = (centers[:, None] + _EYE * extent[0] * around).reshape(-1, 2)
    return points


def _covered(
    points: FloatArray,
    regions: Regions,
    size: Sequence[int],
    changed: tuple[UInt8Array, UInt8Array] | None,
) -> Mask:
    """Return per point in the frame whether it is covered."""
    inside = ((points >= 0) & (points < np.array([size[1], size[0]]))).all(axis=1)
    points = points[inside]
    flags = np.zeros(len(points), bool)
    for x0, y0, x1, y1 in regions:
        x, y = points.T
        flags |= (x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1)
    if changed is not None and len(points) and not flags.all():
        columns, rows = points.astype(int).T
        x0, y0 = max(columns.min() - _CLOSING, 0), max(rows.min() - _CLOSING, 0)
        part = np.s_[y0 : rows.max() + 1 + _CLOSING, x0 : columns.max() + 1 + _CLOSING]
        differs = (changed[0][part] != changed[1][part]).any(axis=2).astype(np.uint8)
        kernel = np.ones((_CLOSING, _CLOSING), np.uint8)
        flags |= cv2.morphologyEx(differs, cv2.MORPH_CLOSE, kernel)[rows - y0, columns - x0] > 0
    return flags
