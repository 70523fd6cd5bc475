"""The frozen network that draws faces of people who do not exist, at four sizes.

Architecture: MobileStyleGAN (Belousov, 2021, arXiv 2104.04767), rebuilt here from the graph in the
package that carries its weights. A style modulates the channels of every layer; layers double the
resolution by an inverse wavelet transform and mix channels by depthwise and 1x1 convolutions. Only
the last layer draws colours; the heads for smaller pictures are trained here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dp3_lightning.assets import asset_path
from dp3_lightning.checks import check_choice
from dp3_lightning.generators.face_prior.graph import Node, read_graph

W_DIM = 512
N_LAYERS = 7
N_STYLES = N_LAYERS + 2  # first convolution, layers, output
SIZES = (128, 256, 512, 1024)
SLOPE = 0.2
_CHANNELS = (512, 512, 512, 512, 256, 128, 64)  # of the output of each layer
_LAST_LAYER = {128: 3, 256: 4, 512: 5, 1024: 6}


def inverse_haar(x: Tensor) -> Tensor:
    """Join four wavelet bands to a picture of twice the size.

    Args:
        x: ``(N, 4 * C, H, W)``: C low bands, then for every channel its three detail bands.

    Returns:
        ``(N, C, 2 * H, 2 * W)``.
    """
    n, channels, height, width = x.shape
    c = channels // 4
    low = x[:, :c]
    down, right, both = x[:, c:].view(n, c, 3, height, width).unbind(2)
    corners = (
        low + down + right + both,
        low - down + right - both,
        low + down - right - both,
        low - down - right + both,
    )
    top_left, bottom_left, top_right, bottom_right = corners
    joined = torch.stack([top_left, top_right, bottom_left, bottom_right], 2) * 0.5
    return F.pixel_shuffle(joined.view(n, 4 * c, height, width), 2)


def haar(x: Tensor) -> Tensor:
    """Split a picture into wavelet bands; the inverse of :func:`inverse_haar`.

    Args:
        x: ``(N, C, 2 * H, 2 * W)``.

    Returns:
        ``(N, 4 * C, H, W)``.
    """
    n, c, height, width = x.shape
    parts = F.pixel_unshuffle(x, 2).view(n, c, 4, height // 2, width // 2)
    a, b, d, e = parts.unbind(2)  # top left, top right, bottom left, bottom right
    details = torch.stack([a + b - d - e, a - b + d - e, a - b - d + e], 2) * 0.5
    return torch.cat([(a + b + d + e) * 0.5, details.flatten(1, 2)], 1)


class ModulatedConv(nn.Module):
    """Scale channels by a style, convolve depthwise and pointwise, add bias, activate.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        size: side of the picture in pixels, for the constant pattern that is added.
    """

    def __init__(self, in_channels: int, out_channels: int, size: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(W_DIM, in_channels)
        self.depthwise = nn.Conv2d(
            in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False
        )
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1)
        self.pattern = nn.Parameter(torch.zeros(1, 1, size, size))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Map ``(N, in_channels, size, size)`` and ``(N, 512)`` to ``(N, out_channels, ...)``."""
        x = self.depthwise(x * self.modulation(w)[:, :, None, None])
        return F.leaky_relu(self.pointwise(x) + self.pattern, SLOPE)


