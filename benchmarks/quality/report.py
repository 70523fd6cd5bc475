"""The tables of the study, and what the figures are to reach."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.common import Row
from benchmarks.quality.signals import FIVE, LEAST_CEILING, SEVEN

Face = dict[str, Any]  # figure to value; None where it could not be measured


@dataclass(frozen=True)
class Target:
    """What a figure is to reach on every face with every seed.

    Attributes:
        figure: name of the value.
        rule: in words.
        least: smallest value that will do.
        most: largest value that will do.
    """

    figure: str
    rule: str
    least: float = float("-inf")
    most: float = float("inf")


TARGETS = (
    Target("landmarks", "at least 0.97", least=0.97),
    Target("frontal", "at least 0.9", least=0.9),
    Target("signals of ceiling", "at least 0.97", least=0.97),
    Target("five points of ceiling", "at least 0.97", least=0.97),
    Target("warping", "at most 1.1 of the original's", most=1.1),
    Target("CenterFace", "at least 0.99", least=0.99),
    Target("YuNet", "at least 0.99", least=0.99),
    Target("SFace above", "none", most=0.0),
    Target("dlib above", "none", most=0.0),
    Target("MobileFaceNet above", "none", most=0.0),
    Target("skin", "dE at most 8", most=8.0),
    Target("sharpness", "0.8 to 1.25", least=0.8, most=1.25),
)

# Columns of the table, and the figures that stand in them.
_COLUMNS = {
    "landmarks": "landmarks",
    "of ceiling": "landmarks of ceiling",
    "frontal": "frontal",
    "of ceiling ": "frontal of ceiling",
    "signals": "signals",
    "of ceiling  ": "signals of ceiling",
    "not judged": "not judged",
    "five points": "five points",
    "of ceiling   ": "five points of ceiling",
    "warping": "warping",
    "CenterFace": "CenterFace",
    "YuNet": "YuNet",
    "skin": "skin",
    "lighter": "skin lightness",
    "tone": "tone",
    "sharpness": "sharpness",
}
_IDENTITY = ("", " highest", " above", " constancy", " constancy, original")


def with_shares(values: Face) -> Face:
    """Add shares of the ceilings that can be judged, and of the original's constancy."""
    added: Face = {}
    for name in ("landmarks", "frontal"):
        ceiling = values.get(f"{name} ceiling")
        judged = ceiling is not None and ceiling >= LEAST_CEILING
        added[f"{name} of ceiling"] = _ratio(values.get(name), ceiling) if judged else None
    names = [n.removesuffix(" constancy") for n in values if n.endswith(" constancy")]
    for name in names:
        own, real = values[f"{name} constancy"], values[f"{name} constancy, original"]
        added[f"{name} constancy, share"] = _ratio(own, real)
    return {**values, **added}


def table(faces: Sequence[Face]) -> list[Row]:
    """How faces move and look: a row per track and seed, then medians."""
    return _table(faces, _COLUMNS)


def signal_table(faces: Sequence[Face]) -> list[Row]:
    """Correlation of every signal, its ceiling, and how far it moves (gain: 1 as the real one)."""
    columns: dict[str, str] = {}
    for name in (*SEVEN, *FIVE):
        columns |= {name: name, f"{name}, ceiling": f"{name} ceiling"}
        columns |= {f"{name}, gain": f"{name} gain"}
    return _table(faces, columns)


def identity_table(faces: Sequence[Face], judges: Sequence[str]) -> list[Row]:
    """What recognisers make of the faces."""
    names = [f"{judge}{label}" for judge in judges for label in _IDENTITY]
    return _table(faces, {name: name for name in names})


def diversity_table(faces: Sequence[Face], judges: Sequence[str]) -> list[Row]:
    """How well other draws can be told apart, and from the real person; ``seed``: draws."""
    figures = ("told apart", "recognised", "draws")
    names = [f"{j} {what}" for j in judges for what in figures]
    return _table(faces, {name: name for name in names})


def _table(faces: Sequence[Face], columns: dict[str, str]) -> list[Row]:
    rows: list[Row] = []
    for face in faces:
        head = {"face": f"{face['clip']} {face['track'] + 1}", "seed": face["seed"]}
        cells = {column: face.get(figure) for column, figure in columns.items()}
        text = {c: ", ".join(v) if isinstance(v, list) else v for c, v in cells.items()}
        rows.append({**head, **text})
    middle = {column: median(faces, figure) for column, figure in columns.items()}
    return [*rows, {"face": "median", "seed": None, **middle}]


def median(faces: Sequence[Face], figure: str) -> float | None:
    """Median over the faces that have the figure."""
    values = [face.get(figure) for face in faces]
    known = [float(v) for v in values if isinstance(v, (int, float))]
    return statistics.median(known) if known else None


def verdicts(faces: Sequence[Face], targets: Sequence[Target] = TARGETS) -> list[Row]:
    """All targets, met when every face and seed agrees; the median is told too."""
    rows: list[Row] = []
    for target in targets:
        middle = median(faces, target.figure)
        known = [face[target.figure] for face in faces if face.get(target.figure) is not None]
        agree = sum(target.least <= value <= target.most for value in known)
        rows.append(
            {
                "target": f"{target.figure}: {target.rule}",
                "measured": "not measured"
                if middle is None
                else f"{middle:.3g} (median), {agree} of {len(known)}",
                "met": None if middle is None else agree == len(known),
            }
        )
    return rows


def _ratio(value: float | None, of: float | None) -> float | None:
    return value / of if value is not None and of is not None and of > 0 else None
