"""Cut what surrounds a face, without the face, as the context encoder looks at it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from dp3_lightning.faces.alignment import align_matrix
from dp3_lightning.structures import FloatArray, UInt8Array

_ALIGNED = 128  # pixels
_HOLE_MARGIN = 0.06  # of the box: what surrounds a face must not hold any of it


def _part(frame: UInt8Array, matrix: FloatArray) -> tuple[UInt8Array, FloatArray]:
    """Return the part of a frame that an aligned picture shows, and its upper left corner."""
    inverse = np.linalg.inv(matrix[:, :2])
    square = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]) * _ALIGNED
    corners = (square - matrix[:, 2]) @ inverse.T
    margin = 0.1 * float(np.ptp(corners, axis=0).max()) + 4
    limit = np.array([frame.shape[1], frame.shape[0]])
    low = np.clip(np.floor(corners.min(0) - margin), 0, limit - 1).astype(int)
    high = np.clip(np.ceil(corners.max(0) + margin), low + 1, limit).astype(int)
    return frame[low[1] : high[1], low[0] : high[0]], low.astype(np.float64)


def context_of(frame: UInt8Array, box: Sequence[float], five: FloatArray) -> tuple[Tensor, Tensor]:
    """Cut what surrounds a face, aligned, without the face.

    Args:
        frame: ``(H, W, 3)`` uint8 RGB.
        box: of the face; nothing inside it is looked at.
        five: ``(5, 2)`` landmarks, for the alignment only.

    Returns:
        ``(3, 128, 128)`` in [-1, 1] and ``(1, 128, 128)`` in [0, 1], 1 where it may be looked at.
    """
    matrix = align_matrix(five, _ALIGNED)
    frame, corner = _part(frame, matrix)
    matrix[:, 2] += matrix[:, :2] @ corner
    box = [box[0] - corner[0], box[1] - corner[1], box[2] - corner[0], box[3] - corner[1]]
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    known = np.ones(frame.shape[:2], np.float32)
    grow = _HOLE_MARGIN * max(box[2] - box[0], box[3] - box[1]) / 2
    x0, y0 = (max(int(np.floor(v - grow)), 0) for v in box[:2])
    x1, y1 = (max(int(np.ceil(v + grow)), 0) for v in box[2:])
    known[y0:y1, x0:x1] = 0
    masked = frame.astype(np.float32) * known[..., None]
    if scale < 0.7:  # blurred before shrinking, the mask alike, so that nothing of the hole spreads
        sigma = 0.45 * np.sqrt(1 / scale**2 - 1)
        masked = cv2.GaussianBlur(masked, (0, 0), sigma)
        known = cv2.GaussianBlur(known, (0, 0), sigma)
    stacked = np.dstack([masked, known])
    aligned = cv2.warpAffine(stacked, matrix, (_ALIGNED, _ALIGNED), flags=cv2.INTER_LINEAR)
    share = aligned[..., 3]
    levels = aligned[..., :3] / np.maximum(share, 1e-3)[..., None] / 127.5 - 1
    levels *= (share > 0.05)[..., None]
    return torch.from_numpy(levels).permute(2, 0, 1), torch.from_numpy(share)[None]
