"""Run a study's trainings in subprocesses; reuse finished runs, resume interrupted ones."""

from __future__ import annotations

import copy
import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dp3_lightning.faces.analysis import file_hash
from dp3_lightning.runtime.files import write_text

Config = dict[str, Any]


def fit_once(folder: Path, config: Mapping[str, Any]) -> Path:
    """Train by a configuration, unless it was done before; return the last checkpoint.

    An interrupted run resumes from its newest checkpoint. A run of another configuration in
    the same folder is repeated, and so is one whose files (weights, videos) have changed.

    Args:
        folder: of this run alone.
        config: for ``dp3 fit``; output folder, checkpoints and their number are set here.

    Raises:
        ValueError: the training failed; its own output says why.
    """
    read = {part: config.get(part) for part in ("model", "data")}
    known = json.dumps({"config": config, "files": _files(read)}, sort_keys=True)
    last, done, begun = folder / "last.ckpt", folder / "done.json", folder / "begun.json"
    if done.is_file() and done.read_text() == known and last.is_file():
        return last
    folder.mkdir(parents=True, exist_ok=True)
    goes_on = begun.is_file() and begun.read_text() == known and last.is_file()
    if not goes_on:  # nothing of another run may be taken for this one's
        for old in (done, begun, *folder.glob("*.ckpt")):
            old.unlink(missing_ok=True)
    write_text(begun, known)
    path = folder / "config.in.yaml"
    write_text(path, yaml.safe_dump(_placed(config, folder)))
    command = [sys.executable, "-m", "dp3_lightning", "fit", "--config", str(path)]
    if goes_on:
        command += ["--ckpt_path", str(last)]
    if subprocess.run(command, check=False).returncode != 0 or not last.is_file():
        raise ValueError(f"Training in {folder} failed, see above: correct the configuration.")
    write_text(done, known)
    return last


def _files(value: Any) -> dict[str, str]:
    """Return the content of every file and folder that a configuration names."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        return {k: v for part in value for k, v in _files(part).items()}
    path = Path(value) if isinstance(value, str) and value else None
    if path is None or len(str(value)) > 4096 or not path.exists():
        return {}
    if path.is_file():
        return {str(value): file_hash(path)}
    below = sorted(file for file in path.rglob("*") if file.is_file())
    found = [f"{file.relative_to(path)} {file_hash(file)}" for file in below]
    return {str(value): hashlib.sha256("\n".join(found).encode()).hexdigest()}


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
    """Return the callbacks of a configuration without those of a class."""
    return [c for c in callbacks if str(c["class_path"]).rpartition(".")[2] != name]
