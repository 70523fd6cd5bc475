"""Boxes of tables: fractions of the frame or pixels, told apart and checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dp3_lightning.data.layouts.base import Box, VideoSource
from dp3_lightning.structures import FloatArray

_ROUNDING = 0.02  # fractions of published tables reach this far over the frame's edge


def check_box(values: Any, where: str, fractions: bool | None = None) -> Box:
    """Check a box of a table, and return it as fractions (no value above 1) or pixels.

    Args:
        values: ``x0, y0, x1, y1``.
        where: the row, for errors.
        fractions: unit that the data set documents; None to tell it by the values.

    Raises:
        ValueError: not four finite numbers in order, or another unit than documented.
    """
    try:
        x0, y0, x1, y1 = (float(v) for v in values)
    except (TypeError, ValueError):
        x0 = y0 = x1 = y1 = math.nan
    if fractions and all(-_ROUNDING <= v <= 1 + _ROUNDING for v in (x0, y0, x1, y1)):
        x0, y0, x1, y1 = (min(max(v, 0.0), 1.0) for v in (x0, y0, x1, y1))
    box = (x0, y0, x1, y1)
    if not (all(math.isfinite(v) for v in box) and 0 <= x0 < x1 and 0 <= y0 < y1):
        raise ValueError(
            f"Expected a box with 0 <= x0 < x1 and 0 <= y0 < y1 in {where}, got {values!r}."
        )
    if fractions is not None and fractions != (max(box) <= 1):
        unit, other = ("fractions", "pixels") if fractions else ("pixels", "fractions")
        raise ValueError(f"Expected a box in {unit} of the frame in {where}, got {other}: {box}.")
    return box


def in_pixels(video: VideoSource, frame_size: Sequence[int]) -> Box | None:
    """Return the box of a video in pixels of its frames.

    Args:
        video: with its box, or None.
        frame_size: height and width.

    Raises:
        ValueError: the box reaches out of the frame.
    """
    if video.box is None:
        return None
    height, width = frame_size
    x0, y0, x1, y1 = video.box
    if max(video.box) <= 1:
        return (x0 * width, y0 * height, x1 * width, y1 * height)
    if x1 > width + 1 or y1 > height + 1:
        raise ValueError(
            f"The box {video.box} of {str(video.path)!r} reaches out of its frames of "
            f"{width}x{height} pixels: is it of the video at another resolution?"
        )
    return video.box


def shows(faces: FloatArray, box: Box | None) -> bool:
    """Say whether the face ``(T, 4)`` has its mean centre in a box; always without a box."""
    if box is None:
        return True
    x, y = np.mean((faces[:, :2] + faces[:, 2:]) / 2, axis=0)
    return bool(box[0] <= x <= box[2] and box[1] <= y <= box[3])
