"""Training runs that a study makes: each in a process of its own, done once, gone on with."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dp3_lightning.whole_files import write_text

Config = dict[str, Any]


def fit_once(folder: Path, config: Mapping[str, Any]) -> Path:
    """Train by a configuration, unless that was done; returns the last checkpoint.

    A run that was stopped goes on from its newest checkpoint. A run of another configuration in
    the same folder is done anew.

    Args:
        folder: of this run alone.
        config: for ``dp3 fit``; output folder, checkpoints and their number are set here.

    Raises:
        ValueError: the training failed; its own output says why.
    """
    known = json.dumps(config, sort_keys=True)
    last, done, begun = folder / "last.ckpt", folder / "done.json", folder / "begun.json"
    if done.is_file() and done.read_text() == known and last.is_file():
        return last
    folder.mkdir(parents=True, exist_ok=True)
    goes_on = begun.is_file() and begun.read_text() == known and last.is_file()
    write_text(begun, known)
    path = folder / "config.in.yaml"
    write_text(path, yaml.safe_dump(_placed(config, folder)))
    command = [sys.executable, "-m", "dp3_lightning", "fit", "--config", str(path)]
    if goes_on:
        command += ["--ckpt_path", str(last)]
    if subprocess.run(command, check=False).returncode != 0 or not last.is_file():
        raise ValueError(f"Training in {folder} failed, see above: mend the configuration.")
    write_text(done, known)
    return last


def _placed(config: Mapping[str, Any], folder: Path) -> Config:
    written = copy.deepcopy(dict(config))
    trainer = written.setdefault("trainer", {})
    trainer["default_root_dir"] = str(folder)
    saving = {
        "class_path": "pytorch_lightning.callbacks.ModelCheckpoint",
        "init_args": {
            "dirpath": str(folder),
            "every_n_train_steps": 100,
            "save_last": True,
            "enable_version_counter": False,
        },
    }
    others = without(trainer.get("callbacks") or [], "ModelCheckpoint")
    trainer["callbacks"] = [*others, saving]
    return written


def without(callbacks: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    """Return callbacks of a configuration but those of a class."""
    return [c for c in callbacks if str(c["class_path"]).rpartition(".")[2] != name]
