"""Compare people who were drawn by pseudonym keys, pair by pair."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.common import Row
from benchmarks.quality.identities import JUDGING, Judge
from benchmarks.quality.intervals import bootstrap

LEAST_SAME = 0.95
SAME_PERSON = "one key, one real person"
OTHERS, CONTROL = "one key, two real people", "two keys, one source"

Drawn = Mapping[tuple[int, str], Mapping[str, Any]]  # key and source to the answer of `draw`


def pairs(drawn: Drawn, people: Mapping[str, str], judges: Sequence[Judge]) -> list[Row]:
    """Compare drawn faces.

    Args:
        drawn: number of the key and name of the source to what :meth:`KeyStudy.draw` gave.
        people: name of the source to who is in it; empty: nobody known.
        judges: recognisers.

    Returns:
        A row per pair of one key, or of one source, that all judges can compare: its kind, the
        similarities, and whether all judges that drawing does not ask find one person.
    """
    usable = [place for place, found in drawn.items() if _is_whole(found, judges)]
    rows: list[Row] = []
    for (key, name), (other_key, other) in itertools.combinations(usable, 2):
        if (key == other_key) == (name == other):
            continue
        one = bool(people.get(name)) and people.get(name) == people.get(other)
        kind = CONTROL if name == other else SAME_PERSON if one else OTHERS
        row: Row = {"kind": kind, "key": key, "other key": other_key, "a": name, "b": other}
        same = []
        for judge in judges:
            first, second = (
                np.array([drawn[place]["vectors"][judge.name]])
                for place in ((key, name), (other_key, other))
            )
            value = float(judge.similarities(first, second)[0, 0])
            row[judge.name] = round(value, 4)
            if judge.name in JUDGING:
                same.append(value > judge.threshold.value)
        rows.append({**row, "same": all(same), "different": not any(same)})
    return rows


def _is_whole(found: Mapping[str, Any], judges: Sequence[Judge]) -> bool:
    return not found["why"] and all(found["vectors"].get(judge.name) for judge in judges)


def shares(rows: Sequence[Row], judges: Sequence[Judge]) -> list[Row]:
    """Return per kind of pair the share that is one person, to every judge and to all of them."""
    table: list[Row] = []
    for kind in (SAME_PERSON, OTHERS, CONTROL):
        found = [row for row in rows if row["kind"] == kind]
        row: Row = {"pairs": kind, "n": len(found)}
        for judge in judges:
            alike = [r[judge.name] > judge.threshold.value for r in found]
            row[f"one person to {judge.name}"] = float(np.mean(alike)) if alike else None
        row["to both judges"] = _share(found, "same")
        row["two people to both"] = _share(found, "different")
        table.append(row)
    return table


def _share(rows: Sequence[Row], figure: str) -> str | None:
    by_key: dict[int, list[float]] = {}
    for row in rows:
        by_key.setdefault(row["key"], []).append(float(row[figure]))
    if not by_key:
        return None
    groups = [np.array(values) for values in by_key.values()]
    ends = bootstrap(groups, lambda values: float(values.mean()))
    between = "" if ends is None else f" ({ends[0]:.3g} to {ends[1]:.3g})"
    return f"{np.concatenate(groups).mean():.3g}{between}"


def targets(rows: Sequence[Row]) -> list[Row]:
    """One person in at least 95 % of the pairs of one key."""
    found: list[Row] = []
    for name, kinds in (("any two sources", (SAME_PERSON, OTHERS)), ("one person", (SAME_PERSON,))):
        pairs = [row["same"] for row in rows if row["kind"] in kinds]
        share = float(np.mean(pairs)) if pairs else None
        found.append(
            {
                "target": f"one key, {name}: one person to both judges in at least 95 % of pairs",
                "measured": "not measured" if share is None else f"{share:.3g} of {len(pairs)}",
                "met": None if share is None else share >= LEAST_SAME,
            }
        )
    return found
