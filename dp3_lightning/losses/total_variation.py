"""Compute anisotropic total variation of the hole, and its temporal counterpart.

Source: Rudin, Osher, Fatemi (1992) in the anisotropic L1 form that the DeepPrivacy3 paper names.
"""

from __future__ import annotations

from torch import Tensor

from dp3_lightning.optical_flow import backward_warp
from dp3_lightning.regions import masked_mean


def total_variation(clip: Tensor, keep_mask: Tensor) -> Tensor:
    """Return the total variation of the hole and its seam, per generated pixel.

    The sum of absolute differences between horizontal and between vertical neighbours over every
    pair with at least one end in the hole, which covers the hole and the one-pixel ring around it;
    divided by the number of generated values (hole pixels times channels) of the clip. With a hole
    that fills the frame it is ``kornia.losses.total_variation`` divided by the number of values.

    >>> clip = torch.zeros(1, 1, 1, 3, 3)
    >>> clip[..., 1, 1] = 0.5
    >>> keep = torch.ones_like(clip)
    >>> keep[..., 1, 1] = 0
    >>> total_variation(clip, keep).item()  # four neighbours, one generated pixel
    2.0

    Args:
        clip: composites ``(B, T, C, H, W)``.
        keep_mask: ``(B, T, 1, H, W)``, 1 = keep.

    Returns:
        Scalar: mean over clips. Units of ``clip`` per pixel. 0 for clips without a hole.
    """
    hole = 1 - keep_mask
    across = (clip[..., :, 1:] - clip[..., :, :-1]).abs()
    down = (clip[..., 1:, :] - clip[..., :-1, :]).abs()
    across = across * (hole[..., :, 1:] + hole[..., :, :-1]).clamp_max(1)
    down = down * (hole[..., 1:, :] + hole[..., :-1, :]).clamp_max(1)
    pixels = hole.flatten(1).sum(dim=1) * clip.shape[2]
    total = across.flatten(1).sum(dim=1) + down.flatten(1).sum(dim=1)
    return (total / pixels.clamp_min(1)).mean()


def temporal_variation(
    clip: Tensor, keep_mask: Tensor, flow_to_previous: Tensor, visible: Tensor
) -> Tensor:
    """Return the absolute change of the hole along the motion, per generated value.

    Unlike flow consistency this is symmetric: gradient reaches both frames.

    >>> clip = torch.stack([torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)], dim=1)
    >>> still, hole = torch.zeros(1, 1, 2, 4, 4), torch.zeros(1, 2, 1, 4, 4)
    >>> temporal_variation(clip, hole, still, torch.ones(1, 1, 1, 4, 4)).item()
    1.0

    Args:
        clip: composites ``(B, T, C, H, W)``.
        keep_mask: ``(B, T, 1, H, W)``.
        flow_to_previous: ``(B, T-1, 2, H, W)``, pixels, on the grid of the later frame.
        visible: ``(B, T-1, 1, H, W)``, 1 where the later frame's pixel is seen in the earlier one.

    Returns:
        Scalar: mean over clips; 0 where nothing counts.
    """
    now, before = clip[:, 1:], clip[:, :-1]
    warped = backward_warp(before.flatten(0, 1), flow_to_previous.flatten(0, 1)).view_as(now)
    return masked_mean((now - warped).abs(), (1 - keep_mask[:, 1:]) * visible).mean()
