"""What the faces of many stills add up to, and what the figures are to reach."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.common import Row
from benchmarks.quality.identities import JUDGING, Judge, documented
from benchmarks.quality.intervals import bootstrap, share_text
from benchmarks.quality.report import Face
from benchmarks.quality.still_faces import DRAWN, NO_FACE

# Lowest individual typology angle of each group of tones (Chardon et al. 1991), in degrees.
TONES = (
    ("very light", 55.0),
    ("light", 41.0),
    ("intermediate", 28.0),
    ("tan", 10.0),
    ("brown", -30.0),
    ("dark", -math.inf),
)
LEAST_FACES = 10  # of a group, to be judged
MOST_RECOGNISED, MOST_BLURRED, MOST_DE, MOST_RATIO = 0.01, 0.02, 8.0, 1.3
SHARPNESS = (0.8, 1.25)


def tone_of(angle: float) -> str:
    """Name the group of tones of an individual typology angle in degrees."""
    return next(name for name, least in TONES if angle > least or math.isinf(least))


def recognised(
    rows: Sequence[Face], judge: str, threshold: float, first: bool = False
) -> tuple[int, int]:
    """Count faces that a judge takes for the original.

    Args:
        rows: faces.
        judge: its name.
        threshold: similarity.
        first: before rejection instead of after.

    Returns:
        Recognised faces, and faces that were drawn and that the judge finds in the original and
        the output. A face that was blurred in the end counts before rejection, when it was drawn.
    """
    label = f"{judge}, first" if first else judge
    counted = [r for r in rows if r["outcome"] == DRAWN or (first and r.get("why") == "alike")]
    known = [row[label] for row in counted if row.get(label) is not None]
    return sum(value > threshold for value in known), len(known)


def identity_rows(rows: Sequence[Face], judges: Sequence[Judge]) -> list[Row]:
    """How many faces are recognised, at both thresholds, before and after rejection."""
    table: list[Row] = []
    for judge in judges:
        row: Row = {"judge": judge.name, "threshold": judge.threshold.value}
        for when, first in (("before rejection", True), ("after", False)):
            row[when] = share_text(*recognised(rows, judge.name, judge.threshold.value, first))
        row["documented threshold"] = documented(judge.name)
        for when, first in (("before", True), ("after", False)):
            found = recognised(rows, judge.name, documented(judge.name), first)
            row[f"{when}, documented"] = share_text(*found)
        table.append(row)
    return table


def outcome_rows(rows: Sequence[Face]) -> list[Row]:
    """What became of the faces."""
    counts = Counter(_outcome(row) for row in rows)
    return [{"outcome": name, "faces": n} for name, n in counts.most_common()]


def _outcome(row: Face) -> str:
    return f"{row['outcome']}: {row['why']}" if row.get("why") else str(row["outcome"])


def fallback(rows: Sequence[Face]) -> tuple[int, int]:
    """Count blurred faces among those with a mesh that can be used."""
    usable = [row for row in rows if row["outcome"] != NO_FACE and row.get("mesh")]
    return sum(row["outcome"] != DRAWN for row in usable), len(usable)


def tone_rows(rows: Sequence[Face]) -> list[Row]:
    """Difference of skin colours by group of tones, on stills with colour."""
    table: list[Row] = []
    for name, _ in TONES:
        group = [r for r in rows if r.get("ITA") is not None and tone_of(r["ITA"]) == name]
        row = _spread(name, group, "dE")
        row["lighter"] = _median(group, "lighter")
        table.append(row)
    return table


def sharpness_rows(rows: Sequence[Face]) -> list[Row]:
    """Sharpness of drawn faces as a share of the original's, by where stills come from."""
    origins = sorted({_origin(row) for row in rows})
    table = [_spread(o, [r for r in rows if _origin(r) == o], "sharpness") for o in origins]
    return [*table, _spread("all", rows, "sharpness")]


def _origin(row: Face) -> str:
    name = str(row["still"])
    return name.split("/")[0] if "/" in name else "pictures"


def _spread(name: str, rows: Sequence[Face], figure: str) -> Row:
    known = [row for row in rows if row.get(figure) is not None]
    stills: dict[str, list[float]] = {}
    for row in known:
        stills.setdefault(row["still"], []).append(row[figure])
    interval = bootstrap([np.array(values) for values in stills.values()])
    text = None if interval is None else f"{interval[0]:.3g} to {interval[1]:.3g}"
    return {"group": name, "faces": len(known), figure: _median(known, figure), "95 %": text}


def _median(rows: Sequence[Face], figure: str) -> float | None:
    known = [float(row[figure]) for row in rows if row.get(figure) is not None]
    return float(np.median(known)) if known else None


def targets(rows: Sequence[Face], judges: Sequence[Judge]) -> list[Row]:
    """What the figures are to reach, decided by the judges that drawing does not ask."""
    found: list[Row] = []
    for judge in judges:
        if judge.name in JUDGING:
            hits, of = recognised(rows, judge.name, judge.threshold.value)
            found.append(
                _target(
                    f"recognised by {judge.name} after rejection: at most 1 %",
                    share_text(hits, of),
                    None if of == 0 else hits <= MOST_RECOGNISED * of,
                )
            )
    hits, of = fallback(rows)
    met = None if of == 0 else hits <= MOST_BLURRED * of
    found.append(_target("usable mesh, yet blurred: at most 2 %", share_text(hits, of), met))
    groups = [r for r in tone_rows(rows) if r["faces"] >= LEAST_FACES]
    skipped = [r["group"] for r in tone_rows(rows) if r["faces"] < LEAST_FACES]
    note = f"; too few faces to judge: {', '.join(skipped)}" if skipped else ""
    found.append(
        _of_groups(f"skin, median dE in every group of tones: at most 8{note}", groups, _worst)
    )
    compared = groups if len(groups) > 1 else []
    found.append(_of_groups("skin, largest group by smallest: at most 1.3", compared, _ratio))
    middle = _median(rows, "sharpness")
    inside = None if middle is None else SHARPNESS[0] <= middle <= SHARPNESS[1]
    shown = "not measured" if middle is None else f"{middle:.3g} (median)"
    found.append(_target("sharpness: 0.8 to 1.25 of the original's", shown, inside))
    return found


def _target(name: str, measured: str, met: bool | None) -> Row:
    return {"target": name, "measured": measured, "met": met}


def _of_groups(
    name: str, groups: Sequence[Row], judged: Callable[[Sequence[float]], tuple[str, bool]]
) -> Row:
    if not groups:
        return _target(name, "not measured", None)
    return _target(name, *judged([row["dE"] for row in groups]))


def _worst(medians: Sequence[float]) -> tuple[str, bool]:
    return f"{max(medians):.3g} (worst group)", max(medians) <= MOST_DE


def _ratio(medians: Sequence[float]) -> tuple[str, bool]:
    ratio = max(medians) / max(min(medians), 1e-9)
    return f"{ratio:.3g}", ratio <= MOST_RATIO


def compact(rows: Sequence[Face]) -> dict[str, Any]:
    """Write rows as lines of one text each, which keeps results short."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [",".join(_cell(row.get(name)) for name in columns) for row in rows]
    return {"columns": ",".join(c.replace(", ", " ") for c in columns), "rows": lines}


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return "" if value is None else str(value).replace(",", ";")
