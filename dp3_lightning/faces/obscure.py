"""Make a face unrecognisable without a network: what cannot fail, and what others fall back on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np

from dp3_lightning.structures import UInt8Array

Treatment = Literal["blur", "pixelate", "solid"]

# Faces of 8 x 8 blocks have been recognised by machines; 5 along the shorter side leave skin tone
# and light.
BLOCKS = 5


def pixel_region(
    box: Sequence[float], frame_size: Sequence[int]
) -> tuple[int, int, int, int] | None:
    """Return the whole pixels that a float box touches, inside the frame; None when there are none.

    Args:
        box: ``(x0, y0, x1, y1)`` in pixels, float.
        frame_size: ``(height, width)``.
    """
    height, width = int(frame_size[0]), int(frame_size[1])
    x0, y0 = max(int(np.floor(box[0])), 0), max(int(np.floor(box[1])), 0)
    x1, y1 = min(int(np.ceil(box[2])), width), min(int(np.ceil(box[3])), height)
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def obscure(
    frame: UInt8Array, box: Sequence[float], treatment: Treatment = "blur", blocks: int = BLOCKS
) -> None:
    """Overwrite a face in place; every pixel that the box touches changes.

    Nothing is blended at the border, so no detail of the face remains there. Blur and pixelation
    depend on means over blocks of the box only: nothing finer is left to be sharpened again.

    Args:
        frame: ``(H, W, 3)`` uint8 RGB.
        box: ``(x0, y0, x1, y1)`` in pixels; may leave the frame.
        treatment: ``blur`` (means, smoothly joined), ``pixelate`` (means) or ``solid`` (black).
        blocks: number of means along the shorter side, at least 1.
    """
    region = pixel_region(box, frame.shape[:2])
    if region is None:
        return
    x0, y0, x1, y1 = region
    part = frame[y0:y1, x0:x1]
    if treatment == "solid":
        part[:] = 0
        return
    height, width = part.shape[:2]
    block = max(1.0, min(height, width) / blocks)
    grid = (max(1, round(width / block)), max(1, round(height / block)))
    grid = (min(grid[0], 4 * blocks), min(grid[1], 4 * blocks))
    means = cv2.resize(part, grid, interpolation=cv2.INTER_AREA)
    joined = cv2.INTER_CUBIC if treatment == "blur" else cv2.INTER_NEAREST
    part[:] = cv2.resize(means, (width, height), interpolation=joined)
