"""Add the total-variation terms in space and in time."""

from __future__ import annotations

from torch import Tensor

from dp3_lightning.callbacks.base import LossCallback
from dp3_lightning.callbacks.flow_consistency import FlowSource
from dp3_lightning.losses.total_variation import temporal_variation, total_variation
from dp3_lightning.optical_flow import FlowEstimator
from dp3_lightning.structures import GeneratorStep


class TotalVariationLoss(LossCallback):
    """Penalise anisotropic total variation over the hole and the one-pixel ring around it.

    See :func:`dp3_lightning.losses.total_variation`; arguments as in :class:`LossCallback`. Rewards
    blur when its weight is large: watch sharpness.
    """

    def compute_loss(self, step: GeneratorStep) -> Tensor:
        """Return the total variation per generated pixel."""
        return total_variation(step.fake, step.keep_mask)


class TemporalVariationLoss(LossCallback):
    """Penalise the change of the hole along the real motion, with gradient to both frames.

    Args:
        weight: see :class:`LossCallback`.
        warmup_steps: see :class:`LossCallback`.
        name: see :class:`LossCallback`.
        estimator: flow for batches that carry none; default :class:`DISFlow`.
    """

    def __init__(
        self,
        weight: float = 1.0,
        warmup_steps: int = 0,
        name: str | None = None,
        estimator: FlowEstimator | None = None,
    ) -> None:
        super().__init__(weight, warmup_steps, name)
        self.flow = FlowSource(estimator)

    def compute_loss(self, step: GeneratorStep) -> Tensor:
        """Return the temporal variation; 0 for clips of one frame."""
        if step.fake.shape[1] < 2:
            return step.fake.sum() * 0
        flow, visible = self.flow.to_previous(step)
        return temporal_variation(step.fake, step.keep_mask, flow, visible)
