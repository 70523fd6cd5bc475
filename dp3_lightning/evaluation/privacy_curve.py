"""Quality against re-identification: a sweep over the pixel term, and a budget."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dp3_lightning.anonymize import (
    CheckOptions,
    Drawing,
    OutputOptions,
    PersonOptions,
    PlanOptions,
    Settings,
    anonymize_video,
    plan_video,
)
from dp3_lightning.anonymize.compat import as_detected
from dp3_lightning.evaluation.figures import evaluate_pair
from dp3_lightning.evaluation.fits import Config, fit_once, without
from dp3_lightning.evaluation.people import PersonTrack, people_figures
from dp3_lightning.evaluation.tools import Tools
from dp3_lightning.faces import CenterFace

# What the curve is drawn of, and the table shows.
QUALITY = ("MobileNetV2 Frechet", "FID", "excess warping error", "sharpness")


@dataclass(frozen=True)
class Choice:
    """One point of the sweep.

    Attributes:
        weight: of the pixel term; 0 leaves it out.
        mode: of the pixel term, see :class:`~dp3_lightning.callbacks.PixelLoss`.
        margin: of the identity term; None leaves that out.
    """

    weight: float
    mode: str = "ring+low"
    margin: float | None = None

    @property
    def name(self) -> str:
        """Short, fit for a folder."""
        margin = "" if self.margin is None else f"-margin{self.margin:g}"
        return (
            f"{self.mode.replace('+', '-')}-{self.weight:g}{margin}"
            if self.weight
            else (f"no-pixel{margin}")
        )


@dataclass(frozen=True)
class Point:
    """What a generator scores.

    Attributes:
        name: of the choice, or of the checkpoint file.
        recognised: share of held-out frames in which the recogniser takes the drawn face for the
            real person: the privacy axis.
        gap: the same on the people it was trained on, less that: what it memorised.
        rank1: re-identification among held-out people by embeddings averaged over tracks; None
            with fewer than two.
        chance: what guessing gives there.
        quality: medians over held-out faces, by name.
        inside: whether ``recognised`` is within the budget.
        choice: what it was trained with.
    """

    name: str
    recognised: float
    gap: float
    rank1: float | None
    chance: float | None
    quality: dict[str, float]
    inside: bool
    choice: Choice | None = None

    def record(self) -> dict[str, Any]:
        """Plain values for strict JSON."""
        values = asdict(self)
        values["gap"] = self.gap if math.isfinite(self.gap) else None
        values["quality"] = {k: v if math.isfinite(v) else None for k, v in self.quality.items()}
        return values


def sweep(
    weights: Sequence[float], modes: Sequence[str], margins: Sequence[float | None]
) -> list[Choice]:
    """Return all combinations; without a pixel term its mode makes no difference."""
    found = [
        Choice(weight, mode if weight else modes[0], margin)
        for weight, mode, margin in itertools.product(weights, modes, margins)
    ]
    return list(dict.fromkeys(found))


def config_for(base: Mapping[str, Any], choice: Choice, embedder: str | None) -> Config:
    """Return a configuration with the terms of a choice, everything else as it is.

    Raises:
        ValueError: a margin without an embedder for the identity term.
    """
    config = copy.deepcopy(dict(base))
    trainer = config.setdefault("trainer", {})
    callbacks = without(trainer.get("callbacks") or [], "PixelLoss")
    if choice.weight:
        terms = {"weight": choice.weight, "mode": choice.mode}
        callbacks.append({"class_path": "PixelLoss", "init_args": terms})
    if choice.margin is not None:
        if embedder is None:
            raise ValueError(
                "A margin needs `--embedder`: the class path of a differentiable face embedder, "
                "another one than the recogniser that measures."
            )
        callbacks = without(callbacks, "IdentityLoss")
        terms = {"embedder": {"class_path": embedder}, "margin": choice.margin}
        callbacks.append({"class_path": "IdentityLoss", "init_args": terms})
    trainer["callbacks"] = callbacks
    return config


@dataclass
class Study:
    """Trains, anonymizes and measures; what is done is not done again.

    Attributes:
        folder: of everything.
        held_out: videos of people whom no training saw.
        trained_on: videos of the training, for what is memorised; may be empty.
        budget: largest ``recognised`` that is allowed.
        tools: what to measure with.
    """

    folder: Path
    held_out: Sequence[Path]
    trained_on: Sequence[Path]
    budget: float
    tools: Tools = field(default_factory=Tools.at_hand)

    def __post_init__(self) -> None:
        if self.tools.embedder is None:
            raise ValueError(
                "The curve needs a recogniser: " + self.tools.skipped.get("recognised", "none")
            )

    def trained(self, base: Mapping[str, Any], choice: Choice, embedder: str | None) -> Point:
        """Train by a choice and measure the result."""
        config = config_for(base, choice, embedder)
        return self.measured(fit_once(self.folder / "runs" / choice.name, config), choice)

    def measured(self, checkpoint: Path, choice: Choice | None = None) -> Point:
        """Measure a generator."""
        name = checkpoint.stem if choice is None else choice.name
        unseen = self._tracks(name, checkpoint, self.held_out)
        seen = self._tracks(name, checkpoint, self.trained_on)
        recognised = _mean(unseen, "recognised")
        if not math.isfinite(recognised):
            raise ValueError("No held-out face could be recognised at all: give other videos.")
        together, _ = people_figures(unseen)
        found = together.get("identification, tracks averaged")
        return Point(
            name,
            recognised,
            _mean(seen, "recognised") - recognised,
            found and found["rates"][1],
            found and found["chance"][1],
            {q: _mean(unseen, q) for q in QUALITY if any(q in t.figures.values for t in unseen)},
            recognised <= self.budget,
            choice,
        )

    def _tracks(self, name: str, checkpoint: Path, videos: Sequence[Path]) -> list[PersonTrack]:
        found: list[PersonTrack] = []
        drawing = Drawing.prepare(checkpoint) if videos else None
        for number, source in enumerate(videos):
            assert drawing is not None
            output = self.folder / "outputs" / f"{name}-{number}-{source.stem}.mp4"
            output.parent.mkdir(parents=True, exist_ok=True)
            settings = Settings(
                people=PersonOptions(seed=0),  # one face per person at every point of the curve
                output=OutputOptions(overwrite=True),
                check=CheckOptions(verify=False, identity_check="off"),
            )
            anonymize_video(
                source, output, drawing, settings=settings, cache=self.folder / "detections"
            )
            plan = plan_video(
                source,
                CenterFace(runtime="auto"),
                as_detected(PlanOptions()),
                self.folder / "detections",
            )
            for face in evaluate_pair(source, output, plan, self.tools):
                found.append(PersonTrack(f"{source.stem}/{face.person}", source.stem, face))
        return found


def _mean(tracks: Sequence[PersonTrack], figure: str) -> float:
    values = [t.figures.values.get(figure, math.nan) for t in tracks]
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


def choose(points: Sequence[Point]) -> Point | None:
    """Return the point of best quality within the budget: least Frechet distance; None if none."""
    inside = [point for point in points if point.inside]
    return min(inside, key=_badness, default=None)


def _badness(point: Point) -> float:
    for name in ("FID", "MobileNetV2 Frechet", "excess warping error"):
        value = point.quality.get(name, math.nan)
        if math.isfinite(value):
            return value
    return math.inf
