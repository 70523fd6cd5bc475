"""Train the context encoder on drawn people whose latents are known."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from pytorch_lightning import LightningModule
from safetensors.torch import load_file
from torch import Tensor

from dp3_lightning.checks import check_above, check_at_least
from dp3_lightning.generators.face_prior.context_encoder import ContextEncoder
from dp3_lightning.generators.face_prior.latent_space import LatentSpace
from dp3_lightning.modules.optimization import keep_settings, optimizer_settings


class ContextEncoderTraining(LightningModule):
    """Regress the whitened latent of a drawn person from the surroundings of the face.

    The squared error of every axis counts by the square root of its variance, between what looks
    right (variance) and differences between people (none).

    Args:
        learning_rate: of the new layers; the pretrained ones learn at half of it.
        weight_decay: of AdamW.
        warmup_steps: steps of linear warm-up before the cosine.
        start_from: weights to start from (safetensors of a context encoder); None: ImageNet's.
        latent_space: safetensors of the latent space; None: the shipped one.
        ema_decay: of the averaged weights, which are the ones judged and kept.
    """

    def __init__(
        self,
        learning_rate: float = 1.2e-3,
        weight_decay: float = 0.01,
        warmup_steps: int = 100,
        start_from: str | None = None,
        latent_space: str | None = None,
        ema_decay: float = 0.998,
    ) -> None:
        super().__init__()
        check_above(0, learning_rate=learning_rate)
        check_at_least(0, weight_decay=weight_decay, warmup_steps=warmup_steps)
        self.save_hyperparameters()
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.warmup_steps, self.ema_decay = warmup_steps, ema_decay
        self.space = LatentSpace.load(latent_space)
        self.encoder = ContextEncoder()
        if start_from is None:
            self.encoder.features.load_imagenet()
        else:
            state = {k: v.float() for k, v in load_file(start_from).items()}
            self.encoder.load_state_dict(state)
        self.averaged = ContextEncoder()
        self.averaged.load_state_dict(self.encoder.state_dict())
        self.averaged.requires_grad_(False)
        weights = self.space.scale / self.space.scale.sum()
        self.register_buffer("axis_weights", weights, persistent=False)
        self._sums: list[Tensor] = []

    def configure_optimizers(self) -> Any:
        """Return AdamW with warm-up and cosine over ``trainer.max_steps`` or estimated steps."""
        pretrained = list(self.encoder.features.parameters())
        known = {id(p) for p in pretrained}
        new = [p for p in self.encoder.parameters() if id(p) not in known]
        optimizer = torch.optim.AdamW(
            [
                {"params": pretrained, "lr": self.learning_rate / 2},
                {"params": new, "lr": self.learning_rate},
            ],
            weight_decay=self.weight_decay,
        )
        total = int(self.trainer.estimated_stepping_batches)

        def share(step: int) -> float:
            warm = min(1.0, (step + 1) / max(self.warmup_steps, 1))
            return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(step / total, 1.0))))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
        self._settings = optimizer_settings(optimizer)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_train_start(self) -> None:
        """Train with the configured rates; a checkpoint has put its own in their place."""
        keep_settings(
            self.optimizers().optimizer,  # type: ignore[union-attr]
            cast(torch.optim.lr_scheduler.LambdaLR, self.lr_schedulers()),
            self._settings,
        )

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the weighted squared error in whitened coordinates."""
        target = self.space.whiten(batch["style"])
        guess = self.encoder(batch["aligned"], batch["known"])
        weights: Tensor = self.axis_weights  # type: ignore[assignment]
        loss: Tensor = ((guess - target).square() * weights).sum(1).mean()
        self.log("train/loss", loss)
        return loss

    @torch.no_grad()
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Move the averaged weights."""
        decay = min(self.ema_decay, (1 + self.global_step) / (10 + self.global_step))
        own = dict(self.encoder.named_parameters())
        for name, parameter in self.averaged.named_parameters():
            parameter.lerp_(own[name], 1 - decay)
        buffers = dict(self.encoder.named_buffers())
        for name, buffer in self.averaged.named_buffers():
            buffer.copy_(buffers[name])

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Collect squared errors and squared targets per axis."""
        target = self.space.whiten(batch["style"])
        guess = self.averaged(batch["aligned"], batch["known"])
        sums = torch.stack([(guess - target).square().sum(0), target.square().sum(0)])
        self._sums.append(sums)

    def on_validation_epoch_end(self) -> None:
        """Log the explained share of the variance of styles: of all axes, and of the top 16."""
        errors, total = torch.stack(self._sums).sum(0)
        self._sums.clear()
        variance = self.space.scale.square()
        explained = 1 - (errors * variance).sum() / (total * variance).sum()
        top = 1 - errors[:16].sum() / total[:16].sum()
        self.log("val/explained", explained, prog_bar=True)
        self.log("val/explained_top16", top, prog_bar=True)
