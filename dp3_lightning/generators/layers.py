"""Build layers shared by generator and discriminator: equalised layers and resampling.

Clean-room PyTorch: written from a description of DeepPrivacy2's behaviour and checked against its
recorded outputs, with standard operators only. Parameter names match DeepPrivacy2's state dicts.

Source of the techniques: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN"
(2020); "Progressive Growing of GANs" (2018) for the equalised learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["linear", "lrelu", "relu", "swish"]

LRELU_SLOPE = 0.2
_GAINS: dict[str, float] = {"linear": 1.0, "lrelu": 2**0.5, "relu": 2**0.5, "swish": 2**0.5}


def activate(
    x: Tensor, bias: Tensor | None, activation: Activation, gain: float, clamp: float | None
) -> Tensor:
    """Add a bias per channel (dim 1), apply the non-linearity, scale by ``gain``, clamp.

    Args:
        x: ``(N, C, ...)``.
        bias: ``(C,)`` or None.
        activation: name of the non-linearity; lrelu has slope 0.2.
        gain: factor applied after the non-linearity.
        clamp: symmetric limit applied last, or None.
    """
    if bias is not None:
        x = x + bias.to(x.dtype).view(1, -1, *[1] * (x.ndim - 2))
    if activation == "lrelu":
        x = F.leaky_relu(x, LRELU_SLOPE)
    elif activation == "relu":
        x = F.relu(x)
    elif activation == "swish":
        x = F.silu(x)
    if gain != 1.0:
        x = x * gain
    return x if clamp is None else x.clamp(-clamp, clamp)


def resample_filter() -> Tensor:
    """Return the ``(4, 4)`` binomial low-pass filter of StyleGAN2, normalised to sum 1."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = torch.outer(taps, taps)
    return kernel / kernel.sum()


def _depthwise(x: Tensor, kernel: Tensor, padding: int, stride: int = 1) -> Tensor:
    channels = x.shape[1]
    weight = kernel.to(x.dtype).expand(channels, 1, *kernel.shape)
    return F.conv2d(x, weight, stride=stride, padding=padding, groups=channels)


def _depthwise_upsample(x: Tensor, kernel: Tensor) -> Tensor:
    channels = x.shape[1]
    weight = kernel.to(x.dtype).expand(channels, 1, *kernel.shape)
    return F.conv_transpose2d(x, weight, stride=2, padding=1, groups=channels)


