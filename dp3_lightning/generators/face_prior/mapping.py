"""The network that makes styles from random numbers; needed only to sample training pictures."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dp3_lightning.assets import asset_path
from dp3_lightning.generators.face_prior.graph import read_graph
from dp3_lightning.generators.face_prior.synthesis import W_DIM

_N_LAYERS = 8


class MobileStyleGANMapping(nn.Module):
    """Map random numbers to styles: eight linear layers with leaky ReLU.

    Attributes:
        slope: of the activation.
        gain: of its output.
    """

    def __init__(self, slope: float = 0.2, gain: float = 2**0.5) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(W_DIM, W_DIM) for _ in range(_N_LAYERS))
        self.slope, self.gain = slope, gain

    @classmethod
    def from_package(cls) -> MobileStyleGANMapping:
        """Build the network with its published weights.

        Raises:
            AssetUnavailableError: the package cannot be had; says how to place the files by hand.
        """
        graph = asset_path("face_prior_mapping_graph")
        nodes = read_graph(graph, asset_path("face_prior_mapping_weights"))
        products = [node for node in nodes if node.kind == "MatMul"]
        activation = next(node for node in nodes if node.kind == "PReLU")
        gain = activation.user("Multiply").constant()
        net = cls(float(activation.constant()[0]), float(gain.reshape(-1)[0]))
        with torch.no_grad():
            for layer, product in zip(net.layers, products, strict=True):
                layer = cast(nn.Linear, layer)
                layer.weight.copy_(torch.from_numpy(product.constant()))
                layer.bias.copy_(torch.from_numpy(product.user("Add").constant()).reshape(-1))
        return net.eval().requires_grad_(False)

    def forward(self, z: Tensor) -> Tensor:
        """Map ``(N, 512)`` from N(0, 1) to styles ``(N, 512)``."""
        x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), self.slope) * self.gain
        return x
