"""The ladder: what do additive losses bring, what does our inference bring, over DeepPrivacy2?

Method. Four sample clips (five faces); the first two thirds of each train, the last third is
scored. One base generator stands for DeepPrivacy2's weights: trained here by a recipe of its own,
or given with --base (a training checkpoint, discriminator included). From it, for every seed, one
generator is fine-tuned per choice of losses: same objective as the base, same clips, same updates,
only the added losses differ. Every rung then anonymizes
every clip and is scored by `dp3 evaluate` (Farneback flow; training and rendering use DIS;
recogniser dlib, which no training saw). Values are medians over faces; the spread is that of the
seeds. Targets compare the same face and seed on two rungs. What is finished lies in --work and is
not done again, so that a run that was stopped goes on.

    python -m benchmarks.temporal_stability --work FOLDER [--base CHECKPOINT --net fdf128] [--quick]
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.common import RESULTS, Row, metadata, publish, summary
from benchmarks.ladder_recipe import (
    VARIANTS,
    Recipe,
    cut_clips,
    described,
    fine_tuned,
    trained_base,
)
from benchmarks.ladder_scores import RUNGS, Scorer, Scores

# Shown in the table, in this order; the figures are those of `dp3 evaluate`.
COLUMNS = (
    "excess warping error",
    "tOF",
    "flicker",
    "TL-ID",
    "sharpness",
    "MobileNetV2 Frechet",
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
        holds: of the medians of both.
    """

    better: str
    than: str
    figure: str
    rule: str
    holds: Callable[[float, float], bool]


def _targets() -> list[Target]:
    found = []
    for better, than, least in (("B4", "B4_0", 0.15), ("B5", "B2", 0.5)):
        rules: list[tuple[str, str, Callable[[float, float], bool]]] = [
            (
                "excess warping error",
                f"at least {100 * least:.0f} % lower",
                # An error below the original's is possible: a share of the size, not of the value.
                lambda a, b, least=least: b - a >= least * abs(b),  # type: ignore[misc]
            ),
            ("tOF", "not higher", lambda a, b: a <= b),
            ("sharpness", "not lower (2 %)", lambda a, b: a >= 0.98 * b),
            ("MobileNetV2 Frechet", "at most 5 % higher", lambda a, b: a <= 1.05 * b),
            ("recognised", "at most 0.5 points higher", lambda a, b: a <= b + 0.005),
            ("TL-ID", "at least 0.99", lambda a, b: a >= 0.99),
        ]
        found += [Target(better, than, *rule) for rule in rules]
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
    options = parser.parse_args()
    recipe = Recipe(net=options.net, updates=options.updates, own_base=options.base is None)
    if options.quick:
        recipe = dataclasses.replace(recipe, base_updates=4, updates=2)
    before = metadata("cpu")
    faces = run(options.work, recipe, 1 if options.quick else options.seeds, options.base)
    settings = {
        "base": "given" if options.base else "by our recipe",
        "seeds": len(faces["B2"]),
        **described(recipe),
    }
    publish(options.output, before, settings, table(faces), verdicts(faces))


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


def verdicts(faces: Faces) -> list[Row]:
    """All targets, by the median over faces and seeds; how many pairs agree is told too."""
    rows: list[Row] = []
    for target in _targets():
        pairs = [
            (a.get(target.figure, math.nan), b.get(target.figure, math.nan))
            for seed in faces[target.better]
            for a, b in zip(faces[target.better][seed], faces[target.than][seed], strict=True)
        ]
        finite = [pair for pair in pairs if all(map(math.isfinite, pair))]
        name = f"{target.better} against {target.than}: {target.figure} {target.rule}"
        if not finite:
            rows.append({"target": name, "measured": "not measured", "met": None})
            continue
        agree = sum(target.holds(*pair) for pair in finite)
        middle = [statistics.median(values) for values in zip(*finite, strict=True)]
        rows.append(
            {
                "target": name,
                "measured": f"{middle[0]:.4g} against {middle[1]:.4g} (medians), "
                f"{agree} of {len(finite)} faces and seeds",
                "met": bool(target.holds(*middle)),
            }
        )
    return rows


if __name__ == "__main__":
    main()
