"""Utility: does the face still do what the person did?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dp3_lightning.optical_flow import FlowEstimator
from dp3_lightning.structures import FloatArray

_MOUTH = (0.25, 0.62, 0.75, 0.98)  # of a face box: left, top, right, bottom


@torch.no_grad()
def mouth_opening(
    clip: Tensor, boxes: Sequence[Sequence[float]], estimator: FlowEstimator
) -> FloatArray:
    """Measure how fast the mouth opens or closes, from frame to frame.

    The vertical stretch of the optical flow in the mouth's part of the face box, less that of the
    whole box (the face coming nearer).

    Args:
        clip: ``(T, 3, H, W)`` in [-1, 1].
        boxes: face boxes per frame, ``(x0, y0, x1, y1)`` in pixels.
        estimator: optical flow.

    Returns:
        ``(T-1,)``, relative change of height per frame; NaN where the box has no pixels.
    """
    flow = estimator(clip[:-1], clip[1:])
    stretch = torch.nn.functional.pad(flow[:, 1].diff(dim=1), (0, 0, 0, 1)).cpu().numpy()
    speeds = np.full(len(stretch), np.nan)
    for i, field in enumerate(stretch):
        x0, y0, x1, y1 = (float(v) for v in boxes[i])
        width, height = x1 - x0, y1 - y0
        mouth = (
            x0 + _MOUTH[0] * width,
            y0 + _MOUTH[1] * height,
            x0 + _MOUTH[2] * width,
            y0 + _MOUTH[3] * height,
        )
        speeds[i] = _mean_in(field, mouth) - _mean_in(field, (x0, y0, x1, y1))
    return speeds


def _mean_in(field: np.ndarray, box: Sequence[float]) -> float:
    height, width = field.shape
    x0, y0 = max(round(box[0]), 0), max(round(box[1]), 0)
    x1, y1 = min(round(box[2]), width), min(round(box[3]), height)
    return float(field[y0:y1, x0:x1].mean()) if x0 < x1 and y0 < y1 else float("nan")


def correlation(first: FloatArray, second: FloatArray) -> float:
    """Pearson correlation over the entries where both are finite; NaN with fewer than three.

    >>> round(correlation(np.array([1.0, 2, 3]), np.array([2.0, 4, 6])), 6)
    1.0
    """
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 3 or first[both].std() == 0 or second[both].std() == 0:
        return float("nan")
    return float(np.corrcoef(first[both], second[both])[0, 1])


def head_pose(landmarks: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Estimate how a head is tilted and turned from five landmarks.

    Tilt is the angle of the line between the eyes. Turn takes the nose for a point half an eye
    distance in front of that line's middle: a rough figure, alike for all heads, so that only its
    change means anything.

    >>> head_pose([(10, 10), (20, 10), (15, 15), (12, 20), (18, 20)])
    (0.0, 0.0)

    Args:
        landmarks: ``(x, y)`` of right eye, left eye, nose, right and left corner of the mouth.

    Returns:
        ``(tilt, turn)`` in degrees; NaN where the eyes coincide.
    """
    right, left, nose = (np.asarray(point, dtype=np.float64) for point in landmarks[:3])
    across = left - right
    distance = float(np.linalg.norm(across))
    if distance == 0:
        return float("nan"), float("nan")
    along = float((nose - (right + left) / 2) @ across) / distance**2
    tilt = float(np.degrees(np.arctan2(across[1], across[0])))
    return tilt, float(np.degrees(np.arctan2(along, 0.5)))
