"""Measure quality against re-identification, by a sweep over the pixel term and a budget."""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dp3_lightning.anonymize import Drawing
from dp3_lightning.data.sources import find_videos
from dp3_lightning.evaluation.figures import evaluate_pair
from dp3_lightning.evaluation.people import PersonTrack, re_identification
from dp3_lightning.evaluation.records import Evaluated, people_of
from dp3_lightning.evaluation.rendering import detected_plan, render
from dp3_lightning.evaluation.tools import Tools
from dp3_lightning.faces.analysis import file_hash
from dp3_lightning.runtime.files import write_json
from dp3_lightning.studies.training_runs import Config, fit_once, without

# What the curve is drawn of, and the table shows.
QUALITY = (
    "MobileNetV2 Frechet", "FID", "MobileNetV2 kernel distance", "KID", "excess warping error",
    "sharpness",
)  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """Choose the settings of one point of the sweep.

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
        """Return a short name, fit for a folder."""
        margin = "" if self.margin is None else f"-margin{self.margin:g}"
        if not self.weight:
            return f"no-pixel{margin}"
        return f"{self.mode.replace('+', '-')}-{self.weight:g}{margin}"


@dataclass(frozen=True)
class Point:
    """Hold the scores of one generator.

    Attributes:
        name: of the choice, or of the checkpoint file.
        recognised: share of frames in which the recogniser takes the drawn face for the real
            person, mean over held-out faces: the privacy axis.
        gap: the same on the people it was trained on, less that: the memorised share.
        rank1: re-identification among held-out people by embeddings averaged over tracks; None
            with fewer than two.
        chance: the same share by guessing.
        quality: means over held-out faces, by name.
        inside: whether ``recognised`` is within the budget.
        choice: the settings that it was trained with.
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
        """Return plain values for strict JSON; an unknown value is None."""
        values = asdict(self)
        values["gap"] = self.gap if math.isfinite(self.gap) else None
        values["quality"] = {k: v if math.isfinite(v) else None for k, v in self.quality.items()}
        return values

    @classmethod
    def of_record(cls, values: Mapping[str, Any], budget: float) -> Point:
        """Rebuild a point from its record, and judge it by a budget."""
        choice = values["choice"]
        known = {
            "gap": math.nan if values["gap"] is None else values["gap"],
            "quality": {k: math.nan if v is None else v for k, v in values["quality"].items()},
            "inside": values["recognised"] <= budget,
            "choice": None if choice is None else Choice(**choice),
        }
        return cls(**{**values, **known})


def sweep(
    weights: Sequence[float], modes: Sequence[str], margins: Sequence[float | None]
) -> list[Choice]:
    """Return all combinations, with one mode only where there is no pixel term."""
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
    callbacks = without(callbacks, "IdentityLoss")
    if choice.weight:
        terms = {"weight": choice.weight, "mode": choice.mode}
        callbacks.append({"class_path": "PixelLoss", "init_args": terms})
    if choice.margin is not None:
        if embedder is None:
            raise ValueError(
                "A margin needs `--embedder`: sface, or the class path of a differentiable face "
                "embedder, another one than the recogniser that measures."
            )
        given = embedder if embedder == "sface" else {"class_path": embedder}
        terms = {"embedder": given, "margin": choice.margin}
        callbacks.append({"class_path": "IdentityLoss", "init_args": terms})
    trainer["callbacks"] = callbacks
    return config


