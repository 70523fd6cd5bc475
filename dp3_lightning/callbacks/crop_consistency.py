"""Add the crop-consistency term: the same face for boxes that jitter."""

from __future__ import annotations

import torch
from torch import Tensor

from dp3_lightning.callbacks.base import LossCallback
from dp3_lightning.checks import check_between
from dp3_lightning.losses.crop_consistency import (
    crop_consistency,
    jittered_mask,
    shifted,
    stays_inside,
)
from dp3_lightning.randomness import keyed_normal
from dp3_lightning.structures import EXTRA_INPUTS, GeneratorStep

_MOST = 2.5  # deviations; what a detector misses by more is another detection


class CropConsistencyLoss(LossCallback):
    """Ask for the same face when a frame is drawn again in a moved window with a moved hole.

    Costs a generator pass over one frame per clip.

    Args:
        weight: see :class:`LossCallback`.
        warmup_steps: see :class:`LossCallback`.
        name: see :class:`LossCallback`.
        hole_jitter: deviation of the hole's place and size, in sides of the hole; [0, 0.2].
        window_jitter: deviation of the window's place, in sides of the window, rounded to whole
            pixels; [0, 0.2]. Batches with further spatial inputs (embeddings) keep their window.
    """

    def __init__(
        self,
        weight: float = 1.0,
        warmup_steps: int = 0,
        name: str | None = None,
        hole_jitter: float = 0.03,
        window_jitter: float = 0.02,
    ) -> None:
        super().__init__(weight, warmup_steps, name)
        check_between(0, 0.2, hole_jitter=hole_jitter, window_jitter=window_jitter)
        self.hole_jitter, self.window_jitter = float(hole_jitter), float(window_jitter)

    def compute_loss(self, step: GeneratorStep) -> Tensor:
        """Return the mean over clips; 0 where nothing can be drawn again."""
        if step.generate is None:
            return step.fake.sum() * 0
        frame = step.generator_step % step.fake.shape[1]
        frames = slice(frame, frame + 1)
        keep_mask = step.keep_mask[:, frames]
        samples = step.batch.get("sample_index")
        rows = range(len(step.fake)) if samples is None else samples.tolist()
        key = (step.seed, "crop_consistency", step.generator_step)
        draws = keyed_normal(rows, 6, *key).clamp(-_MOST, _MOST).to(keep_mask.device)
        moved = jittered_mask(
            keep_mask, draws[:, :2] * self.hole_jitter, draws[:, 2:4] * self.hole_jitter
        )
        side = torch.tensor(step.fake.shape[:-3:-1], device=draws.device)
        pixels = (draws[:, 4:] * self.window_jitter * side).round().long()
        if any(name in step.batch for name in EXTRA_INPUTS):
            pixels = torch.zeros_like(pixels)
        again = step.generate(
            step.z, frames, shifted(step.real[:, frames], pixels), shifted(moved, pixels)
        )
        second = shifted(again.to(step.fake.dtype), -pixels)
        compared = (1 - keep_mask) * (1 - moved) * stays_inside(keep_mask, pixels)
        return crop_consistency(step.fake[:, frames], second, compared).mean()
