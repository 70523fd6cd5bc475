"""Sensitivity: how much do the figures depend on what was chosen?

Method. One generator (the base of `temporal_stability.py`, or --base) is fine-tuned from the same
start for the same updates, with one thing changed at a time: the weight of each term, the length
of the clips, the learning rate, and which clips it trains on. Every result anonymizes the held-out
last third of all four clips, DeepPrivacy2's way, tracked, truncation 0.5, and is scored by
`dp3 evaluate`; values are medians over the faces of all clips. In the rows "left out" one clip
takes no part in the fine-tuning (the base saw the first two thirds of all): further columns tell
what its own faces score then, and what they score where it does take part (the middle). A run
that was stopped goes on; the plots (sensitivity.html) are written on the way, the table and its
file at the end.

    python -m benchmarks.paper.sensitivity --work FOLDER [--updates 80]
        [--only "learning rate,clip length"]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import RESULTS, Row, add_draft, metadata, publish
from benchmarks.ladder_recipe import (
    CLIPS,
    LOSSES,
    Recipe,
    cut_clips,
    described,
    fine_tuning_config,
    trained_base,
)
from benchmarks.ladder_scores import Rung, Scorer, Scores
from benchmarks.temporal_stability import median
from dp3_lightning.reports.charts import Series, scatter
from dp3_lightning.reports.pages import page
from dp3_lightning.runtime.files import write_text
from dp3_lightning.studies.training_runs import Config, fit_once

FIGURES = (
    "excess warping error",
    "tOF",
    "sharpness",
    "MobileNetV2 kernel distance",
    "recognised",
    "TL-ID",
)
PLOTTED = FIGURES[:5]
OF_THE_CLIP = ("excess warping error", "sharpness", "MobileNetV2 kernel distance", "recognised")
ByClip = dict[str, list[Scores]]


@dataclass(frozen=True)
class Change:
    """One thing that differs from the middle.

    Attributes:
        factor: what is varied.
        value: shown in the table.
        apply: changes a configuration in place.
        clips: trained on.
    """

    factor: str
    value: str
    apply: Callable[[Config], None] = lambda config: None
    clips: tuple[str, ...] = CLIPS

    @property
    def name(self) -> str:
        """Fit for a folder."""
        return f"{self.factor}-{self.value}".replace(" ", "-")


def changes() -> list[Change]:
    """The middle, and everything around it."""
    found = [Change("middle", "as it is")]
    for term, weights in (
        ("tv", (0.0, 0.5)), ("pixel", (0.0, 8.0)), ("flow", (0.0, 8.0)), ("crop", (0.0, 8.0)),
    ):  # fmt: skip
        found += [Change(f"{term} weight", f"{w:g}", _weighted(term, w)) for w in weights]
    found += [Change("clip length", str(n), _clip_length(n)) for n in (2, 8)]
    found += [Change("learning rate", f"{r:g}", _rate(r)) for r in (2.5e-4, 4e-3)]
    found += [
        Change("left out", left, clips=tuple(clip for clip in CLIPS if clip != left))
        for left in CLIPS
    ]
    return found


def _weighted(term: str, weight: float) -> Callable[[Config], None]:
    name = LOSSES[term]["class_path"]

    def apply(config: Config) -> None:
        callbacks = config["trainer"]["callbacks"]
        ours = [c for c in callbacks if c["class_path"] == name and "name" not in c["init_args"]]
        for callback in ours:  # not the base's own
            callback["init_args"]["weight"] = weight
            if not weight:
                callbacks.remove(callback)

    return apply


def _clip_length(length: int) -> Callable[[Config], None]:
    def apply(config: Config) -> None:
        data = config["data"]["init_args"]
        data["clip_length"], data["batch_size"] = length, 8 // length  # as many frames a batch

    return apply


def _rate(rate: float) -> Callable[[Config], None]:
    def apply(config: Config) -> None:
        config["model"]["init_args"]["generator_lr"] = rate

    return apply


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder that is gone on with")
    parser.add_argument("--base", type=Path, help="training checkpoint instead of our recipe's")
    parser.add_argument("--net", default=Recipe.net, help="preset of the base")
    parser.add_argument("--updates", type=int, default=Recipe.updates)
    parser.add_argument("--only", help="factors, separated by commas; the middle is done anyway")
    parser.add_argument("--output", type=Path, default=RESULTS / "paper_sensitivity--cpu.json")
    add_draft(parser)
    options = parser.parse_args()
    before = metadata("cpu", options.draft)
    recipe = Recipe(net=options.net, updates=options.updates, own_base=options.base is None)
    train, scored = cut_clips(options.work)
    base = options.base or trained_base(options.work / "runs", recipe, train)
    factors = list(dict.fromkeys(change.factor for change in changes()))
    wanted = set(factors if options.only is None else ["middle", *options.only.split(",")])
    if not wanted <= set(factors):
        parser.error(f"no factor {sorted(wanted - set(factors))}: choose from {factors}")
    rows: list[Row] = []
    middle: ByClip = {}  # the first
    for change in changes():
        if change.factor not in wanted:
            continue
        faces = measure(options.work, recipe, base, train, scored, change)
        middle = middle or faces
        rows.append(row_of(change, faces, middle))
        write_page(options.work / "sensitivity.html", rows)
    settings = {"base": "given" if options.base else "by our recipe", **described(recipe)}
    publish(options.output, before, settings, rows, verdicts(rows))
    print(f"plots: {options.work / 'sensitivity.html'}")


def measure(
    folder: Path, recipe: Recipe, base: Path, train: Path, scored: dict[str, Path], change: Change
) -> ByClip:
    """Train and score one change; clip to the figures of its faces."""
    config = fine_tuning_config(recipe, train, base, tuple(LOSSES), 0)
    change.apply(config)
    config["data"]["init_args"]["source"] = [str(train / clip) for clip in change.clips]
    checkpoint = fit_once(folder / "sensitivity" / change.name, config)
    scorer = Scorer(folder / "sensitivity-outputs", {(change.name, 0): checkpoint})
    return {
        clip: scorer.score(Rung("", change.name), 0, f"{change.name}-{clip}", source)
        for clip, source in scored.items()
    }


def row_of(change: Change, faces: ByClip, middle: ByClip) -> Row:
    """One line of the table; of a clip that was left out also what it scores with and without."""
    row: Row = {"factor": change.factor, "value": change.value}
    row |= {f: _known(median([s for part in faces.values() for s in part], f)) for f in FIGURES}
    left = next((clip for clip in CLIPS if clip not in change.clips), None)
    for figure in OF_THE_CLIP:
        for name, found in (("left out", faces), ("taking part", middle)):
            value = math.nan if left is None else median(found[left], figure)
            row[f"{figure}, clip {name}"] = _known(value)
    return row


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def write_page(path: Path, rows: list[Row]) -> None:
    """One plot per figure and factor, the middle among them."""
    middle = rows[0]
    parts = []
    for factor in dict.fromkeys(str(row["factor"]) for row in rows[1:]):
        found = [middle, *(row for row in rows if row["factor"] == factor)]
        names = ["middle", *(str(row["value"]) for row in found[1:])]
        plots = "".join(f"<div>{_plot(found, figure, factor, names)}</div>" for figure in PLOTTED)
        parts.append(f'<h2>{factor}</h2><div class="plots">{plots}</div>')
    write_text(path, page("Sensitivity", "<h1>Sensitivity</h1>" + "".join(parts)))


def _plot(rows: list[Row], figure: str, factor: str, names: list[str]) -> str:
    points = [
        (float(i), math.nan if row[figure] is None else float(row[figure]), f"{names[i]}")
        for i, row in enumerate(rows)
    ]
    return scatter([Series(figure, points)], factor, figure, names)


def verdicts(rows: list[Row]) -> list[Row]:
    """Which factor moves which figure most: no target, a ranking."""
    found: list[Row] = []
    for figure in PLOTTED:
        values: dict[str, float] = {}
        for row in rows[1:]:
            if row[figure] is not None and rows[0][figure] is not None:
                gap = abs(row[figure] - rows[0][figure])
                values[row["factor"]] = max(values.get(row["factor"], 0.0), gap)
        ranked = sorted(values.items(), key=lambda entry: -entry[1])
        text = ", ".join(f"{name} {gap:.3g}" for name, gap in ranked)
        found.append({"figure": figure, "largest change by factor": text})
    return found


if __name__ == "__main__":
    main()
