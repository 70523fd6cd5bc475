"""The ladder: what do additive losses bring, what does our inference bring, over DeepPrivacy2?

Method. Four sample clips (five faces); the first two thirds of each train, the last third is
scored. One base generator stands for DeepPrivacy2's weights: trained here by a recipe of its own,
or given with --base (a training checkpoint, discriminator included). From it, for every seed, one
generator is fine-tuned per choice of losses: same objective as the base, same clips, same updates,
only the added losses differ. Every rung then anonymizes
every clip and is scored by `dp3 evaluate` (Farneback flow; training and rendering use DIS;
recogniser dlib, which no training saw). Values are medians over faces; the spread is that of the
seeds. Targets compare the same face and seed on two rungs; one is met when the whole bootstrap
interval over faces lies within its limit. What is finished lies in --work and is
not done again, so that a run that was stopped goes on.

    python -m benchmarks.temporal_stability --work FOLDER [--base CHECKPOINT --net fdf128] [--quick]
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import RESULTS, Row, add_draft, metadata, publish, summary
from benchmarks.ladder_recipe import (
    VARIANTS,
    Recipe,
    cut_clips,
    described,
    fine_tuned,
    trained_base,
)
from benchmarks.ladder_scores import RUNGS, Scorer, Scores
from dp3_lightning.metrics import Interval, PairedChange, paired_change

# Shown in the table, in this order; the figures are those of `dp3 evaluate`.
COLUMNS = (
    "excess warping error",
    "tOF",
    "flicker",
    "TL-ID",
    "sharpness",
    "MobileNetV2 kernel distance",
    "recognised",
    "identity distance",
    "mouth correlation",
    "face found",
    "interior SSIM",
)
Faces = dict[str, dict[int, list[Scores]]]  # rung to seed to the faces of all clips


@dataclasses.dataclass(frozen=True)
class Target:
    """A comparison of two rungs, of the same faces and seeds.

    Attributes:
        better: rung that is to be better.
        than: rung it is compared with.
        figure: what is compared.
        rule: in words.
        limit: of the change: a share of the other's, or a difference.
        most: whether the change is to be at most the limit; else at least.
        relative: whether the limit is a share.
        alone: the limit is one of the better rung's own values.
    """

    better: str
    than: str
    figure: str
    rule: str
    limit: float
    most: bool = True
    relative: bool = True
    alone: bool = False

    @property
    def name(self) -> str:
        """As the table says it."""
        return f"{self.better} against {self.than}: {self.figure} {self.rule}"


def _targets() -> list[Target]:
    found = []
    for better, than, least in (("B4", "B4_0", 0.15), ("B5", "B2", 0.5)):
        # An error below the original's is possible: a share of the size, not of the value.
        lower = f"at least {100 * least:.0f} % lower"
        found += [
            Target(better, than, "excess warping error", lower, -least),
            Target(better, than, "tOF", "not higher", 0.0),
            Target(better, than, "sharpness", "not lower (2 %)", -0.02, most=False),
            Target(better, than, "MobileNetV2 kernel distance", "at most 5 % higher", 0.05),
            Target(better, than, "recognised", "at most 0.5 points higher", 0.005, relative=False),
            Target(better, than, "TL-ID", "at least 0.99", 0.99, most=False, alone=True),
        ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder that is gone on with")
    parser.add_argument("--base", type=Path, help="training checkpoint instead of our recipe's")
    parser.add_argument("--net", default=Recipe.net, help="preset of the base")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=Recipe.updates)
    parser.add_argument("--quick", action="store_true", help="a few updates, one seed: a trial")
    parser.add_argument("--output", type=Path, default=RESULTS / "temporal_stability--cpu.json")
    add_draft(parser)
    options = parser.parse_args()
    recipe = Recipe(net=options.net, updates=options.updates, own_base=options.base is None)
    if options.quick:
        recipe = dataclasses.replace(recipe, base_updates=4, updates=2)
    before = metadata("cpu", options.draft)
    faces = run(options.work, recipe, 1 if options.quick else options.seeds, options.base)
    settings = {
        "base": "given" if options.base else "by our recipe",
        "seeds": len(faces["B2"]),
        **described(recipe),
    }
    publish(options.output, before, settings, table(faces), verdicts(faces), single_pairs(faces))


def run(folder: Path, recipe: Recipe, n_seeds: int, base: Path | None) -> Faces:
    """Train, render and score what is not done yet."""
    train, scored = cut_clips(folder)
    start = base or trained_base(folder / "runs", recipe, train)
    checkpoints: dict[tuple[str, int], Path] = {}
    for seed in range(n_seeds):
        checkpoints["base", seed] = start
        for variant in VARIANTS:
            checkpoints[variant, seed] = fine_tuned(
                folder / "runs", recipe, train, start, variant, seed
            )
    scorer = Scorer(folder / "outputs", checkpoints)
    faces: Faces = {}
    for seed in range(n_seeds):
        for rung in RUNGS:
            found = faces.setdefault(rung, {}).setdefault(seed, [])
            for clip, source in scored.items():
                how = RUNGS[rung]
                shared = seed if how.seeded else 0  # scored once, the same for all
                found += scorer.score(how, shared, f"{rung}-{clip}", source)
    return faces


def median(faces: Sequence[Scores], figure: str) -> float:
    """Median over the faces that have the figure."""
    values = [face.get(figure, math.nan) for face in faces]
    finite = [value for value in values if math.isfinite(value)]
    return statistics.median(finite) if finite else math.nan


def table(faces: Faces) -> list[Row]:
    """One row per rung."""
    rows = []
    for rung, seeds in faces.items():
        row: Row = {"rung": rung, "what": RUNGS[rung].what}
        for figure in COLUMNS:
            values = [median(found, figure) for found in seeds.values()]
            known = all(math.isfinite(value) for value in values)
            row[figure] = summary(values) if known else None
        rows.append(row)
    return rows


def paired(target: Target, faces: Faces) -> PairedChange:
    """The two rungs of a target, face by face and seed by seed."""
    entries = [
        (face, a.get(target.figure, math.nan), b.get(target.figure, math.nan))
        for seed in faces[target.better]
        for face, (a, b) in enumerate(
            zip(faces[target.better][seed], faces[target.than][seed], strict=True)
        )
    ]
    names, ours, theirs = (list(column) for column in zip(*entries, strict=True))
    if target.alone:
        theirs = [0.0] * len(ours)
    return paired_change(ours, theirs, names, relative=target.relative and not target.alone)


def verdicts(faces: Faces) -> list[Row]:
    """All targets: met when the interval over faces lies within the limit as a whole."""
    rows: list[Row] = []
    for target in _targets():
        found = paired(target, faces)
        interval = found.change
        if not interval.n_values:
            rows.append({"target": target.name, "measured": "not measured", "met": None})
            continue
        met = interval.at_most(target.limit) if target.most else interval.at_least(target.limit)
        counted = f"{found.lower} of {len(found.pairs)} pairs lower, {interval.n_groups} faces"
        if target.alone:
            counted = f"{interval.n_groups} faces"
        rows.append(
            {
                "target": target.name,
                "measured": f"{_shown(interval, target)}; {counted}",
                "met": met,
            }
        )
    return rows


def _shown(interval: Interval, target: Target) -> str:
    share = target.relative and not target.alone
    middle, low, high = (
        f"{100 * v:+.1f} %" if share else f"{v:.4g}"
        for v in (interval.middle, interval.low, interval.high)
    )
    if not math.isfinite(interval.high):
        return f"{middle}, too few faces for an interval"
    return f"{middle} ({low} to {high})"


def single_pairs(faces: Faces) -> list[Row]:
    """Every value that the targets are judged by."""
    return [
        {"target": target.name, "face": face, "ours": ours, "theirs": theirs}
        for target in _targets()
        for face, ours, theirs in paired(target, faces).pairs
    ]


if __name__ == "__main__":
    main()
