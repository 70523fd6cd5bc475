"""Looks: skin tone kept, seams that show, figures by the size and the tone of a face."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dp3_lightning.faces.appearance import face_color, lab_of
from dp3_lightning.structures import FloatArray, UInt8Array

_DARK, _LIGHT = 45.0, 65.0  # lightness of the skin
_SIZES = (32, 64, 128, 256)  # pixels of a face's longer side
_TOUCHED = 6 / 255  # of levels in [0, 1]: more than compression changes
_BAND = 3  # pixels on either side of a border that count as its surroundings


def skin_color(frame: UInt8Array, mesh: FloatArray) -> FloatArray:
    """Measure the skin of a face: the median CIELAB of cheeks and brow, ``(3,)``.

    Args:
        frame: ``(H, W, 3)`` uint8 RGB.
        mesh: ``(468, 2+)`` in its pixels.
    """
    margin = 0.25 * float(np.ptp(mesh[:, :2], axis=0).max())
    low = np.maximum(np.floor(mesh[:, :2].min(axis=0) - margin), 0).astype(int)
    high = np.ceil(mesh[:, :2].max(axis=0) + margin).astype(int)
    low = np.minimum(low, [frame.shape[1] - 1, frame.shape[0] - 1])
    part = frame[low[1] : max(high[1], low[1] + 1), low[0] : max(high[0], low[0] + 1)]
    return face_color(lab_of(part), np.asarray(mesh[:, :2], np.float64) - low)


def color_difference(first: FloatArray, second: FloatArray) -> float:
    """Measure the distance of two colours in CIELAB (delta E of CIE 1976).

    >>> color_difference(np.array([50.0, 0, 0]), np.array([53.0, 4, 0]))
    5.0
    """
    return float(np.linalg.norm(np.asarray(first, np.float64) - np.asarray(second, np.float64)))


def tone_group(lightness: float) -> str:
    """Name the tone of a skin by its CIELAB lightness.

    >>> tone_group(70.0)
    'light'
    """
    if lightness < _DARK:
        return "dark"
    return "medium" if lightness <= _LIGHT else "light"


def size_group(pixels: float) -> str:
    """Name the size of a face by the longer side of its box.

    >>> size_group(50.0)
    '32 to 64 px'
    """
    if pixels < _SIZES[0]:
        return f"under {_SIZES[0]} px"
    for low, high in pairwise(_SIZES):
        if pixels < high:
            return f"{low} to {high} px"
    return f"{_SIZES[-1]} px and more"


def by_group(values: Sequence[float], groups: Sequence[str]) -> dict[str, dict[str, float]]:
    """Take medians per group, in the order in which groups first appear.

    >>> by_group([1.0, 3.0, 5.0], ["a", "a", "b"])["a"]
    {'median': 2.0, 'n': 2}
    """
    found: dict[str, list[float]] = {}
    for value, group in zip(values, groups, strict=True):
        if math.isfinite(value):
            found.setdefault(group, []).append(value)
    return {
        name: {"median": float(np.median(rows)), "n": len(rows)} for name, rows in found.items()
    }


def touched_region(output: Tensor, original: Tensor) -> Tensor:
    """Find where an output was changed: all that lies within the outermost border of changes.

    Args:
        output: ``(T, 3, H, W)`` in [-1, 1].
        original: same shape.

    Returns:
        ``(T, 1, H, W)`` float, 1 inside; what compression alone changes is left out.
    """
    gap = (output - original).abs().mean(1) / 2
    masks = []
    for levels in gap.float().cpu().numpy():
        # A median keeps borders where they are: a pixel beside a hard edge there is no edge.
        frame = (cv2.medianBlur(np.float32(levels), 3) > _TOUCHED).astype(np.uint8)
        opened = cv2.morphologyEx(frame, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        borders, _ = cv2.findContours(opened, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        inside = cv2.drawContours(np.zeros_like(frame), borders, -1, 1, cv2.FILLED)
        masks.append(torch.from_numpy(np.asarray(inside, np.float32)))
    return torch.stack(masks)[:, None].to(output)


def seam_visibility(clip: Tensor, region: Tensor) -> float:
    """Measure how much a border stands out: steps across it, of those beside it.

    1: the border cannot be seen; more: an edge runs along it.

    >>> slope = torch.arange(12.0).expand(1, 3, 12, 12)
    >>> left = (slope[:, :1] < 6).float()
    >>> seam_visibility(slope, left), seam_visibility(slope + 9 * (1 - left), left)
    (1.0, 10.0)

    Args:
        clip: ``(T, 3, H, W)``, any range.
        region: ``(T, 1, H, W)``, 1 or 0; its border is looked at.

    Returns:
        Mean absolute step between neighbours on both sides of the border, divided by that between
        neighbours within three pixels of it on one side; NaN without a border, or where nothing
        beside it changes.
    """
    around = F.max_pool2d(region, 2 * _BAND + 1, 1, _BAND) + F.max_pool2d(
        1 - region, 2 * _BAND + 1, 1, _BAND
    )
    near = (around == 2).to(clip)  # within reach of both sides
    seen = expected = 0.0
    for dim in (2, 3):
        step = clip.diff(dim=dim).abs().mean(1, keepdim=True).double()
        crosses = (region.diff(dim=dim).abs() > 0.5).double()
        length = near.shape[dim] - 1
        both = (near.narrow(dim, 1, length) * near.narrow(dim, 0, length)).double()
        beside = both * (1 - crosses)
        seen += float((step * crosses).sum())
        # As many steps of the usual height in this direction: a slope has steps in one only.
        usual = float((step * beside).sum() / beside.sum().clamp_min(1))
        expected += float(crosses.sum()) * usual
    return seen / expected if expected > 0 else math.nan
