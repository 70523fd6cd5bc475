"""Run the command ``dp3 privacy-curve``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from dp3_lightning.anonymize.files import pair_files
from dp3_lightning.checks import check_between
from dp3_lightning.evaluation.records import group_of
from dp3_lightning.evaluation.tools import Tools
from dp3_lightning.reports.privacy_curve import write_curve
from dp3_lightning.runtime.files import write_json
from dp3_lightning.studies.privacy_curve import Point, Study, choose, sweep

OUTSIDE = 4  # exit code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dp3 privacy-curve",
        description="Train with several pixel weights, modes and identity margins, and measure "
        "quality and steadiness against re-identification on held-out people. Ends with exit code "
        f"{OUTSIDE} when the chosen checkpoint, or every point, lies outside the budget. What was "
        "already trained and measured is reused when the command is repeated.",
    )
    parser.add_argument("folder", type=Path, help="for runs, outputs, curve.json and curve.html")
    parser.add_argument("--config", type=Path, help="training configuration, for the sweep")
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 0.3, 1.0, 3.0])
    parser.add_argument("--modes", nargs="+", default=["ring+low", "full"])
    parser.add_argument(
        "--margins", nargs="+", default=["none"], help="of the identity term; `none` omits it"
    )
    parser.add_argument("--embedder", help="of the identity term: sface, or a class path")
    parser.add_argument(
        "--held-out", nargs="+", required=True, help="folders of people in no training"
    )
    parser.add_argument(
        "--trained-on", nargs="+", default=[], help="training videos, to measure memorising"
    )
    parser.add_argument(
        "--budget", type=float, default=0.05, help="largest share of recognised frames allowed"
    )
    parser.add_argument("--checkpoint", type=Path, help="to judge; default: the best in budget")
    return parser


def privacy_curve_command(arguments: Sequence[str]) -> int:
    """Run ``dp3 privacy-curve``; returns the exit code."""
    options = _parser().parse_args(arguments)
    check_between(0, 1, budget=options.budget)
    if options.config is None and options.checkpoint is None:
        raise ValueError("Give `--config` for a sweep, `--checkpoint` to judge one, or both.")
    if options.checkpoint is not None and not options.checkpoint.is_file():
        raise FileNotFoundError(f"No checkpoint at {str(options.checkpoint)!r}.")
    options.folder.mkdir(parents=True, exist_ok=True)
    held_out, trained_on = (
        _videos(names, options.folder) for names in (options.held_out, options.trained_on)
    )
    study = Study(options.folder, held_out, trained_on, options.budget, Tools.at_hand())
    points = _swept(options, study) if options.config else []
    if options.checkpoint is not None:
        chosen: Point | None = study.measured(options.checkpoint)
        points.append(chosen)  # type: ignore[arg-type]
    else:
        chosen = choose(points)
    record = {
        "budget": options.budget,
        "measured_with": study.tools.describe(),
        "held_out": [path.name for path in held_out],
        "trained_on": [path.name for path in trained_on],
        "points": [point.record() for point in points],
        "chosen": chosen.name if chosen else None,
    }
    write_json(options.folder / "curve.json", record)
    page = write_curve(options.folder / "curve.html", record)
    console = Console(width=None if sys.stdout.isatty() else 120)  # in a log nothing is cut off
    _print(console, points, chosen)
    console.print(f"page: {page}", markup=False)
    inside = chosen is not None and chosen.inside
    if not inside:
        what = f"{chosen.name} is" if chosen else "All points are"
        console.print(f"{what} outside the budget of {options.budget:g}.", markup=False)
    return 0 if inside else OUTSIDE


def _swept(options: argparse.Namespace, study: Study) -> list[Point]:
    config: Any = yaml.safe_load(options.config.read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise TypeError(f"Expected a training configuration in {str(options.config)!r}.")
    margins = [None if text == "none" else float(text) for text in options.margins]
    choices = sweep(options.weights, options.modes, margins)
    return [study.trained(config, choice, options.embedder) for choice in choices]


def _videos(names: Sequence[str], folder: Path) -> dict[Path, str]:
    """Return videos, each with its person or origin."""
    found: dict[Path, str] = {}
    for name in names:
        pairs = pair_files([name], folder / "outputs")
        videos = [pair.source for pair in pairs if not pair.is_picture]
        found |= {video: group_of(video, Path(name)) for video in videos}
    return found


def _print(console: Console, points: Sequence[Point], chosen: Point | None) -> None:
    table = Table(title="re-identification and quality, held-out people")
    names = list(points[0].quality) if points else []
    for title in ("point", "recognised", "memorised", "rank 1 (chance)", *names, ""):
        table.add_column(title)
    for point in points:
        rank = "" if point.rank1 is None else f"{point.rank1:.2f} ({point.chance:.2f})"
        cells = [f"{point.quality.get(name, float('nan')):.3g}" for name in names]
        mark = ("chosen" if point is chosen else "") + ("" if point.inside else " outside")
        table.add_row(
            point.name, f"{point.recognised:.3f}", f"{point.gap:+.3f}", rank, *cells, mark.strip()
        )
    console.print(table)
