"""Penalise faces that depend on the exact place of the detector's box.

A detector's box jitters from frame to frame, and with it the crop window and the hole; a
generator that anchors a face to them makes it jitter too. Both drawings show the same frame, so
that, unlike along optical flow, every pixel has its exact counterpart. A blurred face still differs
less: watch the sharpness (`benchmarks/temporal_stability.py`).

After the equivariance of Karras et al., "Alias-Free Generative Adversarial Networks" (2021), and
the consistency regularisation of Zhang et al. (2020), applied to the generator of an inpainter.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dp3_lightning.losses.flow_consistency import charbonnier
from dp3_lightning.regions import masked_mean


def jittered_mask(keep_mask: Tensor, shift: Tensor, growth: Tensor) -> Tensor:
    """Move and stretch holes about their middle, as an uncertain detector would.

    >>> keep = torch.ones(1, 1, 1, 1, 8)
    >>> keep[..., 2:6] = 0
    >>> shift, growth = torch.tensor([[0.25, 0.0]]), torch.zeros(1, 2)
    >>> jittered_mask(keep, shift, growth).flatten().tolist()
    [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]

    Args:
        keep_mask: ``(B, T, 1, H, W)``, 1 keep, 0 generate.
        shift: ``(B, 2)``, x and y, in sides of the hole.
        growth: ``(B, 2)``, x and y: 0.1 makes holes 10 % wider or higher.

    Returns:
        Masks of the same shape, 1 or 0. What leaves the picture is cut off.
    """
    n_frames, _, height, width = keep_mask.shape[1:]
    hole = (1 - keep_mask).flatten(0, 1)
    axes = [torch.arange(side, device=hole.device, dtype=torch.float32) for side in (width, height)]
    seen = [(hole.amax((1, 2)) > 0), (hole.amax((1, 3)) > 0)]  # columns, rows: (N, side)
    grids = []
    for axis, (places, found) in enumerate(zip(axes, seen, strict=True)):
        first = torch.where(found, places, torch.inf).amin(1)
        last = torch.where(found, places, -torch.inf).amax(1)
        empty = ~found.any(1)
        center = torch.where(empty, 0.0, (first + last) / 2)
        extent = torch.where(empty, 1.0, last - first + 1)
        moved, grown = (v[:, axis].float().repeat_interleave(n_frames) for v in (shift, growth))
        # Where every place of the new mask lies in the old one.
        source = (places - (center + moved * extent)[:, None]) / (1 + grown)[:, None]
        source = source + center[:, None]
        grids.append((2 * source + 1) / len(places) - 1)
    grid = torch.stack(
        [
            grids[0][:, None].expand(-1, height, -1),
            grids[1][:, :, None].expand(-1, -1, width),
        ],
        dim=3,
    )
    moved_hole = F.grid_sample(hole.float(), grid, mode="nearest", align_corners=False)
    return 1 - moved_hole.view_as(keep_mask).to(keep_mask)


def shifted(images: Tensor, pixels: Tensor) -> Tensor:
    """Move the content of clips by whole pixels; the border is repeated.

    >>> shifted(torch.arange(4.0).view(1, 1, 1, 1, 4), torch.tensor([[1, 0]])).flatten().tolist()
    [0.0, 0.0, 1.0, 2.0]

    Args:
        images: ``(B, T, C, H, W)``.
        pixels: ``(B, 2)`` long, right and down.
    """
    height, width = images.shape[-2:]
    moved = []
    for clip, (dx, dy) in zip(images, pixels.tolist(), strict=True):
        rows = (torch.arange(height, device=images.device) - dy).clamp(0, height - 1)
        columns = (torch.arange(width, device=images.device) - dx).clamp(0, width - 1)
        moved.append(clip[..., rows, :][..., columns])
    return torch.stack(moved)


def stays_inside(images: Tensor, pixels: Tensor) -> Tensor:
    """Mark the content that :func:`shifted` does not move out of the picture.

    Args:
        images: ``(B, T, C, H, W)``.
        pixels: ``(B, 2)`` long, right and down.

    Returns:
        ``(B, 1, 1, H, W)``, 1 or 0.
    """
    height, width = images.shape[-2:]
    columns, rows = (
        torch.arange(side, device=images.device) + pixels[:, axis, None]
        for axis, side in enumerate((width, height))
    )
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[
        :, None
    ]
    return inside[:, None, None].to(images)


def crop_consistency(first: Tensor, second: Tensor, compared: Tensor) -> Tensor:
    """Return the robust difference of two drawings of the same frames.

    >>> first = torch.zeros(1, 1, 3, 2, 2)
    >>> round(crop_consistency(first, first + 0.5, torch.ones(1, 1, 1, 2, 2)).item(), 3)
    0.499

    Args:
        first: ``(B, T, C, H, W)``.
        second: same shape.
        compared: ``(B, T, 1, H, W)``: 1 where both were generated.

    Returns:
        ``(B,)``: mean Charbonnier difference; 0 for clips where nothing can be compared.
    """
    return masked_mean(charbonnier(first - second), compared)
