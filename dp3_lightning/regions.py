"""Compute the parts of a face crop that losses and metrics use, each with one name.

* ``hole``: the pixels to generate, ``1 - keep_mask``;
* ``seam``: the hole grown by one pixel, so that the jump at its border is inside;
* ``inner_ring``: the band inside the hole's border, a fraction (1/8) of the hole's side wide. A
  detector's box is a rectangle, so this band shows mostly background and hair;
* ``interior``: the hole without its inner ring;
* ``outer_ring``: the band outside the hole, 16 px at a crop of 256 px.

All functions take ``keep_mask`` ``(..., 1, H, W)`` (1 = keep) and return float masks of its shape.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

INNER_RING_FRACTION = 1 / 8
OUTER_RING_FRACTION = 1 / 16


def _max_pool(mask: Tensor, radius: int) -> Tensor:
    flat = mask.reshape(-1, 1, *mask.shape[-2:])
    grown = F.max_pool2d(flat, 2 * radius + 1, stride=1, padding=radius)
    return grown.reshape(mask.shape)


def hole(keep_mask: Tensor) -> Tensor:
    """Return the pixels to generate."""
    return 1 - keep_mask


def seam(keep_mask: Tensor) -> Tensor:
    """Return the hole grown by one pixel to all eight sides."""
    return _max_pool(hole(keep_mask), 1)


def hole_side(keep_mask: Tensor) -> Tensor:
    """Return the side of a square of the hole's area in pixels, ``(..., 1, 1, 1)``."""
    return hole(keep_mask).sum(dim=(-3, -2, -1), keepdim=True).sqrt()


def _erode(keep_mask: Tensor, width: Tensor) -> Tensor:
    """Remove a band of ``width`` pixels (one value per mask) from the hole, except at the frame.

    One pass per pixel of the widest band: each pass takes one pixel off the masks that need it.
    """
    # The frame continues the hole: a box that leaves the crop has no border there.
    kept = keep_mask
    for step in range(int(width.max().item()) if width.numel() else 0):
        grown = _max_pool(kept, 1)
        kept = torch.where(width > step, grown, kept)
    return 1 - kept


def inner_ring(keep_mask: Tensor, fraction: float = INNER_RING_FRACTION) -> Tensor:
    """Return the band inside the hole's border, ``fraction`` of its side wide, at least 1 px."""
    return hole(keep_mask) - interior(keep_mask, fraction)


def interior(keep_mask: Tensor, fraction: float = INNER_RING_FRACTION) -> Tensor:
    """Return the hole without its inner ring."""
    width = (hole_side(keep_mask) * fraction).round().clamp_min(1)
    return _erode(keep_mask, width)


def outer_ring(keep_mask: Tensor, fraction: float = OUTER_RING_FRACTION) -> Tensor:
    """Return the band outside the hole, ``fraction`` of the crop's height wide (at least 1 px)."""
    radius = max(1, round(keep_mask.shape[-2] * fraction))
    return _max_pool(hole(keep_mask), radius) * keep_mask


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Average over everything but the first dimension, counting only masked entries.

    Args:
        values: ``(B, ...)``.
        mask: weights that broadcast against ``values``.

    Returns:
        ``(B,)``; exactly 0, with zero gradient, where the mask of a sample is empty.
    """
    weights = mask.expand_as(values)
    total = (values * weights).flatten(1).sum(dim=1)
    return total / weights.flatten(1).sum(dim=1).clamp_min(1e-12)