@dataclass
class Study:
    """Train, anonymize and measure; finished trainings and measurements are reused.

    Attributes:
        folder: of everything.
        held_out: videos of people whom no training saw, each with its person or origin.
        trained_on: videos of the training, for what is memorised, likewise; may be empty.
        budget: largest ``recognised`` that is allowed.
        tools: the networks to measure with.

    Raises:
        ValueError: no recogniser is available, or a video that is both held out and trained on.
    """

    folder: Path
    held_out: Mapping[Path, str]
    trained_on: Mapping[Path, str]
    budget: float
    tools: Tools = field(default_factory=Tools.at_hand)

    def __post_init__(self) -> None:
        if self.tools.embedder is None:
            raise ValueError(
                "The curve needs a recogniser: " + self.tools.skipped.get("recognised", "none")
            )
        self._hashes = {path: file_hash(path) for path in (*self.held_out, *self.trained_on)}
        self.refuse_held_out(self.trained_on)

    def refuse_held_out(self, trained_on: Iterable[Path]) -> None:
        """Refuse training videos that are held out.

        Raises:
            ValueError: naming the first.
        """
        seen = {self._hashes.get(path) or file_hash(path): path for path in trained_on}
        for path in self.held_out:
            if self._hashes[path] in seen:
                raise ValueError(
                    f"{str(path)!r} is held out and, as {str(seen[self._hashes[path]])!r}, trained "
                    "on: give videos of people who were in no training."
                )

    def trained(self, base: Mapping[str, Any], choice: Choice, embedder: str | None) -> Point:
        """Train by a choice and measure the result.

        Raises:
            ValueError: the configuration trains on a held-out video.
        """
        source = base.get("data", {}).get("init_args", {}).get("source")
        if source is not None:
            self.refuse_held_out(video.path for video in find_videos(source, stills=True))
        config = config_for(base, choice, embedder)
        return self.measured(fit_once(self.folder / "runs" / choice.name, config), choice)

    def measured(self, checkpoint: Path, choice: Choice | None = None) -> Point:
        """Measure a generator.

        Raises:
            ValueError: the recogniser knows no held-out face, drawn or real.
        """
        name = checkpoint.stem if choice is None else choice.name
        digest = file_hash(checkpoint)
        file = self.folder / "points" / f"{name}-{digest[:8]}.json"
        key = {
            "checkpoint": digest,
            "held_out": [self._hashes[path] for path in self.held_out],
            "trained_on": [self._hashes[path] for path in self.trained_on],
            "measured_with": self.tools.describe(),
        }
        if file.is_file() and (known := json.loads(file.read_text()))["key"] == key:
            return Point.of_record(known["point"], self.budget)
        unseen, seen = (
            self._tracks(f"{name}-{digest[:8]}", checkpoint, videos)
            for videos in (self.held_out, self.trained_on)
        )
        recognised = _mean(unseen, "recognised")
        if not math.isfinite(recognised):
            raise ValueError("The recogniser could embed no held-out face: give other videos.")
        found = re_identification(unseen)
        point = Point(
            name,
            recognised,
            _mean(seen, "recognised") - recognised,
            found.rates[1] if found else None,
            found.chance[1] if found else None,
            {q: _mean(unseen, q) for q in QUALITY if any(q in t.figures.values for t in unseen)},
            recognised <= self.budget,
            choice,
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, {"key": key, "point": point.record()})
        return point

    def _tracks(self, name: str, checkpoint: Path, videos: Mapping[Path, str]) -> list[PersonTrack]:
        found: list[Evaluated] = []
        drawing = Drawing.prepare(checkpoint)
        cache = self.folder / "detections"
        for number, (source, group) in enumerate(videos.items()):
            output = self.folder / "outputs" / f"{name}-{number}-{source.stem}.mp4"
            render(source, output, drawing, cache)  # one face per person at every point
            plan = detected_plan(source, cache, self.tools.embedder)
            faces = evaluate_pair(source, output, plan, self.tools)
            found.append(Evaluated(source, output, faces, group))
        return people_of(found)[0]


def _mean(tracks: Sequence[PersonTrack], figure: str) -> float:
    values = [t.figures.values.get(figure, math.nan) for t in tracks]
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


def choose(points: Sequence[Point]) -> Point | None:
    """Return the point of least Frechet distance within the budget; None if none is."""
    inside = [point for point in points if point.inside]
    return min(inside, key=_badness, default=None)


def _badness(point: Point) -> float:
    distances = ("FID", "MobileNetV2 Frechet", "KID", "MobileNetV2 kernel distance")
    for name in (*distances, "excess warping error"):
        value = point.quality.get(name, math.nan)
        if math.isfinite(value):
            return value
    return math.inf
