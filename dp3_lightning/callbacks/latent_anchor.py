"""Keep a fine-tuned context encoder near its guesses before training."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import cast

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

from dp3_lightning.callbacks.base import LossCallback
from dp3_lightning.structures import EXTRA_INPUTS, GeneratorStep

_Guess = Callable[..., Tensor]


class LatentAnchorLoss(LossCallback):
    """Penalise the squared distance of latent guesses to those of the encoder before training.

    The synthesis network is frozen, so the encoder can lower pixel and flow terms only by drawing
    fewer, greyer people. This term holds it back. It needs a generator with ``guess_clip``, such as
    :class:`~dp3_lightning.generators.FacePriorGenerator`.

    Args:
        weight: see :class:`LossCallback`; 3 keeps the spread of people, 0.1 does not.
        warmup_steps: see :class:`LossCallback`.
        name: see :class:`LossCallback`.
    """

    def __init__(self, weight: float = 3.0, warmup_steps: int = 0, name: str | None = None) -> None:
        super().__init__(weight, warmup_steps, name)
        # In lists, so that neither becomes part of a checkpoint.
        self._start: list[nn.Module] = []
        self._trained: list[nn.Module] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Keep a frozen copy of the encoder, before a checkpoint's weights come in.

        Raises:
            MisconfigurationException: the module's generator has no context encoder.
        """
        if stage != "fit":
            return
        generator = getattr(pl_module, "generator", None)
        if not isinstance(generator, nn.Module) or not hasattr(generator, "guess_clip"):
            raise MisconfigurationException(
                f"LatentAnchorLoss needs a generator with a context encoder, got "
                f"{type(generator).__name__}: remove it, or use FacePriorGenerator."
            )
        frozen = copy.deepcopy(generator.get_submodule("encoder")).eval().requires_grad_(False)
        self._start, self._trained = [frozen], [generator]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Move the copy to the module's device."""
        self._start = [frozen.to(pl_module.device) for frozen in self._start]

    def compute_loss(self, step: GeneratorStep) -> Tensor:
        """Return the mean over clips, frames and axes of the whitened latent."""
        guess = cast(_Guess, self._trained[0].guess_clip)
        condition = step.keep_mask * step.real
        extra = {name: step.batch[name] for name in EXTRA_INPUTS if name in step.batch}
        now = guess(condition, step.keep_mask, extra)
        with torch.no_grad():
            before = guess(condition, step.keep_mask, extra, encoder=self._start[0])
        loss: Tensor = (now - before).square().mean()
        return loss
