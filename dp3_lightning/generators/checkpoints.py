"""Read generator weights from DeepPrivacy2's and our own files, without running pickled code."""

from __future__ import annotations

import difflib
import json
import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dp3_lightning.assets import ASSETS, asset_path

# Where each kind of file keeps the generator, best first: averaged weights before raw ones.
_DP2_KEYS = ("EMA_generator", "running_average_generator")
_LIGHTNING_PREFIXES = ("generator_ema.net.", "generator.net.", "generator_ema.", "generator.")
_CENTERS = "style_net.w_centers"
# Under this key our own files keep the generator's constructor arguments.
CONFIG_KEY = "dp3_generator"


def weight_names() -> list[str]:
    """Return the names of published weights, for :func:`resolve_weights`."""
    return sorted(name for name, asset in ASSETS.items() if asset.kind == "weights")


def resolve_weights(source: str | Path) -> Path:
    """Return the file behind a name of published weights or a path.

    Raises:
        FileNotFoundError: neither a known name nor an existing file; says what to do.
        AssetUnavailableError: a known name whose file cannot be fetched; says where to put it.
    """
    known = weight_names()
    if str(source) in known and not Path(source).is_file():
        return asset_path(str(source))
    path = Path(source).expanduser()
    if not path.is_file():
        near = difflib.get_close_matches(str(source), known, n=2)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise FileNotFoundError(
            f"No generator weights at {source!s}: give the path of a checkpoint file or one of the "
            f"names {', '.join(known)}.{hint} `weights: random` starts from random weights."
        )
    return path


def read_checkpoint(path: Path) -> Any:
    """Load a checkpoint's tensors on the CPU; never executes code from the file.

    Returns:
        What was saved; a safetensors file gives ``{"EMA_generator": ..., CONFIG_KEY: ...}``.

    Raises:
        ValueError: the file is damaged or holds objects other than tensors and plain containers;
            the first refused class or function is named.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        # The `train_state` of DeepPrivacy2's training checkpoints is an EasyDict, a dict that also
        # sets attributes. An ordered dict takes its place; the real class is never imported.
        with torch.serialization.safe_globals([(OrderedDict, "easydict.EasyDict")]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise ValueError(_unreadable(path, str(error))) from error


def _unreadable(path: Path, message: str) -> str:
    refused = re.search(r"GLOBAL ([\w.]+)", message)
    if refused is not None:
        return (
            f"Refused {path}: it asks to call or build {refused[1]}, so loading it could run code. "
            "Get a file that holds tensors only; if you trust its source, re-save the state dict "
            "alone with `torch.save(state_dict, ...)`."
        )
    lines = message.partition("WeightsUnpickler error:")[2].strip().splitlines()
    reason = (lines or message.strip().splitlines() or ["no message"])[0]
    return (
        f"Cannot read {path} as weights ({reason}): it is damaged, cut off or no checkpoint. "
        "Get the file again and compare its hash (`dp3 weights check FILE`)."
    )


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(_unreadable(path, str(error))) from error
    config = json.loads(metadata[CONFIG_KEY]) if CONFIG_KEY in metadata else None
    return {"EMA_generator": tensors} | ({} if config is None else {CONFIG_KEY: config})


def stored_config(checkpoint: Any) -> dict[str, Any] | None:
    """Return the constructor arguments of the generator that our own files carry, or None."""
    if not isinstance(checkpoint, Mapping) or not isinstance(checkpoint.get(CONFIG_KEY), Mapping):
        return None
    return dict(checkpoint[CONFIG_KEY])


def generator_state(checkpoint: Any) -> dict[str, Tensor]:
    """Find the generator's state dict in a loaded checkpoint of any known layout.

    Args:
        checkpoint: what :func:`read_checkpoint` returned: a bare state dict, DeepPrivacy2's
            inference or training checkpoint, or a Lightning checkpoint of this package.

    Raises:
        ValueError: no generator inside; lists the top-level keys.
    """
    if not isinstance(checkpoint, Mapping) or not checkpoint:
        raise ValueError(f"Expected a checkpoint dict, got {type(checkpoint).__name__}.")
    for key in _DP2_KEYS:
        if key in checkpoint:
            state = _without_module_prefix(checkpoint[key])
            if "w_centers" in checkpoint:
                state.setdefault(_CENTERS, checkpoint["w_centers"])
            return state
    lightning = checkpoint.get("state_dict")
    if isinstance(lightning, Mapping):
        for prefix in _LIGHTNING_PREFIXES:
            state = {k[len(prefix) :]: v for k, v in lightning.items() if k.startswith(prefix)}
            if state:
                return state
    if all(isinstance(value, Tensor) for value in checkpoint.values()):
        return _without_module_prefix(checkpoint)
    raise ValueError(
        f"Found no generator in the checkpoint; its keys are {sorted(map(str, checkpoint))[:12]}. "
        f"Expected one of {', '.join(_DP2_KEYS)}, a Lightning `state_dict` of VideoFineTuner, or a "
        "bare state dict."
    )


def discriminator_state(checkpoint: Any) -> dict[str, Tensor]:
    """Find the discriminator's state dict in a training checkpoint of DeepPrivacy2 or ours.

    Raises:
        ValueError: no discriminator inside; lists the top-level keys.
    """
    if isinstance(checkpoint, Mapping):
        if "discriminator" in checkpoint:
            return _without_module_prefix(checkpoint["discriminator"])
        lightning = checkpoint.get("state_dict")
        if isinstance(lightning, Mapping):
            prefix = "discriminator.net."
            state = {k[len(prefix) :]: v for k, v in lightning.items() if k.startswith(prefix)}
            if state:
                return state
    keys = sorted(map(str, checkpoint))[:12] if isinstance(checkpoint, Mapping) else "no mapping"
    raise ValueError(
        f"Found no discriminator in the checkpoint; its keys are {keys}. Only training checkpoints "
        "have one."
    )


def _without_module_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop the ``module.`` that a data-parallel wrapper puts in front of every key."""
    if state and all(key.startswith("module.") for key in state):
        return {key.removeprefix("module."): value for key, value in state.items()}
    return dict(state)


