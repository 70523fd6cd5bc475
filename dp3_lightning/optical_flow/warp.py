"""Warp backward along a flow field, and find where such a warp can be trusted.

Flow is in pixels, channel 0 = dx (right), channel 1 = dy (down). A pixel's coordinate is its index.
With the keys of our batch, on the grid of frame t: ``flow_forward = flow_to_previous`` (t to t-1)
and ``flow_backward = flow_from_previous`` (t-1 to t); frame t-1 seen from t is
``backward_warp(previous, flow_to_previous)``. The same holds for the ``first`` keys.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def _check_flow(flow: Tensor, name: str = "flow") -> None:
    if flow.ndim != 4 or flow.shape[1] != 2:
        raise ValueError(
            f"Expected `{name}` of shape (N, 2, H, W), got {tuple(flow.shape)}. Fold time into the "
            "batch first: flow.flatten(0, 1)."
        )
    if not flow.is_floating_point():
        raise TypeError(f"Expected a floating point `{name}` in pixels, got {flow.dtype}.")


def _target(flow: Tensor) -> Tensor:
    """Return the pixel coordinates that the flow points to, ``(N, 2, H, W)``."""
    height, width = flow.shape[-2:]
    x = torch.arange(width, dtype=flow.dtype, device=flow.device)
    y = torch.arange(height, dtype=flow.dtype, device=flow.device)
    return torch.stack([flow[:, 0] + x, flow[:, 1] + y[:, None]], dim=1)


def backward_warp(
    image: Tensor,
    flow: Tensor,
    mode: Literal["bilinear", "nearest", "bicubic"] = "bilinear",
    padding: Literal["border", "zeros"] = "border",
) -> Tensor:
    """Sample an image where the flow points: ``out(p) = image(p + flow(p))``.

    Integer flows give the pixels themselves: bit by bit where width and height are powers of two,
    else to about 1e-5 px. Differentiable in ``image`` and in ``flow``.

    >>> image, flow = torch.arange(4.0).view(1, 1, 1, 4), torch.zeros(1, 2, 1, 4)
    >>> flow[:, 0] = 1  # every pixel shows its right neighbour
    >>> backward_warp(image, flow).flatten().tolist()
    [1.0, 2.0, 3.0, 3.0]

    Args:
        image: ``(N, C, H, W)``, any range, floating point.
        flow: ``(N, 2, H, W)`` pixels on the grid of the output; H and W of the image.
        mode: interpolation.
        padding: value outside the image: the nearest border pixel, or 0.

    Returns:
        ``(N, C, H, W)``; float64 for a float64 image, else float32.

    Raises:
        ValueError: shapes do not match, or an unknown `mode` or `padding`.
        TypeError: an argument is not floating point.
    """
    _check_flow(flow)
    if image.ndim != 4 or image.shape[0] != flow.shape[0] or image.shape[2:] != flow.shape[2:]:
        raise ValueError(
            "Expected `image` of shape (N, C, H, W) with the N, H, W of `flow` "
            f"{tuple(flow.shape)}, got {tuple(image.shape)}."
        )
    if not image.is_floating_point():
        raise TypeError(f"Expected a floating point `image`, got {image.dtype}. Call .float().")
    if padding not in ("border", "zeros"):  # reflection would depend on align_corners
        raise ValueError(f"Expected `padding` 'border' or 'zeros', got {padding!r}.")
    # Never below float32: a bfloat16 coordinate in [-1, 1] is off by up to 0.12 px at 128 px.
    dtype = torch.float64 if image.dtype == torch.float64 else torch.float32
    height, width = flow.shape[-2:]
    with torch.autocast(image.device.type, enabled=False):
        x, y = _target(flow.to(dtype)).unbind(1)
        # align_corners=False maps pixel i to (2i + 1)/W - 1. Its samples are those of
        # align_corners=True, but it is exact in floating point for W = 2^k and defined for W = 1.
        grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
        return F.grid_sample(
            image.to(dtype), grid, mode=mode, padding_mode=padding, align_corners=False
        )


def in_bounds(flow: Tensor) -> Tensor:
    """Return where the flow stays inside the image.

    >>> flow = torch.ones(1, 2, 1, 3) * torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    >>> in_bounds(flow).flatten().tolist()
    [True, True, False]

    Args:
        flow: ``(N, 2, H, W)`` pixels.

    Returns:
        ``(N, 1, H, W)`` bool: ``p + flow(p)`` lies between the centres of the outermost pixels, so
        that bilinear sampling reads the image only. False where the flow is not finite.

    Raises:
        ValueError: wrong shape.
        TypeError: not floating point.
    """
    _check_flow(flow)
    height, width = flow.shape[-2:]
    x, y = _target(flow.to(torch.promote_types(flow.dtype, torch.float32))).unbind(1)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return inside[:, None]


@torch.no_grad()
def occlusion_mask(
    flow_forward: Tensor,
    flow_backward: Tensor,
    *,
    relative: float = 0.01,
    absolute: float = 0.5,
    motion_boundary: bool = True,
    boundary_relative: float = 0.01,
    boundary_absolute: float = 0.002,
) -> Tensor:
    """Return where a warp along ``flow_forward`` cannot be trusted: True = occluded.

    With F the forward flow, B the backward flow warped to F's grid, ``F = (u, v)``, and lengths in
    pixels, a pixel is occluded where any of these holds:

    * ``|F + B|^2 > relative * (|F|^2 + |B|^2) + absolute``: going and coming back misses the start;
    * ``|grad u|^2 + |grad v|^2 > boundary_relative * |F|^2 + boundary_absolute`` (forward
      differences), when ``motion_boundary`` is set: flow is least reliable at its discontinuities;
    * F leaves the image.

    The first two, thresholds included, are ``detect_occlusion`` of Lai et al., "Learning Blind
    Video Temporal Consistency", ECCV 2018; the third is ours. The boundary rule also drops smooth
    but strong deformation: a head turning by more than about 1.8 degrees a frame, a mouth that
    opens. Switch it off where these must count.

    Args:
        flow_forward: ``(N, 2, H, W)`` pixels, on the grid of the result.
        flow_backward: the opposite flow, same shape, on the grid that `flow_forward` points to.
        relative: factor of the forward-backward test.
        absolute: its constant, square pixels.
        motion_boundary: whether to apply the second rule.
        boundary_relative: factor of the boundary test.
        boundary_absolute: its constant.

    Returns:
        ``(N, 1, H, W)`` bool, True = occluded, without gradient.

    Raises:
        ValueError: wrong or different shapes.
        TypeError: not floating point.
    """
    _check_flow(flow_forward, "flow_forward")
    _check_flow(flow_backward, "flow_backward")
    if flow_forward.shape != flow_backward.shape:
        raise ValueError(
            "Expected `flow_forward` and `flow_backward` of one shape, got "
            f"{tuple(flow_forward.shape)} and {tuple(flow_backward.shape)}."
        )
    forward = flow_forward.to(torch.promote_types(flow_forward.dtype, torch.float32))
    backward = backward_warp(flow_backward.to(forward.dtype), forward)
    length = forward.square().sum(1, keepdim=True)
    gap = (forward + backward).square().sum(1, keepdim=True)
    limit = relative * (length + backward.square().sum(1, keepdim=True)) + absolute
    # Written as "not small" so that a flow that is not finite counts as occluded.
    trusted = in_bounds(forward) & (gap <= limit)
    if motion_boundary:
        slope = F.pad(forward.diff(dim=3), (0, 1)).square().sum(1, keepdim=True)
        slope = slope + F.pad(forward.diff(dim=2), (0, 0, 0, 1)).square().sum(1, keepdim=True)
        trusted &= slope <= boundary_relative * length + boundary_absolute
    return ~trusted


def visibility_mask(
    flow_forward: Tensor,
    flow_backward: Tensor,
    *,
    relative: float = 0.01,
    absolute: float = 0.5,
    motion_boundary: bool = True,
    boundary_relative: float = 0.01,
    boundary_absolute: float = 0.002,
) -> Tensor:
    """Negate :func:`occlusion_mask` to a weight for losses: 1 = visible, 0 = occluded.

    Arguments and errors are those of :func:`occlusion_mask`.

    >>> still = torch.zeros(1, 2, 2, 2)
    >>> visibility_mask(still, still).flatten().tolist()
    [1.0, 1.0, 1.0, 1.0]
    >>> visibility_mask(still, still + 5).sum().item()  # back and forth do not agree
    0.0

    Returns:
        ``(N, 1, H, W)`` float32 in {0, 1}, without gradient.
    """
    occluded = occlusion_mask(
        flow_forward,
        flow_backward,
        relative=relative,
        absolute=absolute,
        motion_boundary=motion_boundary,
        boundary_relative=boundary_relative,
        boundary_absolute=boundary_absolute,
    )
    return (~occluded).float()
