"""Load generators from DeepPrivacy2's checkpoints, ours, safetensors files, or by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from dp3_lightning.generators.base import GeneratorAdapter
from dp3_lightning.generators.checkpoints import (
    generator_state,
    key_problems,
    load_state,
    read_checkpoint,
    resolve_weights,
    stored_config,
)
from dp3_lightning.generators.face_prior.adapter import NAME as FACE_PRIOR
from dp3_lightning.generators.face_prior.adapter import FacePriorGenerator
from dp3_lightning.generators.native import StyleGANUnetAdapter
from dp3_lightning.generators.presets import GENERATOR_PRESETS
from dp3_lightning.generators.stylegan_unet import StyleGANUnet


def load_generator(source: str | Path, preset: str | None = None) -> GeneratorAdapter:
    """Build the generator that a file was saved from and load its weights, all of them.

    Args:
        source: ``face-prior`` (the default of ``dp3 anonymize``); ``fdf128``, ``fdf256``,
            ``fdh_cse`` or ``fdh_nocse`` (published weights, fetched once and checked); or a file: a
            checkpoint of DeepPrivacy2 (inference or training), a Lightning checkpoint of
            :class:`~dp3_lightning.modules.VideoFineTuner` (its averaged generator), a bare state
            dict, or safetensors.
        preset: configuration to build; default: the one that our files carry, else the one whose
            parameters have the names and shapes in the file.

    Returns:
        The adapter, in eval mode on the CPU.

    Raises:
        FileNotFoundError: no such file and no such name.
        AssetUnavailableError: known weights that cannot be fetched; says where to put the file.
        ValueError: the file cannot be read, holds code, or fits no preset (the differences to the
            nearest one are listed) or several (``fdf256`` and ``fdh_nocse`` have equal shapes).
    """
    if str(source) == FACE_PRIOR and not Path(source).is_file():
        return FacePriorGenerator().eval()
    path = resolve_weights(source)
    checkpoint = read_checkpoint(path)
    state, config = generator_state(checkpoint), stored_config(checkpoint)
    if config is not None and config.get("kind") == FACE_PRIOR:
        return FacePriorGenerator.from_state(config, state, str(path))
    if preset is None and str(source) in GENERATOR_PRESETS and not Path(source).is_file():
        preset = str(source)  # published weights are named after their preset
    if preset is None and config is not None:
        net = StyleGANUnet(**config)
    else:
        net = StyleGANUnet.from_preset(preset or identify_preset(state, str(path)))
    load_state(net, state, str(path))
    return StyleGANUnetAdapter(net).eval()


def identify_preset(state: Mapping[str, Tensor], origin: str) -> str:
    """Return the preset whose parameters have the names and shapes of ``state``.

    Args:
        state: a generator's state dict.
        origin: where it is from, for the error.

    Raises:
        ValueError: none fits (the differences to the nearest one are listed), or several do.
    """
    fitting: list[str] = []
    nearest: tuple[str, list[str]] | None = None
    for name in GENERATOR_PRESETS:
        with torch.device("meta"):
            expected = StyleGANUnet.from_preset(name).state_dict()
        problems = key_problems(state, expected)
        if not problems:
            fitting.append(name)
        if nearest is None or len(problems) < len(nearest[1]):
            nearest = (name, problems)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ValueError(
            f"The weights in {origin} fit the presets {' and '.join(fitting)} alike, which differ "
            f"in image size and gains: choose one with `preset`, for example `preset={fitting[0]}`."
        )
    name, problems = nearest or ("", [])
    raise ValueError(
        f"The weights in {origin} fit no preset; nearest is {name!r} with {len(problems)} "
        "differences:\n  " + "\n  ".join(problems) + "\nFor a network of your own, build it and "
        "use `StyleGANUnetAdapter(net=..., weights=...)`."
    )
