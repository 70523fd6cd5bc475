"""Go on from a checkpoint with the options that were given, and say where they differ from it."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.cli import LightningArgumentParser

_KEYWORDS = ("best", "last", "hpc", "registry")  # names that Lightning resolves to a file later


def check_checkpoint(path: str) -> None:
    """Refuse a file that is no checkpoint or is cut off; names like ``last`` pass.

    Raises:
        FileNotFoundError: a path that does not exist.
        ValueError: the file is damaged.
    """
    if path in _KEYWORDS or "://" in path:
        return
    if not Path(path).is_file():
        raise FileNotFoundError(f"No checkpoint at {path!r}: check `--ckpt_path`.")
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path!r} is not a checkpoint, or is cut off: use an earlier one from the same folder."
        )


def parse_with_checkpoint(
    parser: LightningArgumentParser, arguments: Sequence[str]
) -> tuple[Namespace, list[str]]:
    """Parse a command line; a checkpoint's arguments stand where nothing was given.

    Files and options of the command line win over the checkpoint, and the checkpoint over
    defaults. Lightning itself lets the checkpoint win over everything, without a word.

    Args:
        parser: of all subcommands.
        arguments: the subcommand and its options.

    Returns:
        The configuration, and one line per kind of difference from the checkpoint.

    Raises:
        FileNotFoundError, ValueError: ``--ckpt_path`` names no checkpoint.
    """
    config: Namespace = parser.parse_args(arguments)
    command = config["subcommand"]
    path = config[command].get("ckpt_path")
    if not path:
        return config, []
    check_checkpoint(path)
    model = config[command].get("model")
    if not Path(path).is_file() or model is None:
        return config, []
    saved = _saved_arguments(path)
    its_class = saved.pop("_class_path", None)
    ours = model.get("init_args") or Namespace()
    base = {
        "model": {
            "class_path": model["class_path"],
            "init_args": {key: value for key, value in saved.items() if key in vars(ours)},
        }
    }
    merged: Namespace = parser.parse_args(
        [command, "--config", json.dumps(base), *arguments[1:]],
    )
    merged[command]["config"] = config[command]["config"]
    result = merged[command]["model"]
    return merged, _differences(path, its_class, base["model"]["init_args"], ours, result)


def _saved_arguments(path: str) -> dict[str, Any]:
    """Return those arguments of the checkpoint's model that a configuration file can hold."""
    checkpoint = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    saved = dict(checkpoint.get("hyper_parameters") or {})
    saved.pop("_instantiator", None)
    return {key: _plain(value) for key, value in saved.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True


def _plain(value: Any) -> Any:
    """Return a value as a configuration file holds it: lists for tuples, dicts for the rest."""
    if isinstance(value, Namespace):
        value = value.as_dict()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _differences(
    path: str, its_class: str | None, saved: dict[str, Any], before: Namespace, model: Namespace
) -> list[str]:
    """Describe what was given against the checkpoint, and what was taken from it."""
    lines = []
    if its_class is not None and its_class != model["class_path"]:
        lines.append(f"{path} was trained as {its_class}; going on as {model['class_path']}.")
    used = {key: _plain(model["init_args"][key]) for key in saved}
    changed = [
        f"{key} {used[key]!r} (was {old!r})" for key, old in saved.items() if used[key] != old
    ]
    if changed:
        lines.append(f"Given otherwise than in {path}: {', '.join(changed)}.")
    taken = [f"{key} {used[key]!r}" for key in saved if used[key] != _plain(before[key])]
    if taken:
        lines.append(f"Taken from {path}, as not given: {', '.join(taken)}.")
    return lines


@rank_zero_only
def announce(lines: Sequence[str]) -> None:
    """Print lines on the console, once for all processes."""
    for line in lines:
        print(line, file=sys.stderr)
