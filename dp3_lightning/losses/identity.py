"""Push the generated face away from the real person, only as far as a margin."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def identity_hinge(fake_embedding: Tensor, real_embedding: Tensor, margin: float = 0.2) -> Tensor:
    """Return ``relu(cos(fake, real) - margin)`` averaged over the pairs that could be embedded.

    A hinge, because pushing beyond "another person" makes the output linkable again.

    >>> same, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> identity_hinge(same, same, margin=0.25).tolist()
    [0.75]
    >>> identity_hinge(same, other, margin=0.25).tolist()
    [0.0]

    Args:
        fake_embedding: ``(N, D)`` of generated faces, with gradient.
        real_embedding: ``(N, D)`` of the real faces; no gradient reaches it.
        margin: cosine in [-1, 1] below which nothing is lost.

    Returns:
        ``(N,)``; 0 for rows where either embedding is not finite or zero (no face to embed).
    """
    real = real_embedding.detach()
    usable = torch.isfinite(fake_embedding).all(1) & torch.isfinite(real).all(1)
    usable &= (fake_embedding.detach().abs().sum(1) > 0) & (real.abs().sum(1) > 0)
    # where() before the maths: a NaN row must not poison the gradient of the others.
    fake = torch.where(usable[:, None], fake_embedding, torch.ones_like(fake_embedding))
    real = torch.where(usable[:, None], real, torch.ones_like(real))
    return F.relu(F.cosine_similarity(fake, real, dim=1) - margin) * usable
