"""Cut a window at fractions of a pixel, and put it back by the same transform.

DeepPrivacy2 rounds its windows to whole pixels, which makes the face jump by up to a pixel from
frame to frame (a third of a pixel of the frame is several of a small crop). Here a window is four
floats. Resampling along one axis is a matrix, so any scale and offset is two products, free of
aliasing and exact in both directions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dp3_lightning.faces.crop import ExpansionRule
from dp3_lightning.structures import UInt8Array

Float32Array = npt.NDArray[np.float32]
FloatWindow = tuple[float, float, float, float]

_GROWTH = {"fdf128": 1.7, "fdf256": 1.4}  # of the longer side, as :mod:`dp3_lightning.faces.crop`
_CUBIC = -0.5  # Keys' kernel, the one of antialiased bicubic resizing


def float_window(
    box: Sequence[float], frame_size: Sequence[int], rule: ExpansionRule
) -> FloatWindow:
    """Return the square window of a face box, as :func:`expand_box` without rounding.

    Continuous in the box: a face that drifts by a tenth of a pixel moves its window by as much.

    >>> float_window((40, 40, 60, 60), (100, 100), "fdf128")
    (33.0, 33.0, 67.0, 67.0)

    Args:
        box: ``(x0, y0, x1, y1)`` in pixels.
        frame_size: ``(height, width)`` of the frame.
        rule: ``fdf128`` (kept inside the frame where it fits) or ``fdf256``.

    Returns:
        ``(x0, y0, x1, y1)``; may leave the frame.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    height, width = float(frame_size[0]), float(frame_size[1])
    longer = max(x1 - x0, y1 - y0)
    side = longer * _GROWTH[rule]
    left, top = (x0 + x1 - side) / 2, (y0 + y1 - side) / 2
    if rule == "fdf128" and longer <= min(height, width):
        side = min(side, height, width)
        left = min(max((x0 + x1 - side) / 2, 0.0), width - side)
        top = min(max((y0 + y1 - side) / 2, 0.0), height - side)
    return left, top, left + side, top + side


def _kernel(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    d = np.abs(distance)
    near = (_CUBIC + 2) * d**3 - (_CUBIC + 3) * d**2 + 1
    far = _CUBIC * d**3 - 5 * _CUBIC * d**2 + 8 * _CUBIC * d - 4 * _CUBIC
    values: npt.NDArray[np.float64] = np.where(d < 1, near, np.where(d < 2, far, 0.0))
    return values


def resampling_matrix(
    start: float, stop: float, n_in: int, n_out: int, *, outside: str = "border"
) -> Float32Array:
    """Return the matrix ``(n_out, n_in)`` that resamples one axis.

    Output sample ``j`` looks at the point ``start + (j + 0.5) / n_out * (stop - start)``, where
    input sample ``i`` covers ``[i, i + 1)``. Cubic, widened where the output is coarser.

    >>> resampling_matrix(0, 3, 3, 3).tolist()  # the input itself
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]

    Args:
        start: start of the interval, in input samples.
        stop: its end.
        n_in: number of input samples.
        n_out: number of output samples.
        outside: ``border``: the last sample continues beyond the input; ``zero``: 0 there.
    """
    step = (stop - start) / n_out
    width = max(1.0, step)
    points = start + (np.arange(n_out) + 0.5) * step
    reach = int(np.ceil(2 * width)) + 1
    nearest = np.floor(points).astype(np.int64)
    taps = nearest[:, None] + np.arange(-reach, reach + 1)
    weights = _kernel((taps + 0.5 - points[:, None]) / width)
    weights /= weights.sum(axis=1, keepdims=True)
    if outside == "zero":
        weights = np.where((taps >= 0) & (taps < n_in), weights, 0.0)
    rows = np.broadcast_to(np.arange(n_out)[:, None], taps.shape)
    matrix = np.zeros((n_out, n_in))
    np.add.at(matrix, (rows, np.clip(taps, 0, n_in - 1)), weights)
    return matrix.astype(np.float32)


def _apply(rows: Float32Array, columns: Float32Array, image: Float32Array) -> Float32Array:
    """Resample ``(h, w, c)`` by one matrix per axis."""
    height, width, channels = image.shape
    along_y = rows @ image.reshape(height, width * channels)
    stacked = along_y.reshape(len(rows), width, channels)
    result: Float32Array = np.einsum("ow,hwc->hoc", columns, stacked, optimize=True)
    return result


def cut_window(
    frame: UInt8Array, window: Sequence[float], size: Sequence[int], *, reach: int = 2
) -> Float32Array:
    """Cut a window out of a frame at fractions of a pixel; what lies outside the frame is black.

    Args:
        frame: ``(H, W, 3)`` uint8.
        window: ``(x0, y0, x1, y1)`` float, pixels of the frame.
        size: ``(height, width)`` of the result.
        reach: pixels of the result beyond the window that its kernel may look at.

    Returns:
        ``(height, width, 3)`` float32, 0 to 255, not clipped.
    """
    x0, y0, x1, y1 = (float(v) for v in window)
    margin_x = reach * max(1.0, (x1 - x0) / size[1]) + 2
    margin_y = reach * max(1.0, (y1 - y0) / size[0]) + 2
    height, width = frame.shape[:2]
    left, right = _clamped(x0 - margin_x, x1 + margin_x, width)
    top, bottom = _clamped(y0 - margin_y, y1 + margin_y, height)
    if left >= right or top >= bottom:
        return np.zeros((int(size[0]), int(size[1]), 3), np.float32)
    part = frame[top:bottom, left:right].astype(np.float32)
    rows = resampling_matrix(y0 - top, y1 - top, bottom - top, int(size[0]), outside="zero")
    columns = resampling_matrix(x0 - left, x1 - left, right - left, int(size[1]), outside="zero")
    return _apply(rows, columns, part)


def _clamped(start: float, stop: float, limit: int) -> tuple[int, int]:
    low = min(max(int(np.floor(start)), 0), limit)
    return low, min(max(int(np.ceil(stop)), low), limit)


def uncut_region(
    crop: Float32Array, window: Sequence[float], region: Sequence[int]
) -> Float32Array:
    """Resample a crop to whole pixels of the frame: the inverse of :func:`cut_window`.

    Args:
        crop: ``(h, w, c)`` float32.
        window: where it was cut.
        region: ``(x0, y0, x1, y1)`` integers, pixels of the frame.

    Returns:
        ``(y1 - y0, x1 - x0, c)`` float32.
    """
    height, width = crop.shape[:2]
    x0, y0, x1, y1 = (float(v) for v in window)
    scale_x, scale_y = width / (x1 - x0), height / (y1 - y0)
    rows = resampling_matrix(
        (region[1] - y0) * scale_y, (region[3] - y0) * scale_y, height, region[3] - region[1]
    )
    columns = resampling_matrix(
        (region[0] - x0) * scale_x, (region[2] - x0) * scale_x, width, region[2] - region[0]
    )
    return _apply(rows, columns, crop)
