"""Fit a drawn person's face into the real head: its size and place, and no wider than the head.

Eyes, nose and mouth keep the drawn person's own proportions. What is taken from the real face is
what its silhouette in the frame shows anyway.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dp3_lightning.faces.expression import BROWS, EYES, LIPS_OUTER, NOSE, OVAL
from dp3_lightning.structures import FloatArray

_LEAST_SCALE, _MOST_SCALE = 0.82, 1.12
_WIDER = 1.03  # of the real outline: how far the drawn one may reach
_SMOOTH = 0.01
_ANCHORS = (*EYES, *LIPS_OUTER, *NOSE, *BROWS)


@dataclass(frozen=True)
class FittedShape:
    """A drawn face at rest in the unit of the real one.

    Attributes:
        points: ``(468, 3)`` frontal.
        scale: by which the drawn face was scaled.
    """

    points: FloatArray = field(repr=False)
    scale: float


def fit_shape(drawn: FloatArray, real: FloatArray) -> FittedShape:
    """Fit a drawn frontal face into the outline of a real one.

    Args:
        drawn: ``(468, 3)`` at rest, outer eyes 1 apart.
        real: ``(468, 3)`` at rest, outer eyes 1 apart.
    """
    ours, theirs = drawn[list(OVAL), :2], real[list(OVAL), :2]
    ratio = np.ptp(theirs, axis=0) / np.maximum(np.ptp(ours, axis=0), 1e-6)
    scale = float(np.clip(0.6 * ratio[0] + 0.4 * ratio[1], _LEAST_SCALE, _MOST_SCALE))
    points = drawn * scale
    middle = (theirs.max(0) + theirs.min(0)) / 2
    outline = points[list(OVAL), :2]
    points[:, :2] += middle - (outline.max(0) + outline.min(0)) / 2
    return FittedShape(_narrowed(points, real), scale)


def _narrowed(points: FloatArray, real: FloatArray) -> FloatArray:
    """Pull the outline in where it reaches beyond the real one, and what lies near it along."""
    outline, limit = points[list(OVAL), :2], real[list(OVAL), :2]
    center = limit.mean(0)
    reach = np.linalg.norm(outline - center, axis=1)
    angle = np.arctan2(*(outline - center).T[::-1])
    order = np.argsort(known := np.arctan2(*(limit - center).T[::-1]))
    allowed = _WIDER * np.interp(
        angle, known[order], np.linalg.norm(limit - center, axis=1)[order], period=2 * np.pi
    )
    share = np.minimum(1.0, allowed / np.maximum(reach, 1e-6))
    moves = (outline - center) * (share - 1)[:, None]
    if not np.abs(moves).max() > 0:
        return points
    # Radial basis functions: the outline moves, the features rest, what is between follows.
    controls = np.concatenate([outline, points[list(_ANCHORS), :2]])
    wanted = np.concatenate([moves, np.zeros((len(_ANCHORS), 2))])
    kernel = _distances(controls, controls) + _SMOOTH * np.eye(len(controls))
    weights = np.linalg.solve(kernel, wanted)
    moved = points.copy()
    moved[:, :2] += _distances(points[:, :2], controls) @ weights
    return moved


def _distances(a: FloatArray, b: FloatArray) -> FloatArray:
    distances: FloatArray = np.sqrt(((a[:, None] - b[None]) ** 2).sum(2) + 1e-9)
    return distances