class SynthesisLayer(nn.Module):
    """Double the resolution, then convolve twice.

    Args:
        in_channels: channels of the input, a multiple of 4.
        out_channels: channels of the output.
        size: side of the output in pixels.
    """

    def __init__(self, in_channels: int, out_channels: int, size: int) -> None:
        super().__init__()
        self.up = nn.Linear(W_DIM, in_channels)
        self.conv1 = ModulatedConv(in_channels // 4, out_channels, size)
        self.conv2 = ModulatedConv(out_channels, out_channels, size)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Map ``(N, in_channels, size / 2, size / 2)`` to ``(N, out_channels, size, size)``."""
        x = inverse_haar(x * self.up(w)[:, :, None, None])
        out: Tensor = self.conv2(self.conv1(x, w), w)
        return out


class ColorHead(nn.Module):
    """Draw colours from the features of an inner layer.

    The features are taken as they are and scaled by the styles of the layers before and after.

    Args:
        channels: of the features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3 * channels, 12, 1)

    def forward(self, x: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Map features ``(N, C, H, W)``, scales ``(N, C)`` to a picture ``(N, 3, 2 H, 2 W)``."""
        bands: Tensor = self.conv(self.inputs(x, before, after))
        return inverse_haar(bands)

    @staticmethod
    def inputs(x: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Stack the three versions of the features, ``(N, 3 C, H, W)``."""
        return torch.cat([x, x * after[:, :, None, None], x * before[:, :, None, None]], 1)


class MobileStyleGANSynthesis(nn.Module):
    """Draw faces from styles.

    Styles are ``(N, 512)``, or ``(N, 9, 512)`` with one for the first convolution, one per layer
    (at 8, 16, ..., 512 pixels) and one for the output.
    """

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(1, _CHANNELS[0], 4, 4))
        self.first_modulation = nn.Linear(W_DIM, _CHANNELS[0])
        self.first = nn.Conv2d(_CHANNELS[0], _CHANNELS[0], 3, padding=1)
        self.first_pattern = nn.Parameter(torch.zeros(1, 1, 4, 4))
        ins = (_CHANNELS[0], *_CHANNELS[:-1])
        self.layers = nn.ModuleList(
            SynthesisLayer(i, o, 8 * 2**n)
            for n, (i, o) in enumerate(zip(ins, _CHANNELS, strict=True))
        )
        self.output_modulation = nn.Linear(W_DIM, _CHANNELS[-1])
        self.output = nn.Conv2d(_CHANNELS[-1], 12, 1)
        self.heads = nn.ModuleDict(
            {str(s): ColorHead(_CHANNELS[_LAST_LAYER[s]]) for s in SIZES if s < 1024}
        )

    @classmethod
    def from_package(cls) -> MobileStyleGANSynthesis:
        """Build the network with its published weights; the small heads stay untrained.

        Raises:
            AssetUnavailableError: the package cannot be had; says how to place the files by hand.
        """
        graph = asset_path("face_prior_synthesis_graph")
        nodes = {n.name: n for n in read_graph(graph, asset_path("face_prior_synthesis_weights"))}
        net = cls()
        with torch.no_grad():
            _fill(net, nodes)
        return net.eval().requires_grad_(False)

    def features(self, w: Tensor, size: int) -> Tensor:
        """Return what the picture of a size is drawn from, ``(N, C, size / 2, size / 2)``."""
        styles = _styles(w)
        x = self.start * self.first_modulation(styles[0])[:, :, None, None]
        x = F.leaky_relu(self.first(x) + self.first_pattern, SLOPE)
        for number in range(_LAST_LAYER[size] + 1):
            x = self.layers[number](x, styles[number + 1])
        features: Tensor = x
        return features

    def head_scales(self, w: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Return the styles before and after the features of a size, ``(N, C)`` each."""
        last = _LAST_LAYER[size]
        style = _styles(w)[last + 2]
        before = cast(SynthesisLayer, self.layers[last]).conv2.modulation(style)
        return before, cast(SynthesisLayer, self.layers[last + 1]).up(style)

    def forward(self, w: Tensor, size: int = 256) -> Tensor:
        """Draw faces.

        Args:
            w: styles, ``(N, 512)`` or ``(N, 9, 512)``.
            size: 128, 256, 512 or 1024 pixels.

        Returns:
            ``(N, 3, size, size)``, RGB, about [-1, 1], not clamped.

        Raises:
            ValueError: another size.
        """
        check_choice([str(s) for s in SIZES], size=str(size))
        x = self.features(w, size)
        if size == SIZES[-1]:
            scale = self.output_modulation(_styles(w)[-1])
            return inverse_haar(self.output(x * scale[:, :, None, None]))
        picture: Tensor = self.heads[str(size)](x, *self.head_scales(w, size))
        return picture


def _styles(w: Tensor) -> Sequence[Tensor]:
    return [w] * N_STYLES if w.ndim == 2 else w.unbind(1)


def _fill(net: MobileStyleGANSynthesis, nodes: dict[str, Node]) -> None:
    """Copy the package's constants into the network, by the names in its graph."""

    def modulate(target: nn.Linear, name: str) -> None:
        weight = nodes[f"m.{name}.modulation.weight"]
        bias = nodes[f"m.{name}.modulation.bias"]
        scale = bias.user("Add").user("Reshape").user("Multiply").inputs[1]
        gain = 1.0 if scale.value is None else float(scale.value.reshape(-1)[0])
        _copy(target.weight, weight, gain)
        _copy(target.bias, bias, gain)

    def convolve(target: ModulatedConv, name: str) -> None:
        modulate(target.modulation, f"{name}.conv")
        kernel = nodes[f"m.{name}.conv.weight_dw"]
        _copy(target.depthwise.weight, kernel)
        mix = kernel.user("GroupConvolution").user("Convolution")
        _mix(target.pointwise, target.pattern, mix, nodes[f"m.{name}.bias"])

    def _mix(conv: nn.Conv2d, pattern: Tensor, mix: Node, bias: Node) -> None:
        _copy(conv.weight, mix.inputs[1])
        if conv.bias is not None:
            _copy(conv.bias, bias)
        pattern.copy_(torch.from_numpy(mix.user("Add").constant()))

    _copy(net.start, nodes["m.input.input"])
    modulate(net.first_modulation, "conv1.conv")
    first = next(n for n in nodes.values() if n.kind == "Convolution")
    _mix(net.first, net.first_pattern, first, nodes["m.conv1.bias"])
    for number, layer in enumerate(net.layers):
        layer = cast(SynthesisLayer, layer)
        modulate(layer.up, f"layers.{number}.up")
        convolve(layer.conv1, f"layers.{number}.conv1")
        convolve(layer.conv2, f"layers.{number}.conv2")
    modulate(net.output_modulation, "layers.6.to_img.conv")
    _copy(net.output.weight, nodes["m.layers.6.to_img.conv.weight"])
    if net.output.bias is not None:
        _copy(net.output.bias, nodes["m.layers.6.to_img.bias"])


def _copy(target: Tensor, node: Node, gain: float = 1.0) -> None:
    if node.value is None:
        raise ValueError(f"Expected a constant in {node.name!r}, got {node.kind}.")
    target.copy_(torch.from_numpy(node.value * gain).reshape(target.shape))
