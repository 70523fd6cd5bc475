"""Compute DeepPrivacy2's adversarial losses: non-saturating, epsilon penalty, lazy R1.

Sources: Goodfellow et al. (2014) for the non-saturating form; Mescheder et al., "Which Training
Methods for GANs do actually Converge?" (2018) for R1; Karras et al. (2018) for the epsilon (drift)
penalty; Karras et al. (2020) for the lazy schedule.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def generator_adversarial_loss(fake_scores: Tensor) -> Tensor:
    """Return ``softplus(-D(fake))`` averaged over all scores (any shape).

    >>> round(generator_adversarial_loss(torch.zeros(4)).item(), 4)  # log 2
    0.6931
    """
    return F.softplus(-fake_scores).mean()


def discriminator_adversarial_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Return ``softplus(-D(real)) + softplus(D(fake))`` averaged over all scores (any shape).

    >>> round(discriminator_adversarial_loss(torch.zeros(4), torch.zeros(4)).item(), 4)
    1.3863
    """
    return F.softplus(-real_scores).mean() + F.softplus(fake_scores).mean()


def epsilon_penalty(real_scores: Tensor) -> Tensor:
    """Return the mean squared real score, which keeps scores from drifting; DP2 weighs it 0.001.

    >>> epsilon_penalty(torch.tensor([1.0, -3.0])).item()
    5.0
    """
    return real_scores.square().mean()


def r1_gradient_penalty(
    real_scores: Tensor,
    images: Tensor,
    keep_mask: Tensor | None = None,
    scale_by_hole: bool = False,
) -> Tensor:
    """Return the squared gradient of the real scores with respect to the real images, per image.

    >>> images = torch.zeros(1, 1, 2, 2, requires_grad=True)
    >>> r1_gradient_penalty(3 * images.sum(), images).tolist()  # four values of slope 3
    [36.0]

    Args:
        real_scores: any shape, computed from ``images`` with gradient. Score images in float32:
            half precision loses small gradients.
        images: ``(..., C, H, W)`` leaf with ``requires_grad``. The condition must not depend on it:
            DeepPrivacy2 differentiates the image input only.
        keep_mask: ``(..., 1, H, W)``; when given, gradients outside the hole do not count.
        scale_by_hole: with ``keep_mask``, also multiply by ``C * H * W / hole pixels``.

    Returns:
        ``(...)``, one penalty per image, summed over C, H, W; differentiable. DeepPrivacy2 weighs
        it ``lambda * interval / 2`` on every ``interval``-th (16th) step.
    """
    (gradient,) = torch.autograd.grad(real_scores.sum(), images, create_graph=True)
    if keep_mask is None:
        return gradient.square().sum(dim=(-3, -2, -1))
    hole = 1 - keep_mask
    penalty = (gradient * hole).square().sum(dim=(-3, -2, -1))
    if scale_by_hole:
        pixels = hole.sum(dim=(-3, -2, -1)).clamp_min(1)
        penalty = penalty * (images.shape[-3:].numel() / pixels)
    return penalty
