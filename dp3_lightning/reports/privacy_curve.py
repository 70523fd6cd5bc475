"""Write the page of ``dp3 privacy-curve``."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dp3_lightning.reports.charts import Series, scatter
from dp3_lightning.reports.pages import page
from dp3_lightning.runtime.files import write_text


def write_curve(path: Path, record: Mapping[str, Any]) -> Path:
    """Write the page: one plot per quality figure, the table, the verdict.

    Args:
        path: where.
        record: all points; see ``curve.json``.

    Returns:
        ``path``.
    """
    names = [n for n in record["points"][0]["quality"]] if record["points"] else []
    plots = "".join(f"<div>{_plot(record, name)}</div>" for name in names)
    body = f"""<h1>Quality against re-identification</h1>
{_verdict(record)}
<p>Across: share of held-out frames in which the recogniser takes the drawn face for the real
person; further left is more private.</p>
<div class="plots">{plots}</div>
<h2>Points</h2>{_table(record, names)}
<h2>Measured with</h2><pre>{html.escape(json.dumps(record["measured_with"], indent=1))}</pre>"""
    write_text(path, page("Quality against re-identification", body))
    return path


def _verdict(record: Mapping[str, Any]) -> str:
    chosen = next((p for p in record["points"] if p["name"] == record["chosen"]), None)
    budget = f"the budget of {record['budget']:g} recognised frames"
    if chosen is None:
        return f'<p class="verdict unsafe">No point lies within {budget}.</p>'
    kind, where = ("safe", "within") if chosen["inside"] else ("unsafe", "outside")
    return (
        f'<p class="verdict {kind}">Chosen: {html.escape(chosen["name"])}, {where} {budget}: '
        f"{chosen['recognised']:.3f}.</p>"
    )


def _plot(record: Mapping[str, Any], name: str) -> str:
    curves: dict[str, list[tuple[float, tuple[float, float, str]]]] = {}
    for point in record["points"]:
        value = point["quality"].get(name)
        choice = point["choice"]
        at = (point["recognised"], math.nan if value is None else value, point["name"])
        margin = "" if not choice or choice["margin"] is None else f", margin {choice['margin']:g}"
        key = "given" if choice is None else f"{choice['mode']}{margin}"
        curves.setdefault(key, []).append((choice["weight"] if choice else 0.0, at))
    series = [
        Series(key, [at for _, at in sorted(found, key=lambda entry: entry[0])], joined=True)
        for key, found in curves.items()
    ]
    marked = [p for p in record["points"] if p["name"] == record["chosen"]]
    series += [
        Series("chosen", [(p["recognised"], math.nan if value is None else value, p["name"])])
        for p in marked
        for value in [p["quality"].get(name)]
    ]
    budget = (record["budget"], f"budget {record['budget']:g}")
    return scatter(series, "recognised", name, x_mark=budget)


def _table(record: Mapping[str, Any], names: list[str]) -> str:
    heads = ["point", "recognised", "memorised", "rank 1", "chance", *names, "within the budget"]
    rows = []
    for point in record["points"]:
        numbers = [point[k] for k in ("recognised", "gap", "rank1", "chance")]
        numbers += [point["quality"].get(name) for name in names]
        cells = [html.escape(point["name"])]
        cells += ["" if value is None else f"{value:.3g}" for value in numbers]
        cells.append("yes" if point["inside"] else "no")
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    header = "".join(f"<th>{head}</th>" for head in heads)
    return f"<table><tr>{header}</tr>{''.join(rows)}</table>"
