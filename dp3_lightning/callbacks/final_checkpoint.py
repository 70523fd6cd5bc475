"""Keep the last updates of a run."""

from __future__ import annotations

from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint


class FinalCheckpoint(Callback):
    """Write ``last.ckpt`` once more when training ends between two checkpoints.

    Lightning's ``ModelCheckpoint`` with ``save_last`` and ``every_n_train_steps: 500`` ends a run
    of 750 updates with the checkpoint of update 500. The command line adds this callback by
    itself.
    """

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save on all processes if the newest ``last.ckpt`` is older than the weights."""
        for callback in trainer.checkpoint_callbacks:
            if not isinstance(callback, ModelCheckpoint) or not callback.save_last:
                continue
            if not callback.last_model_path:  # nothing was saved yet: Lightning does so itself
                continue
            if callback._last_global_step_saved == trainer.global_step:
                continue
            last = Path(callback.last_model_path)
            if trainer.is_global_zero and last.is_symlink():
                last.unlink()  # `save_last: link`: what it points to is another checkpoint
            trainer.save_checkpoint(last, weights_only=False)
            callback._last_global_step_saved = trainer.global_step
