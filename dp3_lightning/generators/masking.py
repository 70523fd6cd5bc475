"""Mask outputs as DeepPrivacy2 does, with the gradient rescaled by the size of the hole."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _MaskOutput(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, condition: Tensor, mask: Tensor, raw: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        return condition * mask + raw * (1 - mask)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, Tensor]:
        (mask,) = ctx.saved_tensors
        hole = 1 - mask
        fraction = hole.mean(dim=tuple(range(1, hole.ndim)), keepdim=True)
        # A frame without a hole has nothing to learn from: 0 instead of upstream's 0 / 0.
        scale = torch.where(fraction > 0, 1 / fraction.clamp_min(1e-12), torch.zeros_like(fraction))
        return None, None, (grads[0] * hole * scale).to(grads[0].dtype)


def mask_output(condition: Tensor, mask: Tensor, raw: Tensor) -> Tensor:
    """Return ``condition * mask + raw * (1 - mask)`` with DeepPrivacy2's gradient.

    The gradient to ``raw`` is ``g * (1 - mask) / (1 - mean(mask))`` per sample, so that small holes
    learn as fast as large ones; ``condition`` and ``mask`` receive none. It can be differentiated
    twice. A sample without a hole gets zero gradient (upstream: NaN).

    Args:
        condition: ``(N, C, H, W)``.
        mask: ``(N, 1, H, W)``, 1 = keep, 0 = generate.
        raw: ``(N, C, H, W)``, drawn by the network.
    """
    result: Tensor = _MaskOutput.apply(condition, mask, raw)  # type: ignore[no-untyped-call]
    return result
