"""Penalise different latents that give the same face.

Source: Mao et al., "Mode Seeking Generative Adversarial Networks for Diverse Image Synthesis"
(CVPR 2019), as a hinge: pixel terms reward ignoring the latent, this term forbids it.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from dp3_lightning.regions import masked_mean


def latent_diversity(
    first: Tensor,
    second: Tensor,
    z_first: Tensor,
    z_second: Tensor,
    keep_mask: Tensor,
    target: float,
) -> Tensor:
    """Return ``relu(target - d(G(z1), G(z2)) / d(z1, z2))``, mean absolute distances in the hole.

    >>> drawn, z, hole = torch.zeros(1, 1, 3, 4, 4), torch.zeros(1, 2), torch.zeros(1, 1, 1, 4, 4)
    >>> latent_diversity(drawn, drawn, z, z + 1, hole, target=0.5).tolist()  # an inert latent
    [0.5]
    >>> latent_diversity(drawn, drawn + 2, z, z + 1, hole, target=0.5).tolist()
    [0.0]

    Args:
        first: composites of the first latents ``(B, T, C, H, W)``.
        second: composites of the same clips with the second latents.
        z_first: ``(B, z_dim)``.
        z_second: ``(B, z_dim)``.
        keep_mask: ``(B, T, 1, H, W)``.
        target: ratio above which nothing is lost, in image units per latent unit.

    Returns:
        ``(B,)``, at most ``target``; 0 for clips without a hole.
    """
    hole = 1 - keep_mask
    images = masked_mean((first - second).abs(), hole)
    latents = (z_first - z_second).abs().mean(dim=1).clamp_min(1e-8)
    return F.relu(target - images / latents) * (hole.flatten(1).sum(dim=1) > 0)
