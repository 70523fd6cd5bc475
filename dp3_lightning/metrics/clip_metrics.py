"""The figures as torchmetrics: taken in clip by clip, synced over processes.

They fit into ``self.log`` of any LightningModule. A figure of one's own is a subclass of
:class:`ClipMetric` with `names` and `measure`.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from dp3_lightning.metrics.quality import high_frequency_share, sharpness, total_variation
from dp3_lightning.metrics.temporal import (
    flicker,
    flow_difference,
    perceptual_difference,
    warping_errors,
)
from dp3_lightning.optical_flow import FarnebackFlow, FlowEstimator


class ClipMetric(Metric):
    """Means over clips, which count by their pairs of frames, or by their frames.

    Attributes:
        names: of the values that `measure` returns.
        by_frames: whether single frames have a value, so that clips count by their frames.
    """

    sums: Tensor
    count: Tensor
    names: tuple[str, ...]
    by_frames = False
    higher_is_better: bool | None = False
    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        zeros = torch.zeros(len(self.names), dtype=torch.float64)
        self.add_state("sums", zeros, dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(
        self,
        output: Tensor,
        original: Tensor,
        region: Tensor,
        pair_valid: Tensor | None = None,
    ) -> None:
        """Take in one clip; where a value has no meaning for it, nothing changes.

        Args:
            output: ``(T, 3, H, W)`` in [-1, 1], anonymized.
            original: same shape, its source.
            region: ``(T, 1, H, W)``, 1 or 0, where to measure.
            pair_valid: ``(T-1,)`` bool, False across cuts; default: all True.
        """
        values = self.measure(output, original, region, pair_valid)
        if not all(math.isfinite(value) for value in values):
            return
        count = len(original) - 1 if pair_valid is None else int(pair_valid.sum())
        count = len(original) if self.by_frames else count
        self.sums += torch.tensor(values, dtype=torch.float64, device=self.sums.device) * count
        self.count += count

    @abstractmethod
    def measure(
        self, output: Tensor, original: Tensor, region: Tensor, pair_valid: Tensor | None
    ) -> tuple[float, ...]:
        """Return the values of one clip, as many as `names`."""

    def compute(self) -> dict[str, Tensor]:
        """Return the means by name; NaN without any."""
        return dict(zip(self.names, self.sums / self.count, strict=True))


class _AlongFlow(ClipMetric):
    """A figure along the original's motion."""

    def __init__(self, estimator: FlowEstimator | None = None) -> None:
        super().__init__()
        self.estimator = estimator or FarnebackFlow()


class WarpingError(_AlongFlow):
    """:func:`warping_errors` over many clips: ``output``, ``original`` and ``excess``.

    Args:
        estimator: optical flow; default :class:`FarnebackFlow`.
    """

    names = ("output", "original", "excess")

    def measure(
        self, output: Tensor, original: Tensor, region: Tensor, pair_valid: Tensor | None
    ) -> tuple[float, ...]:
        """See :func:`warping_errors`."""
        found = warping_errors(output, original, region, self.estimator, pair_valid)
        return found.output, found.original, found.excess


class FlowDifference(_AlongFlow):
    """:func:`flow_difference` over many clips: ``tOF``, in pixels.

    Args:
        estimator: optical flow; default :class:`FarnebackFlow`, as TecoGAN's.
    """

    names = ("tOF",)

    def measure(
        self, output: Tensor, original: Tensor, region: Tensor, pair_valid: Tensor | None
    ) -> tuple[float, ...]:
        """See :func:`flow_difference`."""
        return (flow_difference(output, original, region, self.estimator, pair_valid),)


class PerceptualDifference(ClipMetric):
    """:func:`perceptual_difference` over many clips: ``tLP``, of whole pictures.

    Args:
        distance: of pictures, ``(N, 3, H, W)`` twice to N values, LPIPS or another.
    """

    names = ("tLP",)

    def __init__(self, distance: nn.Module) -> None:
        super().__init__()
        self.distance = distance

    def measure(
        self, output: Tensor, original: Tensor, region: Tensor, pair_valid: Tensor | None
    ) -> tuple[float, ...]:
        """See :func:`perceptual_difference`; the region is not looked at."""
        return (perceptual_difference(output, original, self.distance, pair_valid),)


class Flicker(ClipMetric):
    """:func:`flicker` over many clips: ``output`` and ``original``."""

    names = ("output", "original")

    def measure(
        self, output: Tensor, original: Tensor, region: Tensor, pair_valid: Tensor | None
    ) -> tuple[float, ...]:
        """See :func:`flicker`."""
        return flicker(output, region, pair_valid), flicker(original, region, pair_valid)


class Details(ClipMetric):
    """What blur takes, over many clips, each as a share of the original's: 1 is as sharp.

    ``sharpness`` (:func:`sharpness`), ``high frequencies`` (:func:`high_frequency_share`) and
    ``total variation`` (:func:`total_variation`).
    """

    names = ("sharpness", "high frequencies", "total variation")
    by_frames = True
    higher_is_better = None

    def measure(
        self, output: Tensor, original: Tensor, region: Tensor, pair_valid: Tensor | None
    ) -> tuple[float, ...]:
        """Return the three shares; NaN where the original has no detail."""
        pairs = [
            (figure(output, region), figure(original, region))
            for figure in (sharpness, high_frequency_share, total_variation)
        ]
        return tuple(made / real if real > 0 else math.nan for made, real in pairs)
