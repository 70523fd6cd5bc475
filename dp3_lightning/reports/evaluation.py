"""Report how anonymized videos compare with their originals, and with a baseline."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from dp3_lightning.reports.charts import Series, scatter
from dp3_lightning.reports.pages import page, thumbnails
from dp3_lightning.reports.player import player, player_script
from dp3_lightning.runtime.files import write_text

# Shown as plots; the rest is in the table.
_PLOTTED = (
    "excess warping error", "tOF", "sharpness", "MobileNetV2 kernel distance", "KID",
    "identity distance", "mouth correlation", "landmark correlation", "seam", "skin difference",
)  # fmt: skip
_IDENTITY = ("recognised", "identity distance", "identity distance, least")
_MOST_SHOWN = 6  # videos


class Shown(Protocol):
    """Define what the page needs of a video."""

    @property
    def original(self) -> Path:
        """Return the source."""
        ...

    @property
    def output(self) -> Path:
        """Return its anonymized copy."""
        ...

    @property
    def baseline(self) -> Path | None:
        """Return another anonymized copy."""
        ...


def write_evaluation_report(
    path: Path, record: Mapping[str, Any], videos: Sequence[Shown], show_original: bool = False
) -> Path:
    """Write the page.

    Args:
        path: where.
        record: all figures.
        videos: whose pictures to show, the first six.
        show_original: put the originals' pictures beside; by default no real face is shown.

    Returns:
        ``path``.
    """
    n_faces = sum(len(video["faces"]) for video in record["videos"])
    names = ", ".join(video["output"]["name"] for video in record["videos"][:_MOST_SHOWN])
    title = f"{html.escape(names)}, evaluated"
    body = f"""<h1>{html.escape(names)}, compared with {_of(videos)}</h1>
