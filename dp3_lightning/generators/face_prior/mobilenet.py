"""MobileNetV2's features (Sandler et al., 2018) in the names of torchvision's weights.

Written here because importing torchvision takes seconds and fails beside the CPU build of torch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dp3_lightning.assets import asset_path

# expansion, channels, repetitions, stride of the first
_BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
OUT_CHANNELS = 320
STRIDE = 32


def _conv(inside: int, outside: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inside, outside, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """Widen channels, convolve each, narrow them again; add the input where shapes allow.

    Args:
        inside: channels of the input.
        outside: channels of the output.
        stride: 1 or 2.
        expansion: factor of the width in between.
    """

    def __init__(self, inside: int, outside: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inside * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_conv(inside, wide, 1)]
        layers += [
            _conv(wide, wide, 3, stride, groups=wide),
            nn.Conv2d(wide, outside, 1, bias=False),
            nn.BatchNorm2d(outside),
        ]
        self.conv = nn.Sequential(*layers)
        self.adds = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, inside, H, W)`` to ``(N, outside, H / stride, W / stride)``."""
        out: Tensor = self.conv(x)
        return x + out if self.adds else out


class MobileNetV2Features(nn.Sequential):
    """Map pictures ``(N, in_channels, H, W)`` to features ``(N, 320, H / 32, W / 32)``.

    Args:
        in_channels: 3, or more: the further ones start with weights of zero.
    """

    def __init__(self, in_channels: int = 3) -> None:
        layers: list[nn.Module] = [_conv(in_channels, 32, 3, 2)]
        inside = 32
        for expansion, outside, n, stride in _BLOCKS:
            for repetition in range(n):
                layers.append(
                    InvertedResidual(inside, outside, stride if repetition == 0 else 1, expansion)
                )
                inside = outside
        super().__init__(*layers)
        self.in_channels = in_channels

    def load_imagenet(self) -> None:
        """Load weights trained on ImageNet from the pinned asset ``mobilenet_v2``.

        Raises:
            AssetUnavailableError: the file cannot be had; says how to place it by hand.
        """
        stored = torch.load(asset_path("mobilenet_v2"), map_location="cpu", weights_only=True)
        own = self.state_dict()
        state = {name: stored[f"features.{name}"] for name in own}
        first = torch.zeros_like(own["0.0.weight"])
        first[:, :3] = state["0.0.weight"]
        self.load_state_dict({**state, "0.0.weight": first})
