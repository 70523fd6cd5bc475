"""Draw pictures with the small generator of the DeepPrivacy3 proposal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dp3_lightning.checks import check_at_least
from dp3_lightning.generators.base import GeneratorAdapter

_FIRST = 8  # pixels per side of the first feature map
_SLOPE = 0.2


class PaperGenerator(GeneratorAdapter):
    """Draw by a dense layer, batch norm, LeakyReLU, transposed convolutions and tanh.

    The proposal does not say what its generator sees. Here the latent is joined by the picture
    around the face, shrunk to ``condition_size`` squared pixels, because a face that is to be
    compared pixel by pixel must have something to go by; 0 leaves the latent alone.

    Args:
        image_size: side of the pictures in pixels, a power of two of at least 16.
        z_dim: width of the latent.
        base_channels: channels before the last layer; doubled towards the first, up to eight times.
        condition_size: side of the shrunk surroundings in pixels; 0 for none.

    Raises:
        ValueError: a size that does not fit.
    """

    def __init__(
        self,
        image_size: int = 128,
        z_dim: int = 100,
        base_channels: int = 64,
        condition_size: int = 16,
    ) -> None:
        super().__init__()
        check_at_least(1, z_dim=z_dim, base_channels=base_channels)
        check_at_least(0, condition_size=condition_size)
        n_steps = round(math.log2(max(image_size, 1) / _FIRST))
        if n_steps < 1 or _FIRST * 2**n_steps != image_size:
            raise ValueError(f"Expected `image_size` 16, 32, 64, 128, ..., got {image_size}.")
        self.image_size, self.z_dim = (image_size, image_size), z_dim
        self.condition_size = condition_size
        widths = [base_channels * 2 ** min(n_steps - 1 - i, 3) for i in range(n_steps)]
        n_inputs = z_dim + 4 * condition_size**2  # three colours and the mask
        self.dense = nn.Sequential(
            nn.Linear(n_inputs, widths[0] * _FIRST**2, bias=False),
            nn.BatchNorm1d(widths[0] * _FIRST**2),
            nn.LeakyReLU(_SLOPE),
            nn.Unflatten(1, (widths[0], _FIRST, _FIRST)),
        )
        layers: list[nn.Module] = []
        for here, there in pairwise(widths):
            layers += [
                nn.ConvTranspose2d(here, there, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(there),
                nn.LeakyReLU(_SLOPE),
            ]
        layers += [nn.ConvTranspose2d(widths[-1], 3, 4, stride=2, padding=1), nn.Tanh()]
        self.up = nn.Sequential(*layers)

    def draw(
        self,
        condition: Tensor,
        keep_mask: Tensor,
        w: Tensor | None,
        conditions: Mapping[str, Tensor],
    ) -> Tensor:
        """Draw single frames, see :meth:`GeneratorAdapter.draw`; ``w`` is the latent itself."""
        del conditions
        assert w is not None
        inputs = [w]
        if self.condition_size:
            around = torch.cat([condition, keep_mask], dim=1)
            inputs.append(F.adaptive_avg_pool2d(around, self.condition_size).flatten(1))
        drawn: Tensor = self.up(self.dense(torch.cat(inputs, dim=1)))
        return drawn