<p>{html.escape(record["tool"])}; {len(videos)} videos, {n_faces} faces.</p>
{_verdict(record)}
<h2>Figures</h2>{_table(record)}
<h2>Face by face</h2><div class="plots">{_plots(record)}</div>
{_whole_frames(record)}
{_together(record)}
{_left_out(record)}
<h2>To look at</h2>{_pictures(videos, show_original)}
<h2>Measured with, and files</h2><pre>{html.escape(json.dumps(_hashes(record), indent=1))}</pre>
{player_script()}"""
    write_text(path, page(title, body))
    return path


def _of(videos: Sequence[Shown]) -> str:
    whose = "its original" if len(videos) == 1 else "their originals"
    return f"{whose} and a baseline" if any(v.baseline for v in videos) else whose


def _verdict(record: Mapping[str, Any]) -> str:
    """Say in one sentence where the output beats the baseline."""
    if "comparison" not in record:
        return ""
    won, lost = [], []
    for name, counts in record["comparison"].items():
        if name.startswith("interior"):
            continue  # leak proxies: who is recognised is measured, and counts
        half = sum(counts.values()) / 2
        if counts["output"] > half:
            won.append(name)
        elif counts["baseline"] > half:
            lost.append(name)
    # Whatever else is better, a face that is recognised more often is no success.
    leaking = any(name in lost for name in _IDENTITY)
    kind = "safe" if len(won) > len(lost) and not leaking else "unsafe"
    return (
        f'<p class="verdict {kind}">Better than the baseline on most faces: '
        f"{html.escape(', '.join(won) or 'nothing')}.<br>Worse on most faces: "
        f"{html.escape(', '.join(lost) or 'nothing')}.</p>"
    )


def _table(record: Mapping[str, Any]) -> str:
    compared = "comparison" in record
    heads = ["figure", "median (quartiles)", *(["baseline", "better on"] if compared else [])]
    rows = []
    for name, meaning in record["meaning"].items():
        cells = [html.escape(name), spread_text(record["summary"][name])]
        if compared:
            counts = record["comparison"][name]
            total = sum(counts.values())
            kind = "better" if 2 * counts["output"] > total else ""
            kind = "worse" if 2 * counts["baseline"] > total else kind
            cells += [
                spread_text(record["baseline_summary"][name]),
                f'<span class="{kind}">{counts["output"]} of {total} faces</span>',
            ]
        cells.append(html.escape("; ".join(filter(None, meaning.values()))))
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    header = "".join(f"<th>{head}</th>" for head in [*heads, "meaning"])
    return f"<table><tr>{header}</tr>{''.join(rows)}</table>"


def spread_text(value: Mapping[str, float] | None) -> str:
    """Write a median with its quartiles, or a single value alone."""
    if value is None:
        return ""
    if value["n"] == 1:
        return f"{value['median']:.3g}"
    return f"{value['median']:.3g} ({value['q1']:.3g} to {value['q3']:.3g})"


def _plots(record: Mapping[str, Any]) -> str:
    """Draw one plot per figure: faces side by side, the baseline in another colour."""
    plots = []
    for name in _PLOTTED:
        if name not in record["meaning"]:
            continue
        ours, theirs, number = [], [], 0
        for video in record["videos"]:
            others = video.get("baseline", {}).get("faces", [])
            for i, face in enumerate(video["faces"]):
                label = f"{video['output']['name']}, {face['person']}"
                ours.append(_point(number, face, name, label))
                if i < len(others):
                    theirs.append(_point(number, others[i], name, f"{label}, baseline"))
                number += 1
        series = [Series("output", ours), *([Series("baseline", theirs)] if theirs else [])]
        plots.append(scatter(series, "face", name, [str(i + 1) for i in range(number)]))
    return "".join(f"<div>{plot}</div>" for plot in plots)


def _point(number: int, face: Mapping[str, Any], name: str, label: str) -> tuple[float, float, str]:
    value = face["values"][name]
    return number, math.nan if value is None else value, f"{label}: {value}"


def _whole_frames(record: Mapping[str, Any]) -> str:
    """Tabulate the one figure that is not of a face."""
    key = "whole_frame_excess_warping_error"
    rows = []
    for video in record["videos"]:
        values = [video[key], video.get("baseline", {}).get(key)]
        cells = "".join(f"<td>{'' if v is None else format(v, '.3g')}</td>" for v in values)
        rows.append(f"<tr><td>{html.escape(video['output']['name'])}</td>{cells}</tr>")
    return (
        "<h2>Whole frames</h2><table><tr><th>excess warping error, x1e-4; lower is better</th>"
        f"<th>output</th><th>baseline</th></tr>{''.join(rows)}</table>"
    )


def _together(record: Mapping[str, Any]) -> str:
    if not record.get("together"):
        return ""
    rows = []
    for name, value in record["together"].items():
        text = html.escape(flat_text(value))
        rows.append(f"<tr><td>{html.escape(name)}</td><td>{text}</td></tr>")
    return f"<h2>All faces together</h2><table>{''.join(rows)}</table>"


def flat_text(value: Any) -> str:
    """Write nested plain values on one line."""
    if isinstance(value, Mapping):
        return "; ".join(f"{key} {flat_text(part)}" for key, part in value.items() if part != "")
    if isinstance(value, list):
        return " to ".join(flat_text(part) for part in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _left_out(record: Mapping[str, Any]) -> str:
    if not record["skipped"]:
        return ""
    lines = "".join(
        f"<li>{html.escape(name)}: {html.escape(reason)}</li>"
        for name, reason in record["skipped"].items()
    )
    return f"<h2>Left out</h2><ul>{lines}</ul>"


def _pictures(videos: Sequence[Shown], show_original: bool) -> str:
    parts = []
    for video in videos[:_MOST_SHOWN]:
        shown = [("Output", video.output)]
        if video.baseline is not None:
            shown.insert(0, ("Baseline", video.baseline))
        if show_original:
            shown.insert(0, ("Original", video.original))
        strips = "".join(f"<h4>{title}</h4>{thumbnails(path)}" for title, path in shown)
        parts.append(f"<h3>{html.escape(video.output.name)}</h3>{player(shown)}{strips}")
    if len(videos) > _MOST_SHOWN:
        parts.append(f"<p>{len(videos) - _MOST_SHOWN} more videos are not shown.</p>")
    return "".join(parts)


def _hashes(record: Mapping[str, Any]) -> dict[str, Any]:
    files = [
        {
            "output": video["output"],
            "original_sha256": video["original_sha256"],
            "baseline": {k: v for k, v in video.get("baseline", {}).items() if k != "faces"},
        }
        for video in record["videos"]
    ]
    return {"measured_with": record["measured_with"], "files": files}
