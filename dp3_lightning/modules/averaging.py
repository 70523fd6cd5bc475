"""Average the generator as DeepPrivacy2 does, with a half-life counted in images."""

from __future__ import annotations

import torch
from torch import nn

HALF_LIFE_BATCHES = 10_000 / 32  # half-life in batches: 10,000 * batch / 32 images
RAMP_UP = 0.05  # early on the half-life is this fraction of the images seen


def averaging_decay(n_images: int, images_seen: int) -> float:
    """Return the decay of one update with ``n_images`` images over all processes.

    ``0.5 ** (n / min(n * 10000 / 32, 0.05 * seen))``; 0 at the first update, so that the average
    starts as a copy.

    Args:
        n_images: images (frames) of this update, over all processes.
        images_seen: images used before it.
    """
    half_life = min(n_images * HALF_LIFE_BATCHES, RAMP_UP * images_seen)
    return float(0.5 ** (n_images / max(half_life, 1e-8)))


@torch.no_grad()
def update_average(average: nn.Module, current: nn.Module, decay: float) -> None:
    """Move the parameters of ``average`` towards ``current``; copy the buffers.

    Args:
        average: same architecture as ``current``.
        current: the trained network.
        decay: 1 keeps the average, 0 copies.
    """
    for old, new in zip(average.parameters(), current.parameters(), strict=True):
        old.lerp_(new.to(old.dtype), 1 - decay)
    for copied, source in zip(average.buffers(), current.buffers(), strict=True):
        copied.copy_(source)
