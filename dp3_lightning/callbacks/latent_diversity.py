"""Add the latent-diversity term."""

from __future__ import annotations

from torch import Tensor

from dp3_lightning.callbacks.base import LossCallback
from dp3_lightning.checks import check_above
from dp3_lightning.losses.latent_diversity import latent_diversity
from dp3_lightning.randomness import keyed_normal
from dp3_lightning.structures import GeneratorStep


class LatentDiversityLoss(LossCallback):
    """Ask two latents for two faces; guards against pixel terms that make the latent inert.

    Draws the first frame of each clip once more, with another latent.

    Args:
        weight: see :class:`LossCallback`.
        warmup_steps: see :class:`LossCallback`.
        name: see :class:`LossCallback`.
        target: image distance per latent distance (both mean absolute) above which the term is 0.
    """

    def __init__(
        self,
        weight: float = 1.0,
        warmup_steps: int = 0,
        name: str | None = None,
        target: float = 0.1,
    ) -> None:
        super().__init__(weight, warmup_steps, name)
        check_above(0, target=target)
        self.target = float(target)

    def compute_loss(self, step: GeneratorStep) -> Tensor:
        """Return the hinge, averaged over clips; 0 for generators without a latent."""
        if step.generate is None or step.z is None:
            return step.fake.sum() * 0
        samples = step.batch.get("sample_index")
        rows = range(len(step.fake)) if samples is None else samples.tolist()
        key = (step.seed, "latent_diversity", step.generator_step)
        other = keyed_normal(rows, step.z.shape[1], *key).to(step.z)
        frames = slice(0, 1)
        second = step.generate(other, frames).to(step.fake.dtype)
        per_clip = latent_diversity(
            step.fake[:, frames], second, step.z, other, step.keep_mask[:, frames], self.target
        )
        return per_clip.mean()