def key_problems(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """List the keys that are missing, unknown or of another shape; centres are optional."""
    own = {k: v for k, v in expected.items() if not k.endswith(_CENTERS)}
    given = {k: v for k, v in state.items() if not k.endswith(_CENTERS)}
    problems = [f"missing {key}" for key in own if key not in given]
    problems += [f"unknown {key}" for key in given if key not in own]
    problems += [
        f"{key} has shape {tuple(given[key].shape)}, expected {tuple(own[key].shape)}"
        for key in own
        if key in given and given[key].shape != own[key].shape
    ]
    return problems


def load_weights(net: nn.Module, source: str | Path) -> None:
    """Load generator weights into ``net``, all of them or none.

    Args:
        net: a :class:`StyleGANUnet`.
        source: name or path, see :func:`resolve_weights`.

    Raises:
        ValueError: keys or shapes do not fit; every one is listed. Nothing was loaded then.
        FileNotFoundError: no such file.
    """
    path = resolve_weights(source)
    load_state(net, generator_state(read_checkpoint(path)), str(path))


def load_state(net: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Load a network's state dict into ``net``, all of it or nothing.

    Args:
        net: a generator or discriminator.
        state: its state dict, with or without ``style_net.w_centers``.
        origin: where it is from, for the error.

    Raises:
        ValueError: keys or shapes do not fit; every one is listed. Nothing was loaded then.
    """
    problems = key_problems(state, net.state_dict())
    if problems:
        raise ValueError(
            f"The weights in {origin} do not fit this network (another preset?); nothing was "
            f"loaded. {len(problems)} problems:\n  " + "\n  ".join(problems)
        )
    net.load_state_dict(dict(state))