def resampled_conv2d(
    x: Tensor,
    weight: Tensor,
    kernel: Tensor | None,
    up: int,
    down: int,
    bias: Tensor | None = None,
) -> Tensor:
    """Convolve and change the resolution by two, with the low-pass filter in the right place.

    Args:
        x: ``(N, C_in, H, W)``; H and W must be even when ``down`` is 2.
        weight: ``(C_out, C_in, k, k)`` with k 1 or 3, already scaled; not flipped (correlation).
        kernel: the ``(4, 4)`` low-pass filter; needed when ``up`` or ``down`` is 2.
        up: 1 or 2.
        down: 1 or 2.
        bias: ``(C_out,)`` or None; not with ``up`` 2.

    Returns:
        ``(N, C_out, H * up / down, W * up / down)``.
    """
    size = weight.shape[-1]
    if kernel is None or (up == 1 and down == 1):
        return F.conv2d(x, weight, bias, padding=size // 2)
    if down == 2:
        if size == 1:  # filter and drop every second sample in one strided pass
            return F.conv2d(_depthwise(x, kernel, stride=2, padding=1), weight, bias)
        return F.conv2d(_depthwise(x, kernel, padding=2), weight, bias, stride=2)
    if size == 1:  # factor up^2 keeps the mean: zero insertion spreads each sample over four
        return _depthwise_upsample(F.conv2d(x, weight), kernel * 4)
    x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    return _depthwise(x, kernel * 4, padding=1)


class EqualizedLinear(nn.Module):
    """Apply a fully connected layer with equalised learning rate.

    Args:
        in_features: width of the input.
        out_features: width of the output.
        activation: non-linearity applied with its default gain.
        lr_multiplier: factor on the effective learning rate of weight and bias.
        bias_init: initial value of the bias (not divided by ``lr_multiplier``, as in DeepPrivacy2).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        activation: Activation = "linear",
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__()
        self.activation: Activation = activation
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), float(bias_init)))
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_features)`` to ``(N, out_features)``."""
        y = F.linear(x, self.weight * self.weight_gain, self.bias * self.bias_gain)
        return activate(y, None, self.activation, _GAINS[self.activation], None)


def split_style(
    affine: nn.Module, affine_beta: nn.Module, w: Tensor | None, s: Tensor | None, channels: int
) -> tuple[Tensor, Tensor]:
    """Return gamma and beta of a modulated layer, ``(N, channels, 1, 1)`` each (N may be 1).

    Args:
        affine: maps ``w`` to gamma.
        affine_beta: maps ``w`` to beta.
        w: ``(N, w_dim)`` style vector.
        s: style row(s) that replace it, ``(..., >= 2 * channels)``: first gamma, then beta.
        channels: channels of the layer's input.
    """
    if s is not None:
        rows = s[..., : 2 * channels].reshape(-1, 2 * channels, 1, 1)
        return rows[:, :channels], rows[:, channels:]
    if w is None:
        raise ValueError("Expected a style `w` or `s` for a modulated layer, got neither.")
    return affine(w)[:, :, None, None], affine_beta(w)[:, :, None, None]


class EqualizedConv2d(nn.Module):
    """Convolve with equalised learning rate, optional resampling, style modulation and norm.

    The style scales and shifts the *input* (``x * gamma + beta``), before the zero padding of the
    convolution; there is no demodulation.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: 1 or 3.
        activation: non-linearity applied last.
        gain: factor on the default gain of the activation.
        up: 1 or 2, factor on the resolution.
        down: 1 or 2, divisor of the resolution.
        clamp: limit of the output before ``gain``; the effective limit is ``clamp * gain``.
        w_dim: width of the style vector, or None for an unmodulated layer.
        norm: instance normalisation (eps 1e-5, no affine) between convolution and bias.
        bias: whether there is a bias.
    """

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        activation: Activation = "lrelu",
        gain: float = 1.0,
        up: int = 1,
        down: int = 1,
        clamp: float | None = None,
        w_dim: int | None = None,
        norm: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels, self.up, self.down, self.norm = in_channels, up, down, norm
        self.activation: Activation = activation
        self.gain = _GAINS[activation] * gain
        self.clamp = None if clamp is None else clamp * gain
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.weight_gain = 1.0 / math.sqrt(in_channels * kernel_size**2)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.modulated = w_dim is not None
        if w_dim is not None:
            self.affine = EqualizedLinear(w_dim, in_channels, bias_init=1.0)
            self.affine_beta = EqualizedLinear(w_dim, in_channels, bias_init=0.0)
        if up != 1 or down != 1:
            self.register_buffer("resample_filter", resample_filter())

    def forward(self, x: Tensor, w: Tensor | None = None, s: Tensor | None = None) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, out_channels, H * up / down, W * up / down)``."""
        if self.modulated:
            gamma, beta = split_style(self.affine, self.affine_beta, w, s, self.in_channels)
            x = torch.addcmul(beta.to(x.dtype), x, gamma.to(x.dtype))
        kernel = self.resample_filter if self.up != 1 or self.down != 1 else None
        x = resampled_conv2d(
            x, (self.weight * self.weight_gain).to(x.dtype), kernel, self.up, self.down
        )
        if self.norm:
            x = F.instance_norm(x, eps=1e-5)
        return activate(x, self.bias, self.activation, self.gain, self.clamp)


class ResidualBlock(nn.Module):
    """Add two 3x3 convolutions to a 1x1 skip: output = skip(x) + conv1(conv0(x)).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        up: 1 or 2, applied by ``conv1`` and the skip.
        down: 1 or 2, applied by ``conv0`` and the skip.
        gain: gain of both branches, so that their sum keeps its variance.
        clamp: limit of the convolution branch.
        linear_skip: False gives the skip a leaky ReLU, as the first published models have.
        w_dim: width of the style, or None.
        norm: instance normalisation in both 3x3 convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        up: int = 1,
        down: int = 1,
        gain: float = 0.5**0.5,
        clamp: float | None = None,
        linear_skip: bool = False,
        w_dim: int | None = None,
        norm: bool = False,
    ) -> None:
        super().__init__()
        self.in_place = False
        self.conv0 = EqualizedConv2d(
            in_channels, out_channels, down=down, clamp=clamp, w_dim=w_dim, norm=norm
        )
        self.conv1 = EqualizedConv2d(
            out_channels, out_channels, gain=gain, up=up, clamp=clamp, w_dim=w_dim, norm=norm
        )
        self.skip = EqualizedConv2d(
            in_channels,
            out_channels,
            kernel_size=1,
            activation="linear" if linear_skip else "lrelu",
            gain=gain,
            up=up,
            down=down,
            bias=False,
        )

    def forward(
        self, x: Tensor, w: Tensor | None = None, styles: Iterator[Tensor] | None = None
    ) -> Tensor:
        """Map ``(N, in, H, W)`` to ``(N, out, H', W')``; one row of ``styles`` a convolution."""
        shortcut = self.skip(x)
        x = self.conv0(x, w, None if styles is None else next(styles))
        x = self.conv1(x, w, None if styles is None else next(styles))
        result: Tensor = shortcut.add_(x) if self.in_place else shortcut + x
        return result


def channels_at(resolution: int, largest: int, cnum: int, max_cnum_mul: int) -> int:
    """Return the width of the level of ``resolution`` pixels in a network of ``largest``."""
    return cnum * min(
        int(2 ** math.floor(math.log2(largest) - math.log2(resolution))), max_cnum_mul
    )
