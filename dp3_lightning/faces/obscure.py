"""Make a face unrecognisable without a network: the fallback of all other ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np

from dp3_lightning.faces.feather import outward_share, pixel_region
from dp3_lightning.structures import UInt8Array

Treatment = Literal["blur", "pixelate", "solid"]

# Faces of 8 x 8 blocks have been recognised by machines; 5 along the shorter side leave skin tone
# and light.
BLOCKS = 5
_LEAST_BLOCK = 4.0  # pixels
_BLUR_BAND = 0.12  # of the longer side: a blur reaches that far beyond the box


def obscure(
    frame: UInt8Array,
    box: Sequence[float],
    treatment: Treatment = "blur",
    blocks: int = BLOCKS,
    soft: bool = True,
) -> None:
    """Overwrite a face in place, with every pixel that its box touches.

    Blur and pixelation depend on means over blocks only: nothing finer is there to be sharpened
    again. A blur reaches a little further than the box and fades out there.

    Args:
        frame: ``(H, W, 3)`` uint8 RGB.
        box: ``(x0, y0, x1, y1)`` in pixels; may leave the frame.
        treatment: ``blur`` (means, smoothly joined), ``pixelate`` (means) or ``solid`` (black).
        blocks: number of means along the shorter side, at least 1.
        soft: whether a blur fades out beyond the box; otherwise pixels outside stay as they are.
    """
    longer = max(box[2] - box[0], box[3] - box[1])
    band = _BLUR_BAND * longer if soft and treatment == "blur" else 0.0
    region = pixel_region(box, frame.shape[:2], band)
    if region is None:
        return
    x0, y0, x1, y1 = region
    part = frame[y0:y1, x0:x1]
    if treatment == "solid":
        part[:] = 0
        return
    height, width = part.shape[:2]
    # By the whole face, not by what of it is in the frame; and never down to single pixels.
    block = max(_LEAST_BLOCK, (min(box[2] - box[0], box[3] - box[1]) + 2 * band) / blocks)
    grid = (max(1, round(width / block)), max(1, round(height / block)))
    means = cv2.resize(part, grid, interpolation=cv2.INTER_AREA)
    if treatment == "pixelate":
        part[:] = cv2.resize(means, (width, height), interpolation=cv2.INTER_NEAREST)
        return
    smooth = cv2.resize(means, (width, height), interpolation=cv2.INTER_CUBIC)
    share = outward_share(region, box, band)
    part[:] = np.rint(share * smooth + (1 - share) * part).astype(np.uint8)


def fill_from_around(frame: UInt8Array, box: Sequence[float]) -> None:
    """Overwrite a face in place by what surrounds it; nothing of the face goes into it.

    Every pixel that the box touches becomes the mean of the nearest pixels to the left, right, top
    and bottom of the box, by the inverse of their distances. Black where the box fills the frame.

    >>> frame = np.array([[[10] * 3, [255] * 3, [30] * 3]], np.uint8)
    >>> fill_from_around(frame, (1, 0, 2, 1))
    >>> frame[0, :, 0].tolist()
    [10, 20, 30]

    Args:
        frame: ``(H, W, 3)`` uint8 RGB.
        box: ``(x0, y0, x1, y1)`` in pixels; may leave the frame.
    """
    height, width = frame.shape[:2]
    region = pixel_region(box, (height, width))
    if region is None:
        return
    x0, y0, x1, y1 = region
    x, y = np.arange(x0, x1)[None, :, None], np.arange(y0, y1)[:, None, None]
    sides = []
    if x0 > 0:
        sides.append((frame[y0:y1, x0 - 1, None], x - x0 + 1))
    if x1 < width:
        sides.append((frame[y0:y1, x1, None], x1 - x))
    if y0 > 0:
        sides.append((frame[None, y0 - 1, x0:x1], y - y0 + 1))
    if y1 < height:
        sides.append((frame[None, y1, x0:x1], y1 - y))
    total = np.zeros((y1 - y0, x1 - x0, 3))
    weight = np.zeros((y1 - y0, x1 - x0, 1))
    for pixels, distance in sides:
        total += pixels / distance
        weight += 1 / distance
    frame[y0:y1, x0:x1] = np.rint(total / np.maximum(weight, 1e-9)).astype(np.uint8)
