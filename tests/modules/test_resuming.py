"""Resumed with other options: what is given wins, and the run says so. Interrupted: it goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import ModelCheckpoint

from dp3_lightning.callbacks import InterruptCheckpoint
from dp3_lightning.cli import main as cli
from dp3_lightning.modules import VideoFineTuner
from tests.modules.test_processes import config, same_weights, start, weights
from tests.modules.test_video_fine_tuner import fit, tuner


class StepTuner(VideoFineTuner):
    """Another class with the same networks."""


def saved(path: Path, **options: Any) -> Path:
    module = tuner(**{"generator_lr": 0.02, "r1_interval": 2, **options})
    fit(module, max_steps=2).save_checkpoint(path)
    return path


def rates(module: VideoFineTuner) -> list[float]:
    return [opt.param_groups[0]["lr"] for opt in module.trainer.optimizers]


def test_the_configured_rate_wins_over_the_checkpoints(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.ckpt")
    resumed = tuner(generator_lr=0.001, betas=(0.1, 0.9), r1_interval=2)
    fit(resumed, max_steps=3, ckpt_path=path)
    assert rates(resumed) == pytest.approx([0.001, 0.001 * 2 / 3])
    g_opt, d_opt = resumed.trainer.optimizers
    assert g_opt.param_groups[0]["betas"] == (0.1, 0.9)
    assert d_opt.param_groups[0]["betas"] == pytest.approx((0.1 ** (2 / 3), 0.9 ** (2 / 3)))
    assert g_opt.state[g_opt.param_groups[0]["params"][0]]["step"] == 3  # moments are kept


def test_a_schedule_goes_on_from_its_place_with_the_new_rate(tmp_path: Path) -> None:
    seen: list[float] = []

    class Rates(Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            seen.append(trainer.optimizers[0].param_groups[0]["lr"])

    options: dict[str, Any] = {"lr_schedule": "linear"}
    path = saved(tmp_path / "m.ckpt", **options)
    fit(tuner(generator_lr=0.1, r1_interval=2, **options), [Rates()], max_steps=4, ckpt_path=path)
    assert seen == pytest.approx([0.05, 0.025])


def test_other_trained_parts_than_the_checkpoints_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.ckpt")
    with pytest.raises(ValueError, match=r"trained \d+ parameters .*`trainable: decoder` means"):
        fit(tuner(trainable="decoder", r1_interval=2), max_steps=3, ckpt_path=path)


@pytest.mark.parametrize(
    ("option", "ours"),
    [
        ({"accumulate_grad_batches": 2}, "--model.accumulate 2"),
        ({"gradient_clip_val": 1.0}, "--model.gradient_clip_norm 1.0"),
    ],
)
def test_the_trainers_own_options_name_ours(option: dict[str, Any], ours: str) -> None:
    with pytest.raises(MisconfigurationException, match=ours):
        fit(tuner(), **option)


def test_given_values_win_and_differences_are_said(tmp_path: Path) -> None:
    """The command line, twice: options of the first run are in no file."""
    first = config(tmp_path, [], max_steps=2)
    options = ["--model.generator_lr", "0.02", "--model.r1_weight", "0.3"]
    assert start(tmp_path, first, *options).returncode == 0
    last = tmp_path / "last.ckpt"
    again = config(tmp_path, [], max_steps=3)
    again["model"]["class_path"] = "tests.modules.test_resuming.StepTuner"
    result = start(
        tmp_path, again, "--ckpt_path", str(last), "--model.generator_lr", "0.001",
        "--model.accumulate", "2",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    assert "trained as dp3_lightning.modules.VideoFineTuner; going on as tests" in result.stderr
    given = f"Given otherwise than in {last}: generator_lr 0.001 (was 0.02), accumulate 2 (was 1)."
    assert given in result.stderr
    assert f"Taken from {last}, as not given: r1_weight 0.3." in result.stderr
    checkpoint = torch.load(last, weights_only=True)
    assert checkpoint["global_step"] == 3
    hyperparameters = checkpoint["hyper_parameters"]
    assert hyperparameters["_class_path"].endswith("StepTuner")
    assert hyperparameters["generator_lr"] == 0.001
    assert hyperparameters["accumulate"] == 2
    assert hyperparameters["r1_weight"] == 0.3
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] == 0.001


# ---------------------------------------------------------------------- interruption


class InterruptAfter(Callback):
    """Send SIGINT in the middle of the update that follows so many others."""

    def __init__(self, updates: int, times: int = 1) -> None:
        super().__init__()
        self.updates, self.times = updates, times

    def on_before_optimizer_step(self, trainer: Any, *_: Any) -> None:
        while trainer.global_step == self.updates and self.times:
            self.times -= 1
            os.kill(os.getpid(), signal.SIGINT)


class InterruptRank(InterruptAfter):
    """Send it to the first process alone."""

    def on_before_optimizer_step(self, trainer: Any, *_: Any) -> None:
        if trainer.global_rank == 0:
            super().on_before_optimizer_step(trainer)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["InterruptAfter", "InterruptRank"])
def test_all_processes_stop_after_the_same_update(tmp_path: Path, kind: str) -> None:
    interrupt = {
        "class_path": f"tests.modules.test_resuming.{kind}",
        "init_args": {"updates": 4},
    }
    settings = config(tmp_path, [interrupt], devices=2, strategy="ddp_find_unused_parameters_true")
    settings["data"]["init_args"] |= {"n_clips": 24, "batch_size": 4}
    result = start(tmp_path, settings)
    assert result.returncode == 130, result.stderr[-3000:]
    assert result.stderr.count("Interrupted after update 5: go on with") == 1
    assert int(weights(tmp_path / "last.ckpt")["global_step"]) == 5


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_an_interrupted_run_keeps_its_updates_and_goes_on_as_if_nothing_was(
    tmp_path: Path, workers: int
) -> None:
    """Checkpoints come every 3 updates; SIGINT comes in the middle of the 5th."""
    interrupt = {
        "class_path": "tests.modules.test_resuming.InterruptAfter",
        "init_args": {"updates": 4},
    }
    whole, again = config(tmp_path / "whole"), config(tmp_path / "broken")
    broken = config(tmp_path / "broken", [*again["trainer"]["callbacks"][:-1], interrupt])
    for settings in (whole, broken, again):
        settings["data"]["init_args"]["num_workers"] = workers
    result = start(tmp_path / "broken", broken)
    last = tmp_path / "broken/last.ckpt"
    assert result.returncode == 130
    assert "Traceback" not in result.stderr
    assert f"Interrupted after update 5: go on with `--ckpt_path {last}`." in result.stderr
    assert int(weights(last)["global_step"]) == 5
    assert start(tmp_path / "broken", again, "--ckpt_path", str(last)).returncode == 0
    assert start(tmp_path / "whole", whole).returncode == 0
    assert same_weights(weights(tmp_path / "whole/last.ckpt"), weights(last))


def interrupted(tmp_path: Path, spy: Callback, **options: Any) -> InterruptCheckpoint:
    interruption = InterruptCheckpoint()
    before = signal.getsignal(signal.SIGINT)
    callbacks: list[Callback] = [interruption, spy]
    if options.get("enable_checkpointing"):
        callbacks.append(ModelCheckpoint(tmp_path, every_n_train_steps=50, save_last=True))
    try:
        with pytest.raises(SystemExit):
            fit(tuner(), callbacks, max_steps=4, default_root_dir=tmp_path, **options)
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, before)
    return interruption


def test_a_run_without_any_checkpoint_yet_gets_one(tmp_path: Path) -> None:
    outcome = interrupted(tmp_path, InterruptAfter(1), enable_checkpointing=True).outcome
    assert outcome == f"Interrupted after update 2: go on with `--ckpt_path {tmp_path}/last.ckpt`."
    assert int(weights(tmp_path / "last.ckpt")["global_step"]) == 2


def test_a_second_interruption_does_not_save_half_an_update(tmp_path: Path) -> None:
    spy = InterruptAfter(1, times=2)
    outcome = interrupted(tmp_path, spy, enable_checkpointing=True).outcome
    assert outcome == "Interrupted in the middle of update 2: nothing was saved."
    assert not list(tmp_path.glob("*.ckpt"))


def test_a_run_that_keeps_no_checkpoints_says_so(tmp_path: Path) -> None:
    outcome = interrupted(tmp_path, InterruptAfter(1)).outcome
    assert outcome == "Interrupted after update 2: the run keeps no checkpoints."


class InterruptAtStart(Callback):
    def on_train_epoch_start(self, *_: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)


def test_an_interruption_before_the_first_update_saves_nothing(tmp_path: Path) -> None:
    outcome = interrupted(tmp_path, InterruptAtStart(), enable_checkpointing=True).outcome
    assert outcome == "Interrupted before the first update: nothing was saved."
    assert not list(tmp_path.glob("*.ckpt"))


def test_other_commands_end_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run_trainer", interrupt)
    with pytest.raises(SystemExit) as stop:
        cli.main(["fit"])
    assert stop.value.code == 130
    assert "Interrupted." in capsys.readouterr().err
