"""Estimate flow by RAFT, a network that needs weights and is slow without a GPU.

torchvision is imported inside functions, because its import is slow and fails on some machines.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dp3_lightning.optical_flow.estimator import FlowEstimator

_RAFT_MIN_SIDE = 128  # below, the last of four correlation levels has no pixels left


class RAFTFlow(FlowEstimator):
    """Estimate flow by torchvision's RAFT (Teed and Deng, ECCV 2020) on the input's device.

    The network is built at the first call. Images are scaled to sides that are multiples of 8 and
    at least 128 px, and the flow back to the pixels of the input.

    Args:
        weights: local file with a state dict of torchvision's ``raft_small`` or ``raft_large``.
            None: torchvision's cache, or its download (20 MB large, 4 MB small).
        size: which network.
        pretrained: False builds a network with fixed random weights, for tests of shapes only.

    Raises:
        ValueError: unknown size, or `weights` together with ``pretrained=False``.
    """

    def __init__(
        self,
        weights: str | None = None,
        size: Literal["small", "large"] = "small",
        pretrained: bool = True,
    ) -> None:
        if size not in ("small", "large"):
            raise ValueError(f"Expected `size` 'small' or 'large', got {size!r}.")
        if weights is not None and not pretrained:
            raise ValueError("Give `weights` or `pretrained=False`, not both.")
        self.weights = None if weights is None else Path(weights)
        self.size = size
        self.pretrained = pretrained
        variant = "-random" if not pretrained else f"-{self.weights.stem}" if self.weights else ""
        self.name = f"raft-{size}{variant}"
        self._network: nn.Module | None = None

    def _estimate(self, source: Tensor, target: Tensor) -> Tensor:
        if self._network is None:
            self._network = self._build()
        network = self._network.to(source.device)
        height, width = source.shape[2:]
        inner = [max(_RAFT_MIN_SIDE, math.ceil(side / 8) * 8) for side in (height, width)]
        if inner != [height, width]:
            source = F.interpolate(source, inner, mode="bilinear", align_corners=False)
            target = F.interpolate(target, inner, mode="bilinear", align_corners=False)
        with torch.autocast(source.device.type, enabled=False):
            flow: Tensor = network(source, target)[-1]
        if inner != [height, width]:
            flow = F.interpolate(flow, (height, width), mode="bilinear", align_corners=False)
            # Resizing moves the vectors; their lengths are still in pixels of the inner size.
            flow = flow * flow.new_tensor([width / inner[1], height / inner[0]]).view(1, 2, 1, 1)
        return flow

    def _build(self) -> nn.Module:
        models = _torchvision_flow()
        # Building draws weights, which must neither move nor depend on the caller's random state.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network: nn.Module = getattr(models, f"raft_{self.size}")(weights=None)
        if self.pretrained:
            state = _read_weights(self.weights) if self.weights else _download(models, self.size)
            try:
                network.load_state_dict(state)
            except (RuntimeError, TypeError, AttributeError) as error:
                raise ValueError(
                    f"`{self.weights}` holds no state dict of torchvision's raft_{self.size}; "
                    f"check `size`. {error}"
                ) from error
        return network.eval().requires_grad_(False)


def _torchvision_flow() -> Any:
    try:
        from torchvision.models import optical_flow
    except (ImportError, RuntimeError) as error:  # RuntimeError: its compiled ops do not load
        raise RuntimeError(
            f"RAFTFlow needs a torchvision that imports beside torch {torch.__version__}: {error}. "
            "Install the matching torchvision, or use DISFlow."
        ) from error
    return optical_flow


def _read_weights(path: Path) -> Any:
    if not path.is_file():
        raise ValueError(f"Expected `weights` to be a file with RAFT weights, got {path}.")
    return torch.load(path, map_location="cpu", weights_only=True)


def _download(models: Any, size: str) -> Any:
    weights = getattr(models, f"Raft_{size.capitalize()}_Weights").DEFAULT
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network; hash mismatch
        raise RuntimeError(
            f"Could not download RAFT weights from {weights.url}: {error}. Fetch that file "
            "elsewhere and pass its path as `weights`, or use DISFlow, which needs none."
        ) from error
