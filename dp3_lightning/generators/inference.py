"""Build a generator's fast form: the same numbers from fewer passes over memory, no gradient."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dp3_lightning.generators.base import GeneratorAdapter
from dp3_lightning.generators.layers import (
    LRELU_SLOPE,
    EqualizedConv2d,
    EqualizedLinear,
    ResidualBlock,
    split_style,
)
from dp3_lightning.generators.native import StyleGANUnetAdapter
from dp3_lightning.generators.stylegan_unet import StyleGANUnet


class FoldedLinear(nn.Module):
    """Fold the gains of an :class:`EqualizedLinear` without activation into its weights.

    Args:
        source: the layer to fold; unchanged.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, source: EqualizedLinear) -> None:
        super().__init__()
        self.register_buffer("weight", source.weight.detach() * source.weight_gain)
        self.register_buffer("bias", source.bias.detach() * source.bias_gain)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_features)`` to ``(N, out_features)``."""
        return F.linear(x, self.weight, self.bias)


class FoldedConv2d(nn.Module):
    """Fold the gains of an :class:`EqualizedConv2d` into its weights, and work in place.

    ``lrelu(g * x) = g * lrelu(x)`` for g > 0, so the gain of the activation moves into weight and
    bias; behind a norm, which would cancel it, it becomes the norm's scale. Kernels are laid out
    once for the channels-last activations that every layer here takes and gives.

    Args:
        source: the layer to fold; unchanged. Its activation must be linear or lrelu.
    """

    weight: Tensor
    bias: Tensor | None
    scale: Tensor
    low_pass: Tensor | None

    def __init__(self, source: EqualizedConv2d) -> None:
        super().__init__()
        if source.activation not in ("linear", "lrelu"):
            raise ValueError(f"Cannot fold the gain of activation {source.activation!r}.")
        self.in_channels, self.up, self.down = source.in_channels, source.up, source.down
        self.norm, self.clamp, self.activation = source.norm, source.clamp, source.activation
        self.size = source.weight.shape[-1]
        weight, gain = source.weight.detach() * source.weight_gain, source.gain
        out_channels = len(weight)
        if not self.norm:
            weight = weight * gain
        if self.up == 2 and self.size == 3:
            weight = weight.transpose(0, 1)  # as a transposed convolution wants it
        bias = None if source.bias is None else source.bias.detach() * gain
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", bias)
        self.register_buffer("scale", weight.new_full((out_channels,), gain))
        self.register_buffer("low_pass", self._low_pass(source, out_channels))
        self.modulated = source.modulated
        if source.modulated:
            self.affine = FoldedLinear(source.affine)
            self.affine_beta = FoldedLinear(source.affine_beta)

    def _low_pass(self, source: EqualizedConv2d, out_channels: int) -> Tensor | None:
        """Return the resampling filter, once per channel that it is applied to."""
        if self.up == 1 and self.down == 1:
            return None
        channels = self.in_channels if self.down == 2 else out_channels
        kernel = source.resample_filter * self.up**2  # zero insertion divides the mean by that
        return kernel.expand(channels, 1, *kernel.shape).contiguous()

    def forward(self, x: Tensor, w: Tensor | None = None, s: Tensor | None = None) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, out_channels, H * up / down, W * up / down)``."""
        if self.modulated:
            gamma, beta = split_style(self.affine, self.affine_beta, w, s, self.in_channels)
            x = torch.addcmul(beta.to(x.dtype), x, gamma.to(x.dtype))
        # The bias joins the convolution wherever nothing stands between them.
        fused = None if self.norm or self.up == 2 else self.bias
        x = self._convolve(x, fused)
        if self.norm:
            x = _instance_norm(x, self.scale, self.bias)
        elif self.bias is not None and fused is None:
            x = x.add_(self.bias.view(1, -1, 1, 1))
        if self.activation == "lrelu":
            x = F.leaky_relu_(x, LRELU_SLOPE)
        return x if self.clamp is None else x.clamp_(-self.clamp, self.clamp)

    def _convolve(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve as :func:`resampled_conv2d` does."""
        if self.low_pass is None:
            return F.conv2d(x, self.weight, bias, padding=self.size // 2)
        groups = len(self.low_pass)
        if self.down == 2:
            first = 2 if self.size == 1 else 1
            x = F.conv2d(x, self.low_pass, stride=first, padding=3 - first, groups=groups)
            # padding: 1 with the stride in the filter, 2 with the stride in the convolution
            return F.conv2d(x, self.weight, bias, stride=3 - first)
        if self.size == 3:
            x = F.conv_transpose2d(x, self.weight, stride=2)
            return F.conv2d(x, self.low_pass, padding=1, groups=groups)
        x = F.conv2d(x, self.weight)
        if x.dtype == torch.float32:
            return F.conv_transpose2d(x, self.low_pass, stride=2, padding=1, groups=groups)
        # The filter is bilinear interpolation with zeros outside; processors have no fast
        # transposed depthwise convolution in half precision.
        padded = F.pad(x, (1, 1, 1, 1))
        return F.interpolate(padded, scale_factor=2, mode="bilinear")[..., 2:-2, 2:-2]


def _instance_norm(x: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """Normalise every channel of every sample, then scale and shift; keeps channels last."""
    if len(x) == 1:  # the batch is the instance, and this kernel keeps the layout
        return F.batch_norm(x, None, None, scale, bias, training=True, eps=1e-5)
    variance, mean = torch.var_mean(x.float(), dim=(2, 3), keepdim=True, correction=0)
    factor = scale.view(1, -1, 1, 1) * torch.rsqrt(variance + 1e-5)
    shift = -mean * factor
    if bias is not None:
        shift = shift + bias.view(1, -1, 1, 1)
    return torch.addcmul(shift.to(x.dtype), x, factor.to(x.dtype))


def _folded_copy(net: StyleGANUnet) -> tuple[StyleGANUnet, int]:
    """Copy a network with its convolutions folded; returns also their number."""
    # What deepcopy finds here it takes instead of copying, so no weight is copied twice.
    memo: dict[int, Any] = {
        id(m): FoldedConv2d(m) for m in net.modules() if isinstance(m, EqualizedConv2d)
    }
    n_folded = len(memo)
    copied = copy.deepcopy(net, memo).eval().requires_grad_(False)
    for module in copied.modules():
        if isinstance(module, ResidualBlock):
            module.in_place = True
    return copied, n_folded


class InferenceGenerator(GeneratorAdapter):
    """Draw as a native generator does, faster; made by :func:`optimize_for_inference`.

    Attributes:
        changes: differences from the training form, one sentence each.
        dtype: type the network computes in; inputs and outputs are float32.
    """

    def __init__(self, source: StyleGANUnetAdapter, dtype: torch.dtype) -> None:
        super().__init__()
        self.image_size, self.z_dim, self.dtype = source.image_size, source.z_dim, dtype
        self.net, n_folded = _folded_copy(source.net)
        self.changes = [
            f"{n_folded} convolutions with their gains and biases folded, activations in place",
            "no gradients, no training",
        ]
        mapping = copy.deepcopy(self.net.style_net)
        self.net.to(dtype)
        self.net.style_net = mapping  # 0.01 % of the work: keep every bit of it
        if dtype != torch.float32:
            self.changes.append(f"computes in {dtype}")
        self.changes.append("channels last in memory")

    def map_latents(self, z: Tensor) -> Tensor:
        """Map latents ``(B, z_dim)`` to styles ``(B, w_dim)``."""
        styles: Tensor = self.net.style_net(z)
        return styles

    @torch.inference_mode()
    def draw(
        self,
        condition: Tensor,
        keep_mask: Tensor,
        w: Tensor | None,
        conditions: Mapping[str, Tensor],
    ) -> Tensor:
        """Draw single frames without gradient, see :meth:`GeneratorAdapter.draw`."""
        known = {
            k: conditions[k].to(self.dtype)
            for k in ("embedding", "keypoints", "E_mask")
            if k in conditions
        }
        condition, keep_mask = (
            t.to(self.dtype, memory_format=torch.channels_last) for t in (condition, keep_mask)
        )
        x, features = self.net.encode(condition, keep_mask, **known)
        image = self.net.decode(x, features, None if w is None else w.to(self.dtype))
        return image.float().contiguous()


def optimize_for_inference(
    generator: StyleGANUnetAdapter,
    dtype: torch.dtype = torch.float32,
) -> InferenceGenerator:
    """Return the fast form of a generator; the generator itself is untouched.

    Args:
        generator: native generator; its present weights are copied.
        dtype: ``torch.float32`` (same images within 1e-4), or ``torch.bfloat16`` or
            ``torch.float16`` where the processor computes fast in it.

    Returns:
        An adapter whose ``changes`` say what was changed.

    Raises:
        TypeError: not a native generator.
    """
    if not isinstance(generator, StyleGANUnetAdapter):
        raise TypeError(
            f"Expected a StyleGANUnetAdapter to optimise, got {type(generator).__name__}."
        )
    return InferenceGenerator(generator, dtype)
