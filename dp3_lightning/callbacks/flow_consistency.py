"""Add the optical-flow consistency term between the frames of a clip."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from dp3_lightning.callbacks.base import LossCallback
from dp3_lightning.checks import check_at_least, check_choice
from dp3_lightning.losses.flow_consistency import (
    FlowPenalty,
    chain_valid,
    flow_consistency,
    pair_visibility,
)
from dp3_lightning.optical_flow import DISFlow, FlowEstimator
from dp3_lightning.structures import GeneratorStep


class FlowSource:
    """Take flow of the real frames from the batch, or measure it when the batch has none.

    Args:
        estimator: used for batches without flow; default :class:`DISFlow`.
    """

    def __init__(self, estimator: FlowEstimator | None = None) -> None:
        self.estimator: FlowEstimator = DISFlow() if estimator is None else estimator

    def _measure(self, frames: Tensor, others: Tensor) -> Tensor:
        flow = self.estimator(frames.flatten(0, 1), others.flatten(0, 1))
        return flow.view(*frames.shape[:2], 2, *frames.shape[-2:]).to(frames.dtype)

    @torch.no_grad()
    def pair(self, step: GeneratorStep, other: str) -> tuple[Tensor, Tensor]:
        """Return flow from frames 1.. to the other frame (``previous`` or ``first``) and back.

        Returns:
            Two ``(B, T-1, 2, H, W)``, pixels.
        """
        keys = (f"flow_to_{other}", f"flow_from_{other}")
        if all(key in step.batch for key in keys):
            return step.batch[keys[0]].to(step.fake.dtype), step.batch[keys[1]].to(step.fake.dtype)
        frames = step.real[:, 1:]
        others = step.real[:, :-1] if other == "previous" else step.real[:, :1].expand_as(frames)
        return self._measure(frames, others), self._measure(others, frames)

    def to_previous(self, step: GeneratorStep) -> tuple[Tensor, Tensor]:
        """Return flow to the previous frame and where it is visible, ``(B, T-1, 2|1, H, W)``."""
        flow_to, flow_from = self.pair(step, "previous")
        return flow_to, pair_visibility(flow_to, flow_from, pair_validity(step))

    def to_first(self, step: GeneratorStep) -> tuple[Tensor, Tensor]:
        """Return flow to the first frame and where it is visible, ``(B, T-1, 2|1, H, W)``."""
        flow_to, flow_from = self.pair(step, "first")
        return flow_to, pair_visibility(flow_to, flow_from, chain_valid(pair_validity(step)))


def pair_validity(step: GeneratorStep) -> Tensor:
    """Return ``pair_valid`` of the batch, or all True when it has none; ``(B, T-1)`` bool."""
    if "pair_valid" in step.batch:
        valid: Tensor = step.batch["pair_valid"].bool()
        return valid
    n_clips, n_frames = step.fake.shape[:2]
    return torch.ones(n_clips, n_frames - 1, dtype=torch.bool, device=step.fake.device)


class FlowConsistencyLoss(LossCallback):
    """Ask generated pixels to keep their colour along the motion of the real video.

    ``short_weight * L(t, t-1) + long_weight * L(t, 0)``: each L averages, per clip, a robust
    difference between frame t and the warped earlier frame over hole pixels that are visible in
    both real frames; frames across a cut do not count. The earlier frame receives no gradient. The
    long-range part covers t >= 2 (t = 1 is the short-range pair).

    Args:
        weight: see :class:`LossCallback`.
        warmup_steps: see :class:`LossCallback`.
        name: see :class:`LossCallback`.
        short_weight: weight of the previous-frame part.
        long_weight: weight of the first-frame part.
        penalty: ``charbonnier``, ``l1`` or ``mse``.
        estimator: flow for batches that carry none; default :class:`DISFlow`. Flow from the data
            workers costs the training loop nothing.
    """

    def __init__(
        self,
        weight: float = 1.0,
        warmup_steps: int = 0,
        name: str | None = None,
        short_weight: float = 1.0,
        long_weight: float = 1.0,
        penalty: FlowPenalty = "charbonnier",
        estimator: FlowEstimator | None = None,
    ) -> None:
        super().__init__(weight, warmup_steps, name)
        check_at_least(0, short_weight=short_weight, long_weight=long_weight)
        check_choice(get_args(FlowPenalty), penalty=penalty)
        self.short_weight, self.long_weight = float(short_weight), float(long_weight)
        self.penalty: FlowPenalty = penalty
        self.flow = FlowSource(estimator)

    def compute_loss(self, step: GeneratorStep) -> Tensor:
        """Return the weighted sum of both ranges; 0 for clips of one frame."""
        fake, hole = step.fake, 1 - step.keep_mask
        n_frames = fake.shape[1]
        loss = fake.sum() * 0
        if n_frames >= 2 and self.short_weight > 0:
            flow, visible = self.flow.to_previous(step)
            weight = hole[:, 1:] * visible
            short = flow_consistency(fake[:, 1:], fake[:, :-1], flow, weight, self.penalty)
            loss = loss + self.short_weight * short
        if n_frames >= 3 and self.long_weight > 0:
            flow, visible = self.flow.to_first(step)
            weight = hole[:, 2:] * visible[:, 1:]
            first = fake[:, :1].expand_as(fake[:, 2:])
            long = flow_consistency(fake[:, 2:], first, flow[:, 1:], weight, self.penalty)
            loss = loss + self.long_weight * long
        return loss
