"""Run ``dp3 weights`` and ``dp3 export``: list, fetch, check and convert weights."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dp3_lightning.assets import ASSETS, Asset, asset_path, cache_folder

_SUFFIXES = {".ckpt": "dp2", ".pth": "dp2", ".safetensors": "safetensors", ".pt": "torchscript"}


def weights_command(arguments: Sequence[str]) -> int:
    """Run ``dp3 weights list|get|check|convert``; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="dp3 weights", description="List, fetch, check and convert weights of generators."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="published weights, their terms, and which are cached")
    get = commands.add_parser("get", help="fetch published weights, check their hash, print path")
    get.add_argument("name")
    check = commands.add_parser("check", help="say what a file holds and whether it is published")
    check.add_argument("file", type=Path)
    convert = commands.add_parser("convert", help="the same as `dp3 export`")
    _add_export_arguments(convert)
    options = parser.parse_args(arguments)
    if options.command == "list":
        _list()
    elif options.command == "get":
        print(asset_path(_known(options.name)))
    elif options.command == "check":
        return _check(options.file)
    else:
        _export(options)
    return 0


def export_command(arguments: Sequence[str]) -> int:
    """Run ``dp3 export CHECKPOINT OUT``; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="dp3 export",
        description="Write the averaged generator of a checkpoint for other tools: .ckpt for "
        "DeepPrivacy2, .safetensors for weights, .pt for a TorchScript program.",
    )
    _add_export_arguments(parser)
    _export(parser.parse_args(arguments))
    return 0


def _add_export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="checkpoint file, or a name from `dp3 weights list`")
    parser.add_argument("output", type=Path)
    parser.add_argument(
        "--form", choices=sorted(set(_SUFFIXES.values())), help="default: by suffix"
    )
    parser.add_argument("--preset", help="preset of the generator, where the file does not name it")
    parser.add_argument("--licence", help="text to keep in the file")
    parser.add_argument("--data", type=Path, help="training manifest; its sha256 is kept")


def _known(name: str) -> str:
    import difflib

    known = [asset.name for asset in ASSETS.values() if asset.kind == "weights"]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=2)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"Unknown weights {name!r}; known: {', '.join(known)}.{hint}")
    return name


def _list() -> None:
    for asset in (a for a in ASSETS.values() if a.kind == "weights"):
        path = cache_folder() / asset.name / asset.basename
        print(f"{asset.name}  {'cached' if path.is_file() else 'not cached'}")
        print(f"    {asset.description}\n    {asset.licence}\n    {path}")


def _digests(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        file.seek(0)
        return {"md5": md5, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _published_as(digests: Mapping[str, str]) -> Asset | None:
    for asset in ASSETS.values():
        algorithm, expected = asset.digest
        if asset.kind == "weights" and digests[algorithm] == expected:
            return asset
    return None


def _check(path: Path) -> int:
    """Print the content of a weights file; return 1 when it cannot be used."""
    from dp3_lightning.generators.checkpoints import generator_state, read_checkpoint, stored_config
    from dp3_lightning.generators.loading import identify_preset

    if not path.is_file():
        raise FileNotFoundError(f"No file at {path}.")
    digests = _digests(path)
    published = _published_as(digests)
    print(f"md5     {digests['md5']}\nsha256  {digests['sha256']}")
    print(f"origin  {published.name if published else 'not one of the published files'}")
    try:
        checkpoint: Any = read_checkpoint(path)
        state = generator_state(checkpoint)
        config = stored_config(checkpoint)
        preset = f"its own: {config}" if config else identify_preset(state, str(path))
    except ValueError as error:
        print(f"problem {error}", file=sys.stderr)
        return 1
    n_values = sum(tensor.numel() for tensor in state.values())
    print(f"holds   a generator of {n_values / 1e6:.1f} M values in {len(state)} tensors")
    print(f"preset  {preset}")
    print(f"centres {'yes' if 'style_net.w_centers' in state else 'no'}")
    further = [k for k in ("discriminator", "D_optimizer", "G_optimizer") if k in checkpoint]
    if further:
        print(f"also    {', '.join(further)}")
    return 0


def _export(options: argparse.Namespace) -> None:
    from dp3_lightning import __version__
    from dp3_lightning.generators.export import export_generator
    from dp3_lightning.generators.loading import load_generator

    form = options.form or _SUFFIXES.get(options.output.suffix)
    if form is None:
        raise ValueError(
            f"No format for the suffix {options.output.suffix!r}: use {', '.join(_SUFFIXES)}, or "
            "choose one with --form."
        )
    metadata = {"tool": f"dp3_lightning {__version__}", "source": Path(options.source).name}
    if options.licence:
        metadata["licence"] = options.licence
    if options.data:
        metadata["training_data_sha256"] = _digests(options.data)["sha256"]
    generator = load_generator(options.source, options.preset)
    print(export_generator(generator, options.output, form, metadata))
