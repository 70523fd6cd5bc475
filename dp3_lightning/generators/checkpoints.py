"""Read generator weights from DeepPrivacy2's and our own files, without running pickled code."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dp3_lightning.assets import ASSETS, asset_path

# Where each kind of file keeps the generator, best first: averaged weights before raw ones.
_DP2_KEYS = ("EMA_generator", "running_average_generator")
_LIGHTNING_PREFIXES = ("generator_ema.net.", "generator.net.")


def resolve_weights(source: str | Path) -> Path:
    """Return the file behind a name of published weights or a path.

    Raises:
        FileNotFoundError: neither a known name nor an existing file; says what to do.
    """
    known = sorted(name for name, asset in ASSETS.items() if asset.kind == "weights")
    if str(source) in known and not Path(source).is_file():
        return asset_path(str(source))
    path = Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"No generator weights at {source!s}: give the path of a checkpoint file or one of the "
            f"names {', '.join(known)}. `weights: random` starts from random weights."
        )
    return path


def read_checkpoint(path: Path) -> Any:
    """Load a checkpoint's tensors on the CPU; never executes code from the file.

    Raises:
        ValueError: the file is damaged or holds objects other than tensors and plain containers.
    """
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(str(path))
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"Cannot read {path} as weights ({reason}). Files that hold more than tensors are "
            "refused, because loading them would run their code: re-save the state dict alone, or "
            "get the file again if it is damaged."
        ) from error


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
            state = dict(checkpoint[key])
            if "w_centers" in checkpoint:
                state.setdefault("style_net.w_centers", checkpoint["w_centers"])
            return state
    lightning = checkpoint.get("state_dict")
    if isinstance(lightning, Mapping):
        for prefix in _LIGHTNING_PREFIXES:
            state = {k[len(prefix) :]: v for k, v in lightning.items() if k.startswith(prefix)}
            if state:
                return state
    if all(isinstance(value, Tensor) for value in checkpoint.values()):
        return dict(checkpoint)
    raise ValueError(
        f"Found no generator in the checkpoint; its keys are {sorted(map(str, checkpoint))[:12]}. "
        f"Expected one of {', '.join(_DP2_KEYS)}, a Lightning `state_dict` of VideoFineTuner, or a "
        "bare state dict."
    )


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
    state = generator_state(read_checkpoint(path))
    centers = state.pop("style_net.w_centers", None)
    own = {k: v for k, v in net.state_dict().items() if k != "style_net.w_centers"}
    problems = [f"missing {key}" for key in own if key not in state]
    problems += [f"unknown {key}" for key in state if key not in own]
    problems += [
        f"{key} has shape {tuple(state[key].shape)}, expected {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if problems:
        raise ValueError(
            f"The weights in {path} do not fit this generator (another preset?); nothing was "
            f"loaded. {len(problems)} problems:\n  " + "\n  ".join(problems)
        )
    if centers is not None:
        net.style_net.set_centers(centers)  # type: ignore[union-attr, operator]
        state["style_net.w_centers"] = centers
    net.load_state_dict(state)
