"""What only whole processes show: two ranks, a killed run, a NaN on one rank."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LOSSES = [
    {"class_path": "TotalVariationLoss", "init_args": {"weight": 0.1}},
    {"class_path": "PixelLoss", "init_args": {"weight": 2.0}},
    {"class_path": "FlowConsistencyLoss", "init_args": {"weight": 1.0, "warmup_steps": 3}},
    {"class_path": "LatentDiversityLoss", "init_args": {"weight": 0.5}},
    {"class_path": "CropConsistencyLoss", "init_args": {"weight": 1.0}},
]


def config(
    folder: Path, callbacks: list[dict[str, Any]] = LOSSES, **options: Any
) -> dict[str, Any]:
    trainer = {
        "default_root_dir": str(folder),
        "accelerator": "cpu",
        "devices": 1,
        "max_steps": 9,
        "logger": {"class_path": "CSVLogger", "init_args": {"save_dir": str(folder)}},
        "log_every_n_steps": 1,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "limit_val_batches": 1,
        "num_sanity_val_steps": 0,
        "callbacks": [
            *callbacks,
            {
                "class_path": "ModelCheckpoint",
                "init_args": {"dirpath": str(folder), "every_n_train_steps": 3, "save_last": True},
            },
        ],
    }
    return {
        "seed_everything": 1,
        "trainer": trainer | options,
        "model": {
            "class_path": "VideoFineTuner",
            "init_args": {
                "generator": {"class_path": "StyleGANUnetAdapter", "init_args": {"net": "tiny32"}},
                "discriminator": {
                    "class_path": "DiscriminatorAdapter",
                    "init_args": {"net": "tiny32"},
                },
                "r1_interval": 4,
            },
        },
        "data": {
            "class_path": "tests.training_fixtures.SyntheticDataModule",
            "init_args": {"n_clips": 12, "n_frames": 2, "batch_size": 2},
        },
    }


def start(
    folder: Path, settings: dict[str, Any], *arguments: str
) -> subprocess.CompletedProcess[str]:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.in.yaml"
    path.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "dp3_lightning", "fit", "--config", str(path), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400, check=False
    )


def weights(path: Path) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(path, weights_only=True)
    return {"global_step": torch.tensor(checkpoint["global_step"]), **checkpoint["state_dict"]}


def metrics(folder: Path) -> list[dict[str, str]]:
    import csv

    (path,) = folder.glob("lightning_logs/version_*/metrics.csv")
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_two_ranks_train_like_one_with_the_doubled_batch(tmp_path: Path) -> None:
    """In float64: Adam with beta1 = 0 turns rounding into whole steps."""
    options = {"precision": "64-true", "max_steps": 6, "limit_val_batches": 1.0}
    one = config(tmp_path / "one", **options)
    one["data"]["init_args"] |= {"n_clips": 24, "batch_size": 8}
    two = config(tmp_path / "two", devices=2, strategy="ddp_find_unused_parameters_true", **options)
    two["data"]["init_args"] |= {"n_clips": 24, "batch_size": 4}  # a multiple of the group of four
    for folder, settings in ((tmp_path / "one", one), (tmp_path / "two", two)):
        result = start(folder, settings)
        assert result.returncode == 0, result.stderr[-3000:]
    first, second = weights(tmp_path / "one/last.ckpt"), weights(tmp_path / "two/last.ckpt")
    assert first["global_step"] == second["global_step"] == 6
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert (value.double() - second[key].double()).abs().max() <= 1e-8, key
    logged = [metrics(tmp_path / name) for name in ("one", "two")]
    for network in ("generator", "discriminator"):
        assert sum(row[f"train/{network}/gradient_norm"] != "" for row in logged[0]) == 6
    for a, b in zip(*logged, strict=True):
        assert a.keys() == b.keys()
        for key, value in a.items():
            same = b[key] == value or float(b[key]) == pytest.approx(float(value), rel=1e-6)
            assert same, (key, value, b[key])


def same_weights(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_a_run_that_ends_between_checkpoints_loses_nothing(tmp_path: Path) -> None:
    """Checkpoints come every 3 updates; the run ends after 5 and goes on to 9, as if in one."""
    assert start(tmp_path / "whole", config(tmp_path / "whole")).returncode == 0
    short = config(tmp_path / "parts", max_steps=5)
    assert start(tmp_path / "parts", short).returncode == 0
    last = tmp_path / "parts/last.ckpt"
    assert int(weights(last)["global_step"]) == 5
    result = start(tmp_path / "parts", config(tmp_path / "parts"), "--ckpt_path", str(last))
    assert result.returncode == 0, result.stderr[-3000:]
    assert same_weights(weights(tmp_path / "whole/last.ckpt"), weights(last))


@pytest.mark.parametrize(("killed_at", "workers"), [(5, 0), (8, 1)])
def test_a_killed_run_resumes_to_the_same_weights(
    tmp_path: Path, killed_at: int, workers: int
) -> None:
    """Epochs have 6 updates, checkpoints come every 3: resumes in mid-epoch and at its end."""
    kill = {
        "class_path": "tests.training_fixtures.KillAfter",
        "init_args": {"updates": killed_at},
    }
    whole = config(tmp_path / "whole")
    broken = config(tmp_path / "broken", [*LOSSES, kill])
    again = config(tmp_path / "broken")
    for settings in (whole, broken, again):
        settings["data"]["init_args"]["num_workers"] = workers
    assert start(tmp_path / "whole", whole).returncode == 0
    assert start(tmp_path / "broken", broken).returncode == -signal.SIGKILL
    last = tmp_path / "broken/last.ckpt"
    assert int(weights(last)["global_step"]) == killed_at // 3 * 3
    result = start(tmp_path / "broken", again, "--ckpt_path", str(last))
    assert result.returncode == 0, result.stderr[-3000:]
    finished = [weights(tmp_path / name / "last.ckpt") for name in ("whole", "broken")]
    assert int(finished[0]["global_step"]) == int(finished[1]["global_step"]) == 9
    assert same_weights(*finished)


def test_a_nan_on_one_rank_stops_all(tmp_path: Path) -> None:
    poison = {
        "class_path": "tests.training_fixtures.PoisonAfter",
        "init_args": {"updates": 4, "rank": 1},
    }
    settings = config(
        tmp_path, [*LOSSES, poison], devices=2, strategy="ddp_find_unused_parameters_true"
    )
    result = start(tmp_path, settings)
    assert result.returncode != 0
    assert "not finite after 4 updates" in result.stderr
    state = weights(tmp_path / "last.ckpt")
    assert int(state["global_step"]) == 3
    assert all(torch.isfinite(v.float()).all() for v in state.values())
