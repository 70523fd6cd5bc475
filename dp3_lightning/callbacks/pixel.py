"""Add the pixel-wise term."""

from __future__ import annotations

import warnings
from typing import get_args

from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from dp3_lightning.callbacks.base import LossCallback
from dp3_lightning.callbacks.identity import IdentityLoss
from dp3_lightning.checks import check_choice
from dp3_lightning.losses.pixel import PixelMode, PixelPenalty, pixel_loss
from dp3_lightning.structures import GeneratorStep


def warn_without_identity_term(callback: LossCallback, trainer: Trainer) -> None:
    """Warn that a term over the hole's interior pulls towards the real person."""
    if not any(isinstance(other, IdentityLoss) for other in trainer.callbacks):  # type: ignore[attr-defined]
        warnings.warn(
            f"The loss {callback.name!r} compares the hole's interior with the real face and so "
            "teaches the generator to reproduce the people it is trained on. Use a ring mode, or "
            "attach an IdentityLoss, and measure re-identification on held-out people.",
            stacklevel=2,
        )


class PixelLoss(LossCallback):
    """Penalise the squared or absolute difference to the real frames inside the hole.

    Args:
        weight: see :class:`LossCallback`.
        warmup_steps: see :class:`LossCallback`.
        name: see :class:`LossCallback`.
        loss: ``mse`` or ``mae``.
        mode: ``ring+low`` (default), ``ring`` or ``full``; see
            :func:`dp3_lightning.losses.pixel_loss`. ``full`` is the paper's literal term; it warns
            unless an :class:`IdentityLoss` is attached.
        low_weight: weight of the low-passed interior in ``ring+low``.
    """

    def __init__(
        self,
        weight: float = 1.0,
        warmup_steps: int = 0,
        name: str | None = None,
        loss: PixelPenalty = "mse",
        mode: PixelMode = "ring+low",
        low_weight: float = 1.0,
    ) -> None:
        super().__init__(weight, warmup_steps, name)
        check_choice(get_args(PixelPenalty), loss=loss)
        check_choice(get_args(PixelMode), mode=mode)
        self.loss: PixelPenalty = loss
        self.mode: PixelMode = mode
        self.low_weight = float(low_weight)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Warn about ``full`` without an identity term."""
        if stage == "fit" and self.mode == "full":
            warn_without_identity_term(self, trainer)

    def compute_loss(self, step: GeneratorStep) -> Tensor:
        """Return the pixel loss per value of its region."""
        return pixel_loss(
            step.fake, step.real, step.keep_mask, self.loss, self.mode, self.low_weight
        )
