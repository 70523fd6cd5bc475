from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn

from dp3_lightning.callbacks import FinalCheckpoint


class Counting(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        loss: torch.Tensor = self.layer(batch).mean()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def step_of(path: Path) -> int:
    return int(torch.load(path, weights_only=True)["global_step"])


def train(folder: Path, steps: int, every: int, save_last: Any) -> list[Path]:
    keep = ModelCheckpoint(
        folder, every_n_train_steps=every, save_last=save_last, monitor="step", mode="max"
    )
    trainer = Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[FinalCheckpoint(), keep],
    )  # fmt: skip
    trainer.fit(Counting(), torch.utils.data.DataLoader([torch.ones(1)] * 20))
    return sorted(folder.glob("*.ckpt"))


@pytest.mark.parametrize("save_last", [True, "link"])
def test_the_last_updates_are_kept_and_earlier_checkpoints_stay(
    tmp_path: Path, save_last: Any
) -> None:
    earlier, last = train(tmp_path, 5, 3, save_last)
    assert last.name == "last.ckpt"
    assert (step_of(earlier), step_of(last)) == (3, 5)


@pytest.mark.parametrize(("every", "save_last"), [(5, True), (3, None)])
def test_nothing_is_written_where_nothing_is_missing(
    tmp_path: Path, every: int, save_last: Any
) -> None:
    found = train(tmp_path, 5, every, save_last)
    assert [step_of(path) for path in found] == ([5, 5] if save_last else [3])


def test_a_run_without_any_checkpoint_on_the_way_ends_with_one(tmp_path: Path) -> None:
    assert step_of(train(tmp_path, 5, 100, True)[-1]) == 5
