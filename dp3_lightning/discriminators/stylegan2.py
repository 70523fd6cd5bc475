"""Score image, condition and mask by StyleGAN2's residual critic: DeepPrivacy2's, native.

Clean-room implementation in pure PyTorch with DeepPrivacy2's argument and state-dict names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dp3_lightning.generators.layers import (
    EqualizedConv2d,
    EqualizedLinear,
    ResidualBlock,
    channels_at,
    resample_filter,
)
from dp3_lightning.generators.presets import DISCRIMINATOR_PRESETS, preset


def minibatch_stddev(x: Tensor, group_size: int | None = 4) -> Tensor:
    """Append one channel that holds how much the samples of a group differ.

    Sample ``n`` of ``N`` belongs to group ``n mod ceil(N / group_size)``. When ``group_size``
    divides ``N`` this is DeepPrivacy2's grouping; otherwise the groups differ in size by one, where
    DeepPrivacy2 fails.

    Args:
        x: ``(N, C, H, W)``.
        group_size: largest number of samples in a group; None for one group of all.

    Returns:
        ``(N, C + 1, H, W)``.
    """
    n = len(x)
    n_groups = 1 if group_size is None else math.ceil(n / min(group_size, n))
    statistic = x.new_empty(n)
    for group in range(n_groups):
        members = x[group::n_groups].float() if x.dtype != torch.float64 else x[group::n_groups]
        deviation = (members.var(dim=0, unbiased=False) + 1e-8).sqrt()
        statistic[group::n_groups] = deviation.mean().to(x.dtype)
    return torch.cat([x, statistic.view(n, 1, 1, 1).expand(-1, 1, *x.shape[2:])], dim=1)


class _DiscriminatorInput(nn.Module):
    """Map image space to features by two 3x3 convolutions."""

    def __init__(self, in_channels: int, out_channels: int, clamp: float | None) -> None:
        super().__init__()
        self.conv0 = EqualizedConv2d(in_channels, out_channels, clamp=clamp)
        self.conv1 = EqualizedConv2d(out_channels, out_channels, clamp=clamp)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, out_channels, H, W)``."""
        y: Tensor = self.conv1(self.conv0(x))
        return y


class _DiscriminatorOutput(nn.Module):
    """Map features to a score: minibatch statistic, one convolution, two linear layers."""

    def __init__(self, channels: int, size: tuple[int, int], clamp: float | None) -> None:
        super().__init__()
        self.conv = EqualizedConv2d(channels + 1, channels, clamp=clamp)
        self.fc = EqualizedLinear(channels * size[0] * size[1], channels, activation="lrelu")
        self.out = EqualizedLinear(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, h, w)`` to ``(N, 1)``."""
        y: Tensor = self.out(self.fc(self.conv(minibatch_stddev(x)).flatten(1)))
        return y


class StyleGAN2Discriminator(nn.Module):
    """Score how real an image looks, given its known part.

    Args:
        imsize: ``(height, width)`` in pixels.
        cnum: channels at full resolution.
        max_cnum_mul: largest multiple of ``cnum`` at low resolutions.
        min_fmap_resolution: longer side of the lowest level, in pixels.
        im_channels: colour channels.
        input_condition: see condition and mask beside the image.
        conv_clamp: limit of the activations; None for no limit.
        input_cse: see the surface embedding too.
        cse_nc: channels of that embedding.
        fix_residual: linear instead of leaky-ReLU skips.
    """

    resample_filter: Tensor

    def __init__(
        self,
        imsize: Sequence[int],
        cnum: int = 80,
        max_cnum_mul: int = 8,
        min_fmap_resolution: int = 4,
        im_channels: int = 3,
        input_condition: bool = True,
        conv_clamp: float | None = 256,
        input_cse: bool = False,
        cse_nc: int | None = None,
        fix_residual: bool = False,
    ) -> None:
        super().__init__()
        height, width = int(imsize[0]), int(imsize[1])
        self.imsize = (height, width)
        self.input_condition, self.input_cse = input_condition, input_cse
        longest = max(self.imsize)
        n_levels = math.floor(math.log2(longest) - math.log2(4)) + 1
        in_channels = im_channels
        if input_condition:
            in_channels += im_channels + 1
        if input_cse:
            in_channels += (cse_nc or 0) + 1

        def channels(resolution: int) -> int:
            return channels_at(max(resolution, min_fmap_resolution), longest, cnum, max_cnum_mul)

        # Unused, but part of every state dict that DeepPrivacy2 wrote.
        self.register_buffer("resample_filter", resample_filter())
        self.layers = nn.ModuleList(
            ResidualBlock(
                channels(longest // 2**i),
                channels(longest // 2 ** (i + 1)),
                down=1 if i == 0 else 2,
                clamp=conv_clamp,
                linear_skip=fix_residual,
            )
            for i in range(n_levels)
        )
        self.from_rgb = _DiscriminatorInput(in_channels, cnum, conv_clamp)
        lowest = (height // 2 ** (n_levels - 1), width // 2 ** (n_levels - 1))
        self.output_layer = _DiscriminatorOutput(channels(1), lowest, conv_clamp)

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> StyleGAN2Discriminator:
        """Build the discriminator that belongs to a generator preset, with random weights.

        Raises:
            ValueError: unknown name; the message lists the known ones.
        """
        return cls(**{**preset(DISCRIMINATOR_PRESETS, name), **overrides})

    def forward(
        self,
        img: Tensor,
        condition: Tensor,
        mask: Tensor,
        embedding: Tensor | None = None,
        E_mask: Tensor | None = None,  # noqa: N803 - upstream's name
        **_: Any,
    ) -> dict[str, Tensor]:
        """Score images.

        Args:
            img: ``(N, 3, H, W)`` in [-1, 1], real or composite.
            condition: ``(N, 3, H, W)``.
            mask: ``(N, 1, H, W)``, 1 = keep.
            embedding: ``(N, cse_nc, H, W)`` with ``input_cse`` only.
            E_mask: ``(N, 1, H, W)`` with ``input_cse`` only.
            _: further batch keys are ignored, as in DeepPrivacy2.

        Returns:
            ``{"score": (N, 1)}``; larger is more real.
        """
        inputs = [img]
        if self.input_condition:
            inputs += [condition, mask]
        if self.input_cse:
            if embedding is None or E_mask is None:
                raise ValueError("This discriminator needs `embedding` and `E_mask`; got none.")
            inputs += [embedding, E_mask]
        x = self.from_rgb(torch.cat([t.to(img.dtype) for t in inputs], dim=1))
        for layer in self.layers:
            x = layer(x)
        return {"score": self.output_layer(x)}
