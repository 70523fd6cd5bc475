"""Compute windows, crops and holes from a face box, by DeepPrivacy2's geometry.

Reproduces DeepPrivacy2's integer arithmetic, peculiarities included, because its published weights
were trained behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from dp3_lightning.structures import UInt8Array, Window

ExpansionRule = Literal["fdf128", "fdf256"]


def _simple_window(box: Sequence[float], factor: float) -> Window:
    x0, y0, x1, y1 = (float(v) for v in box)
    center_x, center_y = int(x0) + (x1 - x0) // 2, int(y0) + (y1 - y0) // 2
    half = max(x1 - x0, y1 - y0) * factor // 2
    return (
        int(center_x - half),
        int(center_y - half),
        int(center_x + half),
        int(center_y + half),
    )


def expand_fdf256(box: Sequence[float]) -> Window:
    """Return the square window of 1.4 times the longer side around a box; it may leave the frame.

    Args:
        box: ``(x0, y0, x1, y1)`` in pixels.
    """
    return _simple_window(box, 1.4)


def _fit(start: int, length: int, limit: int) -> int:
    """Shift an interval back into ``[0, limit)``, first at 0, then at the far edge."""
    start = max(0, start)
    return limit - length if start + length > limit else start


def _squared(box: Sequence[int], height: int, width: int) -> tuple[int, int, int, int]:
    """Grow the shorter side to the longer; where the frame ends, shrink the longer instead."""
    start = [int(box[0]), int(box[1])]
    side = [int(box[2] - box[0]), int(box[3] - box[1])]
    limit = (width, height)
    short = 0 if side[0] < side[1] else 1
    difference = side[1 - short] - side[short]
    if side[short] + difference > limit[short]:
        shrink = side[1 - short] - limit[short]
        start[short], side[short] = 0, limit[short]
        start[1 - short] += shrink // 2
        side[1 - short] = limit[short]
    else:
        side[short] += difference
        start[short] = _fit(start[short] - difference // 2, side[short], limit[short])
    return start[0], start[1], side[0], side[1]


def expand_fdf128(box: Sequence[float], frame_size: Sequence[int]) -> Window:
    """Return the square window that FDF128's models expect; it stays in the frame where it can.

    Args:
        box: ``(x0, y0, x1, y1)`` in pixels; rounded to integers first, as DeepPrivacy2 does.
        frame_size: ``(height, width)``.
    """
    height, width = int(frame_size[0]), int(frame_size[1])
    rounded = [round(float(v)) for v in box]
    x, y, w, h = _squared(rounded, height, width)
    grow = min(int(max(w, h) * 0.35), (height - w) // 2, (width - h) // 2)
    w, h = w + 2 * grow, h + 2 * grow
    x, y = _fit(x - grow, w, width), _fit(y - grow, h, height)
    window = (x, y, x + w, y + h)
    contains = (
        window[0] <= rounded[0]
        and window[1] <= rounded[1]
        and window[2] >= rounded[2]
        and window[3] >= rounded[3]
    )
    inside = x >= 0 and y >= 0 and x + w <= width and y + h <= height
    fits = max(rounded[2] - rounded[0], rounded[3] - rounded[1]) <= min(height, width)
    if w != h or not (contains and inside and fits):
        return _simple_window(rounded, 1.70)
    return window


def expand_box(box: Sequence[float], frame_size: Sequence[int], rule: ExpansionRule) -> Window:
    """Return the crop window of a face box by the rule of the model family.

    >>> expand_box((40, 40, 60, 60), (100, 100), "fdf256")
    (36, 36, 64, 64)

    Args:
        box: ``(x0, y0, x1, y1)`` in pixels, x1/y1 exclusive.
        frame_size: ``(height, width)`` of the frame.
        rule: ``fdf128`` or ``fdf256``.

    Returns:
        ``(x0, y0, x1, y1)`` integers; may leave the frame.
    """
    if rule == "fdf256":
        return expand_fdf256([round(float(v)) for v in box])
    return expand_fdf128(box, frame_size)


def cut(frame: UInt8Array, window: Window) -> UInt8Array:
    """Cut a window out of a ``(H, W, 3)`` frame; what lies outside the frame is black.

    >>> cut(np.full((4, 4, 3), 9, np.uint8), (-1, 0, 2, 1))[0, :, 0].tolist()
    [0, 9, 9]
    """
    x0, y0, x1, y1 = window
    height, width = frame.shape[:2]
    if x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height:
        return frame[y0:y1, x0:x1]
    canvas = np.zeros((y1 - y0, x1 - x0, *frame.shape[2:]), dtype=frame.dtype)
    left, top, right, bottom = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    if right > left and bottom > top:
        canvas[top - y0 : bottom - y0, left - x0 : right - x0] = frame[top:bottom, left:right]
    return canvas


def resize(crop: UInt8Array, size: Sequence[int]) -> UInt8Array:
    """Resize ``(h, w, 3)`` uint8 to ``size`` (height, width): bicubic up, area average down."""
    height, width = int(size[0]), int(size[1])
    if crop.shape[:2] == (height, width):
        return np.ascontiguousarray(crop)
    if crop.shape[0] * crop.shape[1] < height * width:
        image = torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1)[None].float()
        enlarged = F.interpolate(
            image, (height, width), mode="bicubic", align_corners=False, antialias=True
        )
        result: UInt8Array = (
            enlarged[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
        )
        return result
    if crop.shape[0] % height and crop.shape[1] % width:
        # The same sums in a quarter less time; whole ratios have a faster kernel of their own.
        areas = cv2.resize(crop.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        rounded: UInt8Array = np.rint(areas).astype(np.uint8)
        return rounded
    shrunk: UInt8Array = cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA)
    return shrunk


def crop_frame(frame: UInt8Array, window: Window, size: Sequence[int]) -> UInt8Array:
    """Cut a window out of a frame and bring it to the network's size.

    Args:
        frame: ``(H, W, 3)`` uint8 RGB.
        window: ``(x0, y0, x1, y1)`` integers; may leave the frame.
        size: ``(height, width)`` of the result.

    Returns:
        ``(height, width, 3)`` uint8.
    """
    return resize(cut(frame, window), size)


def box_in_crop(box: Sequence[float], window: Window, size: Sequence[int]) -> np.ndarray:
    """Return a box in pixels of the crop, ``(4,)`` float64, not rounded, not clipped.

    DeepPrivacy2 scales both axes by ``height / window width``.

    >>> box_in_crop((20, 20, 30, 30), (10, 10, 50, 50), (80, 80)).tolist()
    [20.0, 20.0, 40.0, 40.0]
    """
    scale = size[0] / (window[2] - window[0])
    corner = np.array([window[0], window[1]] * 2)
    shifted: np.ndarray = (np.asarray(box, dtype=np.float64) - corner) * scale
    return shifted


def hole_mask(box: Sequence[float], size: Sequence[int]) -> np.ndarray:
    """Return the keep mask of a box in crop pixels: 0 inside (truncated to integers), 1 outside.

    >>> hole_mask((1, 0, 3, 1), (2, 4)).tolist()
    [[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]]

    Args:
        box: ``(x0, y0, x1, y1)`` in pixels of the crop.
        size: ``(height, width)``.

    Returns:
        ``(height, width)`` float32.
    """
    height, width = int(size[0]), int(size[1])
    x0, y0, x1, y1 = (int(v) for v in box)
    mask = np.ones((height, width), dtype=np.float32)
    mask[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = 0
    return mask
