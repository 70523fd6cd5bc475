"""Generators for `temporal_stability.py`: one base, and fine-tuned ones of different losses.

Every clip is cut in two: the first two thirds are trained on, the last third is scored. The base
learns faces from scratch by DeepPrivacy2's game plus pixel and perceptual terms on whole crops
(a substitute for weeks of training; it stands for DeepPrivacy2's published weights, which may be
given instead). Fine-tuning goes on from it with the objective that the base was trained with, for
the same updates: with nothing added, with all additive losses, and with each of them left out. For
our base that objective is the recipe's own; going on with DeepPrivacy2's game alone, at its full
weight, spoils so short-trained a base within 80 updates (measured: feature distance 1.10 to 1.72,
excess warping error 14 to 42), and the losses would be compared on ruins. For weights that are
given it is DeepPrivacy2's game.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dp3_lightning.assets import asset_path
from dp3_lightning.studies.training_runs import fit_once
from dp3_lightning.video import VideoReader, write_video

CLIPS = ("speech", "smile", "actress", "carphone")
TRAINED = 2 / 3  # of every clip
MOST_SCORED = 40  # frames
LOSSES: dict[str, dict[str, Any]] = {
    "tv": {"class_path": "TotalVariationLoss", "init_args": {"weight": 0.05}},
    "pixel": {"class_path": "PixelLoss", "init_args": {"weight": 2.0, "mode": "ring+low"}},
    "flow": {"class_path": "FlowConsistencyLoss", "init_args": {"weight": 1.0}},
    "crop": {"class_path": "CropConsistencyLoss", "init_args": {"weight": 1.0}},
}
VARIANTS: dict[str, tuple[str, ...]] = {
    "none": (),
    "all": tuple(LOSSES),
    **{f"no {off}": tuple(name for name in LOSSES if name != off) for off in LOSSES},
}
# The base learns faces by these beside the game.
BASE_TERMS: tuple[dict[str, Any], ...] = (
    {"class_path": "PixelLoss", "init_args": {"weight": 4.0, "mode": "full"}},
    {"class_path": "PerceptualLoss", "init_args": {"weight": 2.0, "mode": "full"}},
)
BASE_ADVERSARIAL = 0.1  # weight of the game


@dataclass(frozen=True)
class Recipe:
    """Sizes of the runs.

    Attributes:
        net: preset of the generator.
        base_updates: of the base, from random weights.
        updates: of every fine-tuned generator.
        base_lr: Adam's rate for the base.
        lr: Adam's rate for fine-tuning.
        own_base: whether fine-tuning goes on with the objective of our base, or, False, with
            DeepPrivacy2's.
    """

    net: str = "small64"
    base_updates: int = 600
    updates: int = 80
    base_lr: float = 0.004
    lr: float = 0.001
    own_base: bool = True


def cut_clips(folder: Path) -> tuple[Path, dict[str, Path]]:
    """Write both parts of all clips; returns the training folder, and clip to scored part."""
    train, scored = folder / "train", {}
    for name in CLIPS:
        reader = VideoReader(asset_path(name))
        split = int(len(reader) * TRAINED)
        parts = {
            train / name / f"{name}.mp4": (0, split),
            folder / "scored" / f"{name}.mp4": (split, min(len(reader), split + MOST_SCORED)),
        }
        for path, (start, stop) in parts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_file():
                write_video(path, reader.frames(start, stop), reader.average_rate, crf=12)
        scored[name] = folder / "scored" / f"{name}.mp4"
    return train, scored


def trained_base(folder: Path, recipe: Recipe, train: Path) -> Path:
    """Train the base, or go on with it; returns its checkpoint."""
    callbacks = [copy.deepcopy(term) for term in BASE_TERMS]
    model = {"generator_lr": recipe.base_lr, "adversarial_weight": BASE_ADVERSARIAL}
    config = _config(recipe, train, callbacks, model, None, 0, recipe.base_updates, 2)
    return fit_once(folder / "base", config)


def fine_tuned(
    folder: Path, recipe: Recipe, train: Path, base: Path, variant: str, seed: int
) -> Path:
    """Fine-tune the base with the losses of a variant; returns its checkpoint."""
    config = fine_tuning_config(recipe, train, base, VARIANTS[variant], seed)
    return fit_once(folder / f"{variant.replace(' ', '-')}-{seed}", config)


def fine_tuning_config(
    recipe: Recipe, train: Path, base: Path, terms: Sequence[str], seed: int
) -> dict[str, Any]:
    """Configuration that goes on from the base with some of LOSSES."""
    callbacks = [copy.deepcopy(LOSSES[name]) for name in terms]
    model: dict[str, Any] = {"generator_lr": recipe.lr}
    if recipe.own_base:
        model["adversarial_weight"] = BASE_ADVERSARIAL
        for term in BASE_TERMS:
            name = f"base_{term['class_path']}"
            init = {**term["init_args"], "name": name}
            callbacks.append({"class_path": term["class_path"], "init_args": init})
    config = _config(recipe, train, callbacks, model, base, seed, recipe.updates, 4)
    # DeepPrivacy2's windows follow the detector's boxes, so they jitter.
    config["data"]["init_args"]["window_jitter"] = 0.02
    return config


def _config(
    recipe: Recipe,
    train: Path,
    callbacks: Sequence[dict[str, Any]],
    model: dict[str, Any],
    base: Path | None,
    seed: int,
    updates: int,
    clip_length: int,
) -> dict[str, Any]:
    weights = "random" if base is None else str(base)
    side = 128 if recipe.net.endswith("128") else 64
    net = {"net": recipe.net, "weights": weights}
    return {
        "seed_everything": seed,
        "trainer": {
            "accelerator": "cpu",
            "devices": 1,
            "max_steps": updates,
            "limit_val_batches": 0,
            "num_sanity_val_steps": 0,
            "logger": False,
            "enable_progress_bar": False,
            "callbacks": list(callbacks),
        },
        "model": {
            "class_path": "VideoFineTuner",
            "init_args": {
                "generator": {"class_path": "StyleGANUnetAdapter", "init_args": net},
                "discriminator": {"class_path": "DiscriminatorAdapter", "init_args": net},
                "seed": seed,
                **model,
            },
        },
        "data": {
            "class_path": "VideoClipDataModule",
            "init_args": {
                "source": str(train),
                "clip_length": clip_length,
                "image_size": side,
                "batch_size": 8 // clip_length,
                "flow": any(c["class_path"] == "FlowConsistencyLoss" for c in callbacks),
                "split_by": "time",
                "val_fraction": 0.1,
                "seed": seed,
            },
        },
    }


def described(recipe: Recipe) -> dict[str, Any]:
    """Plain values for the results."""
    own = json.dumps(BASE_TERMS) if recipe.own_base else "DeepPrivacy2's"
    losses = json.dumps(LOSSES, sort_keys=True)
    return {**asdict(recipe), "objective of the base": own, "losses": losses}
