"""Penalise generated pixels that change along the optical flow of the real frames.

Source: Lai et al., "Learning Blind Video Temporal Consistency" (ECCV 2018), short-range and
long-range terms; the occlusion test is theirs too.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from dp3_lightning.optical_flow import backward_warp, visibility_mask
from dp3_lightning.regions import masked_mean

FlowPenalty = Literal["charbonnier", "l1", "mse"]
CHARBONNIER_EPSILON = 1e-3


def charbonnier(difference: Tensor) -> Tensor:
    """Return the absolute value, rounded off below 1e-3, so that 0 has a gradient.

    >>> charbonnier(torch.tensor([0.0, 1.0])).round(decimals=3).tolist()
    [0.0, 0.9990000128746033]
    """
    smooth: Tensor = (difference.square() + CHARBONNIER_EPSILON**2).sqrt() - CHARBONNIER_EPSILON
    return smooth


def _penalty(difference: Tensor, penalty: FlowPenalty) -> Tensor:
    if penalty == "l1":
        return difference.abs()
    return difference.square() if penalty == "mse" else charbonnier(difference)


def pair_visibility(
    flow_to: Tensor, flow_from: Tensor, pair_valid: Tensor, motion_boundary: bool = False
) -> Tensor:
    """Return where a frame's pixels are seen in the other frame of the pair.

    Args:
        flow_to: ``(B, P, 2, H, W)`` on the grid of the frame, towards the other frame.
        flow_from: ``(B, P, 2, H, W)`` on the grid of the other frame, back.
        pair_valid: ``(B, P)`` bool; False makes the whole pair invisible.
        motion_boundary: also drop motion boundaries, as Lai et al. do. Off for training: the rule
            drops an opening mouth and head turns above about 2 degrees per frame too.

    Returns:
        ``(B, P, 1, H, W)`` float: 1 visible, in bounds and valid.
    """
    visible = visibility_mask(
        flow_to.flatten(0, 1), flow_from.flatten(0, 1), motion_boundary=motion_boundary
    )
    visible = visible.view(*flow_to.shape[:2], *visible.shape[1:]).to(flow_to.dtype)
    return visible * pair_valid[..., None, None, None].to(flow_to.dtype)


def warp_difference(frames: Tensor, sources: Tensor, flow: Tensor) -> Tensor:
    """Return ``frames - warp(sources)`` for ``(B, P, C, H, W)`` and flows ``(B, P, 2, H, W)``."""
    warped = backward_warp(sources.flatten(0, 1), flow.flatten(0, 1)).view_as(frames)
    return frames - warped


def flow_consistency(
    frames: Tensor,
    sources: Tensor,
    flow: Tensor,
    weight: Tensor,
    penalty: FlowPenalty = "charbonnier",
) -> Tensor:
    """Return the flow-consistency loss of frame pairs.

    Args:
        frames: later frames ``(B, P, C, H, W)``.
        sources: the frames they are compared with, same shape; no gradient reaches them.
        flow: ``(B, P, 2, H, W)`` pixels, from ``frames`` to ``sources``.
        weight: ``(B, P, 1, H, W)``, where to compare (hole, visible, valid).
        penalty: ``charbonnier`` (epsilon 1e-3), ``l1`` or ``mse``.

    Returns:
        Scalar: mean over clips of the weighted mean per value; 0 where nothing counts.
    """
    difference = warp_difference(frames, sources.detach(), flow)
    return masked_mean(_penalty(difference, penalty), weight).mean()


def chain_valid(pair_valid: Tensor) -> Tensor:
    """Return whether each frame t >= 1 still belongs to the scene of frame 0, ``(B, T-1)`` bool.

    >>> chain_valid(torch.tensor([[True, False, True]])).tolist()  # a cut after frame 1
    [[True, False, False]]
    """
    return pair_valid.int().cumprod(dim=1).bool()


def warping_error(
    clip: Tensor,
    region: Tensor,
    flow_to_previous: Tensor,
    flow_from_previous: Tensor,
    pair_valid: Tensor,
) -> Tensor:
    """Return the mean squared warping error of each clip over a region (Lai et al. 2018); a metric.

    Args:
        clip: ``(B, T, C, H, W)`` in [-1, 1]; the error is that of the levels in [0, 1].
        region: ``(B, T, 1, H, W)``, where to measure, on the grid of the later frame.
        flow_to_previous: ``(B, T-1, 2, H, W)`` of the original video.
        flow_from_previous: ``(B, T-1, 2, H, W)`` of the original video.
        pair_valid: ``(B, T-1)`` bool.

    Returns:
        ``(B,)``: the mean over the frame pairs in which something can be compared; NaN for a clip
        without any.
    """
    with torch.no_grad():
        visible = pair_visibility(flow_to_previous, flow_from_previous, pair_valid, True)
        difference = warp_difference(clip[:, 1:], clip[:, :-1], flow_to_previous)
        weight = (region[:, 1:] * visible).flatten(2)
        squared = (difference / 2).square().mean(dim=2).flatten(2)
        compared = weight.sum(dim=2)
        per_pair = (squared * weight).sum(dim=2) / compared.clamp_min(1)
        usable = compared > 0
        return torch.where(usable, per_pair, 0.0).sum(dim=1) / usable.sum(dim=1)
