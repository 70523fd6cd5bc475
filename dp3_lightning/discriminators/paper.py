"""The small discriminator of the DeepPrivacy3 proposal: convolutions, batch norm, dropout."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from dp3_lightning.checks import check_at_least, check_between

_LAST = 8  # pixels per side of the last feature map
_SLOPE = 0.2


class PaperDiscriminator(nn.Module):
    """Strided convolutions, batch norm, LeakyReLU, dropout, one dense layer.

    It sees the picture alone. The first layer has no batch norm, as in DCGAN (Radford et al. 2016):
    the colours of single pictures must count. The proposal does not say which layers have it. Real
    and generated pictures are normalised apart, each by the batch it comes in.

    Args:
        image_size: side of the pictures in pixels, a power of two of at least 16.
        base_channels: channels after the first layer; doubled with every further one, up to eight
            times.
        dropout: probability.

    Raises:
        ValueError: a size that does not fit.
    """

    def __init__(
        self, image_size: int = 128, base_channels: int = 64, dropout: float = 0.3
    ) -> None:
        super().__init__()
        check_at_least(1, base_channels=base_channels)
        check_between(0, 1, dropout=dropout)
        n_steps = round(math.log2(max(image_size, 1) / _LAST))
        if n_steps < 1 or _LAST * 2**n_steps != image_size:
            raise ValueError(f"Expected `image_size` 16, 32, 64, 128, ..., got {image_size}.")
        widths = [3, *(base_channels * 2 ** min(i, 3) for i in range(n_steps))]
        layers: list[nn.Module] = []
        for here, there in pairwise(widths):
            layers += [
                nn.Conv2d(here, there, 4, stride=2, padding=1),
                *([nn.BatchNorm2d(there)] if layers else []),
                nn.LeakyReLU(_SLOPE),
                nn.Dropout2d(dropout),
            ]
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.score = nn.Linear(widths[-1] * _LAST**2, 1)

    def forward(self, img: Tensor, condition: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Score ``(N, 3, H, W)``: ``{"score": (N, 1)}``, a logit, larger is more real."""
        del condition, mask
        return {"score": self.score(self.features(img))}
