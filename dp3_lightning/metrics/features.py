"""What distributions of pictures are compared by: Inception where at hand, or a substitute."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dp3_lightning.losses.perceptual import MobileNetV2Distance
from dp3_lightning.structures import FloatArray

_STAGE = 3  # of five: stride 16, 96 channels; few enough for the covariance of a hundred frames
_INCEPTION = "weights-inception-2015-12-05-6726825d.pth"  # torch-fidelity's file


@dataclass(frozen=True)
class PictureFeatures:
    """A network that describes pictures by a row of numbers each.

    Attributes:
        name: of the network, for reports.
        frechet: what the Frechet distance of its features is called; FID is Inception's alone.
        kernel: what the kernel distance of its features is called; KID is Inception's alone.
        network: ``(N, 3, H, W)`` in [-1, 1] to ``(N, D)``.
    """

    name: str
    frechet: str
    kernel: str
    network: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def of(self, batches: Iterable[Tensor]) -> FloatArray:
        """Return ``(N, D)`` float64 for batches ``(n, 3, H, W)`` in [-1, 1]."""
        rows = [self.network(batch).double().cpu().numpy() for batch in batches]
        return np.concatenate(rows)


def mobilenet_features(weights: str | Path | MobileNetV2Distance) -> PictureFeatures:
    """Return mean MobileNetV2 features, 96 numbers: the substitute for Inception.

    Args:
        weights: torchvision's ``mobilenet_v2`` state dict file, or the network built from it.
    """
    net = weights if isinstance(weights, MobileNetV2Distance) else MobileNetV2Distance(weights)

    def network(pictures: Tensor) -> Tensor:
        return net.features_at(pictures, _STAGE).mean((2, 3))

    return PictureFeatures(
        "MobileNetV2, stage 3", "MobileNetV2 Frechet", "MobileNetV2 kernel distance", network
    )


def inception_features() -> PictureFeatures | None:
    """Return the features of FID and KID, or None: they need torch-fidelity and its weight file.

    The file must lie in torch's hub cache already; nothing is downloaded here.
    """
    file = Path(torch.hub.get_dir()) / "checkpoints" / _INCEPTION
    try:
        from torchmetrics.image.fid import NoTrainInceptionV3

        if not file.is_file():
            return None
        net = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(file))
    except (ImportError, ModuleNotFoundError):
        return None

    def network(pictures: Tensor) -> Tensor:
        levels = ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        rows: Tensor = net(levels)
        return rows

    return PictureFeatures("Inception, 2048", "FID", "KID", network)
