"""Compute LPIPS where its trunk is available, else a MobileNetV2 feature distance."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dp3_lightning.regions import interior

PerceptualDistance = Callable[[Tensor, Tensor], Tensor]

# torchvision's file names, as lpips looks for them in the torch hub cache.
LPIPS_TRUNKS = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}
# Ends of the stages at strides 2, 4, 8, 16, 32 of torchvision's mobilenet_v2.features.
_MOBILENET_STAGES = (1, 3, 6, 13, 17)
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


def lpips_trunk(net: Literal["alex", "vgg"]) -> Path:
    """Return where the torch hub cache keeps (or would keep) the trunk's weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / LPIPS_TRUNKS[net]


def lpips_distance(net: Literal["alex", "vgg"]) -> nn.Module:
    """Build LPIPS (Zhang et al. 2018): ``(N, 3, H, W)`` in [-1, 1] twice to ``(N, 1, 1, 1)``.

    Raises:
        FileNotFoundError: the trunk is not in the torch hub cache; says where to put it.
    """
    trunk = lpips_trunk(net)
    if not trunk.is_file():
        raise FileNotFoundError(
            f"LPIPS needs the trunk weights {trunk.name} (torchvision's) at {trunk}: put the file "
            "there, or use `net: mobilenet_v2`."
        )
    import lpips

    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision's `pretrained` deprecation, inside lpips
        model: nn.Module = lpips.LPIPS(net=net, verbose=False)
    return model.eval().requires_grad_(False)


class MobileNetV2Distance(nn.Module):
    """Compare unit-normalised MobileNetV2 features; the substitute for LPIPS without its trunk.

    Squared difference of channel-normalised features, averaged over positions, averaged over five
    stages. It has no learnt weights on top: report it as "MobileNetV2 feature distance", not LPIPS.

    Args:
        weights: torchvision's ``mobilenet_v2`` state dict file.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: str | Path) -> None:
        super().__init__()
        from torchvision.models import mobilenet_v2

        trunk = mobilenet_v2(weights=None)
        trunk.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self.features: nn.Sequential = trunk.features[: _MOBILENET_STAGES[-1] + 1]
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(_IMAGENET_STD).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def _outputs(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the output of every stage for ``(N, 3, H, W)`` images in [-1, 1]."""
        x = ((images + 1) / 2 - self.mean) / self.std
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in _MOBILENET_STAGES:
                yield x

    def stages(self, images: Tensor) -> list[Tensor]:
        """Return the features of ``(N, 3, H, W)`` images in [-1, 1], channel-normalised."""
        return [F.normalize(x, dim=1, eps=1e-6) for x in self._outputs(images)]

    def features_at(self, images: Tensor, stage: int) -> Tensor:
        """Return the features of one stage (0 to 4, at strides 2 to 32) as they are."""
        return next(x for number, x in enumerate(self._outputs(images)) if number == stage)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the distance of ``(N, 3, H, W)`` images in [-1, 1] as ``(N, 1, 1, 1)``."""
        pairs = zip(self.stages(first), self.stages(second), strict=True)
        stages = [(a - b).square().sum(1).mean((1, 2)) for a, b in pairs]
        return torch.stack(stages).mean(0).view(-1, 1, 1, 1)


def perceptual_loss(
    fake: Tensor,
    real: Tensor,
    keep_mask: Tensor,
    distance: PerceptualDistance,
    mode: Literal["ring", "full"] = "ring",
) -> Tensor:
    """Return the perceptual distance of composites to real frames, per generated fraction.

    >>> def distance(a, b):
    ...     return (a - b).abs().mean((1, 2, 3))
    >>> fake, real = torch.ones(1, 1, 3, 8, 8), torch.zeros(1, 1, 3, 8, 8)
    >>> perceptual_loss(fake, real, torch.zeros(1, 1, 1, 8, 8), distance, "full").item()
    1.0

    Args:
        fake: composites ``(B, T, 3, H, W)``.
        real: real frames, same shape.
        keep_mask: ``(B, T, 1, H, W)``.
        distance: maps two ``(N, 3, H, W)`` batches to N distances.
        mode: ``full`` compares the whole hole, which pulls its interior towards the real person;
            ``ring`` shows the distance the same generated interior on both sides, so that only the
            inner ring (and how it meets the interior) counts.

    Returns:
        Scalar: mean over clips of mean distance over frames / hole fraction; 0 without a hole.
    """
    target = real
    if mode == "ring":
        inside = interior(keep_mask)
        target = real * (1 - inside) + fake.detach() * inside
    per_frame = distance(fake.flatten(0, 1), target.flatten(0, 1)).reshape(fake.shape[:2])
    fraction = (1 - keep_mask).flatten(1).mean(dim=1)
    return (per_frame.mean(dim=1) / fraction.clamp_min(1e-6) * (fraction > 0)).mean()
