"""Stop a run at Ctrl-C between two updates, and keep what it has learnt."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint


class InterruptCheckpoint(Callback):
    """Write ``last.ckpt`` when training is interrupted, after the update being made.

    A second Ctrl-C stops at once, without it. The command line adds this callback by itself.

    Attributes:
        outcome: after an interruption, one line saying what was saved and how to go on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outcome: str | None = None
        self._first_step = 0
        self._in_update = self._asked = False
        self._process = os.getpid()
        self._before: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over SIGINT, where Python lets a thread do so; remember where the run starts.

        Not earlier: when a run ends, Lightning puts back the handlers that it found before this.
        """
        del pl_module
        self._first_step = trainer.global_step  # of a resumed run: restored by now
        self._process = os.getpid()
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if os.getpid() != self._process:
            return  # a loader worker forked from here: this process ends it
        if self._asked or not self._in_update:
            raise KeyboardInterrupt
        self._asked = True

    def on_train_batch_start(self, *_: Any) -> None:
        """Hold an interruption back: half an update would be saved."""
        self._in_update = True

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Stop here if that was asked for on any process."""
        self._in_update = False
        stop = self._asked
        if trainer.world_size > 1:  # nobody may wait for the others in an update they never make
            stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
        if stop:
            self._asked = True
            raise KeyboardInterrupt

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Save the state after the last complete update."""
        if not isinstance(exception, KeyboardInterrupt):
            return
        step = trainer.global_step
        if self._in_update:
            self.outcome = f"Interrupted in the middle of update {step + 1}: nothing was saved."
        elif step == self._first_step:
            self.outcome = "Interrupted before the first update: nothing was saved."
        elif (last := last_checkpoint_path(trainer)) is None:
            self.outcome = f"Interrupted after update {step}: the run keeps no checkpoints."
        else:
            if trainer.is_global_zero and last.is_symlink():
                last.unlink()  # `save_last: link`: what it points to is another checkpoint
            trainer.save_checkpoint(last, weights_only=False)
            self.outcome = f"Interrupted after update {step}: go on with `--ckpt_path {last}`."

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give SIGINT back."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None


def last_checkpoint_path(trainer: Trainer) -> Path | None:
    """Return where the run keeps its newest checkpoint; None for a run that keeps none."""
    keepers = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)]
    keepers.sort(key=lambda keeper: not keeper.save_last)
    if not keepers or getattr(trainer, "fast_dev_run", False):
        return None
    keeper = keepers[0]
    if keeper.save_last and keeper.last_model_path:
        return Path(keeper.last_model_path)
    folder = keeper.dirpath or trainer.default_root_dir
    return Path(folder) / f"{keeper.CHECKPOINT_NAME_LAST}{keeper.FILE_EXTENSION}"
