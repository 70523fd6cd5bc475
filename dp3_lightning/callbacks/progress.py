"""Show progress in generator updates, with every term by its short name."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar

_PREFIXES = ("train/generator/", "train/", "val/")
_HIDDEN = ("v_num",)


class UpdateProgressBar(TQDMProgressBar):
    """Show one bar over ``trainer.max_steps`` generator updates, across epochs.

    Lightning's own bars count the batches of one epoch, which says little when a run is given in
    updates. Without ``max_steps`` the bar has no end.

    Args:
        refresh_rate: batches from one redraw to the next; 0 for no bar.
    """

    def __init__(self, refresh_rate: int = 1) -> None:
        super().__init__(refresh_rate=refresh_rate)

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Return the metrics of the bar without their group."""
        metrics = super().get_metrics(trainer, pl_module)
        short = {}
        for name, value in metrics.items():
            prefix = next((p for p in _PREFIXES if name.startswith(p)), "")
            if name not in _HIDDEN:
                short[name.removeprefix(prefix)] = value
        return short

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar."""
        super().on_train_start(trainer, pl_module)
        self.train_progress_bar.reset(trainer.max_steps if trainer.max_steps > 0 else None)
        self.train_progress_bar.initial = trainer.global_step
        self.train_progress_bar.set_description("generator updates")

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Keep the bar as it is: epochs are not counted here."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show the update just made."""
        step = trainer.global_step
        if self.refresh_rate and (step % self.refresh_rate == 0 or step == trainer.max_steps):
            self.train_progress_bar.n = step
            self.train_progress_bar.set_postfix(self.get_metrics(trainer, pl_module))
