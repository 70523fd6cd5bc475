"""Run ``dp3 data synth-faces`` and ``dp3 face-prior``, which make the face prior's weights."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from dp3_lightning.data.face_shards import measured_shards, shard_path
from dp3_lightning.generators.face_prior.latent_model import LatentModel
from dp3_lightning.generators.face_prior.latent_space import LatentSpace
from dp3_lightning.generators.face_prior.mapping import MobileStyleGANMapping
from dp3_lightning.generators.face_prior.synthesis import MobileStyleGANSynthesis
from dp3_lightning.generators.face_prior.weights import FOLDER, shipped
from dp3_lightning.studies.color_heads import fit_heads, sample_styles
from dp3_lightning.studies.face_measures import FaceMeasurer
from dp3_lightning.studies.fit_latent_model import fit_latent_model
from dp3_lightning.studies.synth_faces import SHARD, Balance, FaceSampler

_NATURAL_SHARDS = 8  # drawn as people come; they also fit the map by which later ones are balanced
_STATISTICS, _HEAD_PICTURES = 50_000, 120


def data_command(arguments: Sequence[str]) -> int:
    """Run ``dp3 data synth-faces``; returns the exit code."""
    parser = argparse.ArgumentParser(prog="dp3 data", description="Make data sets.")
    commands = parser.add_subparsers(dest="command", required=True)
    faces = commands.add_parser(
        "synth-faces",
        help="draw people who do not exist, and measure them",
        description="Draw people who do not exist and measure them. An interrupted run continues.",
    )
    faces.add_argument("folder", type=Path)
    faces.add_argument("--count", type=int, default=20_000, help="pictures; default 20000")
    faces.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.count < 1:
        raise ValueError(f"Expected `--count` of at least 1, got {options.count}.")
    synth_faces(options.folder, options.count, options.seed)
    return 0


def synth_faces(folder: Path, count: int, seed: int = 0) -> None:
    """Draw and measure at least ``count`` people, in shards of 250.

    The first shards show people as the network draws them; in later ones skin tones from the
    darkest to the lightest are equally frequent.
    """
    folder.mkdir(parents=True, exist_ok=True)
    space = LatentSpace.load()
    heads = {name: value.float() for name, value in load_file(shipped("color_heads")).items()}
    measurer = FaceMeasurer()
    natural = FaceSampler(space.mean, heads, seed)
    balanced: FaceSampler | None = None
    n_shards = -(-count // SHARD)
    for number in range(n_shards):
        if number < _NATURAL_SHARDS:
            path = natural.write(folder, number)
        else:
            if balanced is None:
                first = [shard_path(folder, n) for n in range(_NATURAL_SHARDS)]
                model, _ = fit_latent_model(first, space)
                balanced = FaceSampler(space.mean, heads, seed, lightness(model, space))
            path = balanced.write(folder, number)
        measured = measurer.measure(path)
        share = float(measured["valid"].float().mean())
        print(f"{path}: {number + 1} of {n_shards}, {share:.1%} with a mesh", flush=True)


def lightness(model: LatentModel, space: LatentSpace) -> Balance:
    """Return a function that predicts the lightness of the skin from styles."""
    column = torch.from_numpy(model.response[:, model.index("skin_l")[0]]).float()
    return lambda w: space.whiten(w) @ column


def face_prior_command(arguments: Sequence[str]) -> int:
    """Run ``dp3 face-prior heads|pack``; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="dp3 face-prior", description="Make the shipped weights of the face prior."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    heads = commands.add_parser("heads", help="latent space and heads for small pictures")
    heads.add_argument("--out", type=Path, default=FOLDER, help="folder; default: the package's")
    pack = commands.add_parser("pack", help="context encoder and linear model of the latents")
    pack.add_argument("--checkpoint", type=Path, required=True, help="of the encoder's training")
    pack.add_argument("--faces", type=Path, required=True, help="made by `dp3 data synth-faces`")
    pack.add_argument("--out", type=Path, default=FOLDER, help="folder; default: the package's")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.command == "heads":
        make_heads(options.out)
    else:
        pack_weights(options.checkpoint, options.faces, options.out)
    return 0


def make_heads(out: Path) -> None:
    """Measure the latent space and fit the heads; a few minutes."""
    mapping = MobileStyleGANMapping.from_package()
    z = torch.randn(_STATISTICS, 512, generator=torch.Generator().manual_seed(12))
    with torch.no_grad():
        styles = torch.cat([mapping(part) for part in torch.split(z, 2000)])
    mean = styles.mean(0)
    variance, axes = torch.linalg.eigh(torch.cov(styles.T.double()))
    order = torch.argsort(variance, descending=True)
    scale = variance[order].clamp_min(1e-8).sqrt().float()
    space = {"mean": mean, "scale": scale, "axes": axes[:, order].half().contiguous()}
    save_file(space, out / "latent_space.safetensors")
    net = MobileStyleGANSynthesis.from_package()
    quality = fit_heads(net, sample_styles(_HEAD_PICTURES, 3, mapping, mean))
    halves = {name: value.half().contiguous() for name, value in net.heads.state_dict().items()}
    save_file(halves, out / "color_heads.safetensors")
    for size, explained in quality.items():
        print(f"{size} px: {explained:.3f} of the low band's variance explained")


def pack_weights(checkpoint: Path, faces: Path, out: Path) -> None:
    """Write the trained encoder and the linear model fitted to its errors."""
    from dp3_lightning.studies.encoder_residuals import encoder_of, residuals_of

    encoder = encoder_of(checkpoint)
    halves = {
        name: value.half().contiguous()
        for name, value in encoder.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    space = LatentSpace.load()
    shards = measured_shards(faces)
    residuals, explained = residuals_of(encoder, faces, space)
    print(f"{explained:.3f} of the variance of styles explained on faces it never saw")
    model, quality = fit_latent_model(shards, space, residuals)
    if not np.isfinite(model.response).all():
        raise ValueError("The fitted model has values that are not numbers; use other faces.")
    print("explained by latents: " + ", ".join(f"{k} {v:.2f}" for k, v in quality.items()))
    save_file(halves, out / "context_encoder.safetensors")
    model.save(out / "latent_model.safetensors")
    size = sum(path.stat().st_size for path in out.glob("*.safetensors"))
    print(f"{out}: {size / 1e6:.1f} MB", file=sys.stderr)
