"""Utility: does the drawn face move as the real one did? Correlation of landmarks over time."""

from __future__ import annotations

import math

import numpy as np

from dp3_lightning.faces.expression import SIGNALS, expression_signals, frontalise, pose_angles
from dp3_lightning.structures import FloatArray

MOTION_SIGNALS = (
    "mouth opening", "mouth width", "eye opening", "brow height", "yaw", "pitch", "roll",
)  # fmt: skip

_LEAST_FRAMES = 8
_STILL = 1e-9  # of the largest value: rounding, not motion
_MOVING = 20  # percentile: coordinates that move less are left out


def column_correlations(real: FloatArray, made: FloatArray) -> FloatArray:
    """Correlate columns over rows (Pearson).

    >>> time = np.arange(8.0)[:, None]
    >>> column_correlations(time, 3 - 2 * time).tolist()
    [-1.0]

    Args:
        real: ``(n, c)`` signals over time.
        made: the same shape.

    Returns:
        ``(c,)``; 0 where only ``made`` does not move, NaN where ``real`` does not, or with fewer
        than eight rows.
    """
    if len(real) < _LEAST_FRAMES:
        return np.full(real.shape[1], np.nan)
    parts = [rows - rows.mean(axis=0) for rows in (real, made)]
    lengths = [np.sqrt((part**2).sum(axis=0)) for part in parts]
    still = [
        length <= _STILL * np.abs(rows).max(axis=0)
        for length, rows in zip(lengths, (real, made), strict=True)
    ]
    product = (parts[0] * parts[1]).sum(axis=0) / np.maximum(lengths[0] * lengths[1], 1e-300)
    answers: FloatArray = np.where(still[0], np.nan, np.where(still[1], 0.0, product))
    return answers


def landmark_correlation(real: FloatArray, made: FloatArray) -> float:
    """Correlate the coordinates of landmarks in the frame over time, and take the median.

    Args:
        real: ``(n, points, 2+)`` of the original, pixels; x and y count.
        made: the same frames of the output.

    Returns:
        In [-1, 1]; NaN with fewer than eight frames or where nothing moves.
    """
    return _median(column_correlations(_flat(real), _flat(made)))


def frontal_correlation(real: FloatArray, made: FloatArray, reference: FloatArray) -> float:
    """Correlate frontal coordinates over time: expression without the motion of the head.

    Args:
        real: ``(n, 468, 3)`` meshes in the frame.
        made: the same frames of the output.
        reference: ``(468, 3)`` frontal mesh.

    Returns:
        Median over the coordinates that move most in the real face, four fifths of them.
    """
    first, second = (_flat(frontalise(part, reference).points) for part in (real, made))
    spread = first.std(axis=0)
    moving = spread > np.percentile(spread, _MOVING)
    return _median(column_correlations(first[:, moving], second[:, moving]))


def motion_signals(meshes: FloatArray, reference: FloatArray) -> FloatArray:
    """Measure the values named in :data:`MOTION_SIGNALS` on meshes.

    Args:
        meshes: ``(n, 468, 3)`` in pixels of the frame.
        reference: ``(468, 3)`` frontal mesh, see :func:`dp3_lightning.faces.expression.mean_mesh`.

    Returns:
        ``(n, 7)``: gaps and heights in outer eye distances, angles in degrees.
    """
    faces = frontalise(meshes, reference)
    column = dict(zip(SIGNALS, expression_signals(faces.points).T, strict=True))
    angles = np.degrees(np.unwrap(np.radians(pose_angles(faces.rotation)), axis=0))
    return np.column_stack(
        [
            column["mouth_open"],
            column["mouth_width"],
            (column["eye_right"] + column["eye_left"]) / 2,
            (column["brow_right"] + column["brow_left"]) / 2,
            *angles.T,
        ]
    )


def _flat(meshes: FloatArray) -> FloatArray:
    return np.asarray(meshes[..., :2], np.float64).reshape(len(meshes), -1)


def _median(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else math.nan
