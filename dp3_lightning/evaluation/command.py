"""The command ``dp3 evaluate``."""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dp3_lightning.anonymize.compat import as_detected
from dp3_lightning.anonymize.files import pair_files
from dp3_lightning.anonymize.plan import Plan, read_plan
from dp3_lightning.anonymize.planning import PlanOptions, plan_video
from dp3_lightning.evaluation.figures import MEANING, FaceFigures, evaluate_pair
from dp3_lightning.evaluation.tools import Tools
from dp3_lightning.faces import CenterFace
from dp3_lightning.faces.analysis import file_hash
from dp3_lightning.reports.evaluation import write_evaluation_report
from dp3_lightning.whole_files import write_json


def evaluate_command(arguments: Sequence[str]) -> int:
    """Run ``dp3 evaluate``; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="dp3 evaluate",
        description="Measure anonymized videos against their originals: how steady, sharp, alive "
        "and anonymous. Writes OUTPUT.eval.json beside each.",
    )
    parser.add_argument("output", type=Path, help="anonymized video, or a folder of them")
    parser.add_argument(
        "--original", type=Path, required=True, help="its original, or the folder of originals"
    )
    parser.add_argument("--plan", type=Path, help="where faces are; default: detect them")
    parser.add_argument("--report", action="store_true", help="also write OUTPUT.eval.html")
    parser.add_argument(
        "--show-original",
        action="store_true",
        help="put frames of the originals into the report, beside those of the output",
    )
    options = parser.parse_args(arguments)
    pairs = [
        (pair.source, pair.output)
        for pair in pair_files([options.original], options.output)
        if not pair.is_picture
    ]
    missing = [str(output) for _, output in pairs if not output.is_file()]
    if missing or not pairs:
        raise FileNotFoundError(
            f"No anonymized video at {', '.join(missing) or str(options.output)}: give an output "
            "and its original, or two folders of the same tree."
        )
    if options.plan is not None and len(pairs) > 1:
        raise ValueError(f"A plan is for one video, but there are {len(pairs)}.")
    tools = Tools.at_hand()
    console = Console()
    for original, output in pairs:
        plan = read_plan(options.plan) if options.plan else _detected(original)
        record = evaluation_record(original, output, plan, tools)
        write_json(output.with_name(f"{output.name}.eval.json"), record)
        _print(console, record)
        if options.report:
            shown = original if options.show_original else None
            console.print(f"report: {write_evaluation_report(output, record, shown)}", markup=False)
    return 0


def _detected(original: Path) -> Plan:
    return plan_video(original, CenterFace(runtime="auto"), as_detected(PlanOptions()))


def evaluation_record(original: Path, output: Path, plan: Plan, tools: Tools) -> dict[str, Any]:
    """Measure one pair; plain values for strict JSON, None where a figure has no meaning."""
    from dp3_lightning import __version__

    faces = evaluate_pair(original, output, plan, tools)
    names = [name for name in MEANING if any(name in face.values for face in faces)]
    return {
        "tool": f"dp3_lightning {__version__}",
        "output": {"name": output.name, "sha256": file_hash(output)},
        "original_sha256": file_hash(original),
        "measured_with": tools.describe(),
        "skipped": dict(tools.skipped),
        "meaning": {name: MEANING[name] for name in names},
        "faces": [_face_record(face, names) for face in faces],
        "median": {name: _median(faces, name) for name in names},
    }


def _face_record(face: FaceFigures, names: Sequence[str]) -> dict[str, Any]:
    values = {name: _plain(face.values.get(name, math.nan)) for name in names}
    return {"person": face.person, "frames": list(face.frames), "values": values}


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _median(faces: Sequence[FaceFigures], name: str) -> float | None:
    values = [face.values.get(name, math.nan) for face in faces]
    finite = [value for value in values if math.isfinite(value)]
    return statistics.median(finite) if finite else None


def _print(console: Console, record: Mapping[str, Any]) -> None:
    table = Table(title=record["output"]["name"])
    table.add_column("figure")
    for face in record["faces"]:
        table.add_column(face["person"], justify="right")
    table.add_column("meaning")
    for name, meaning in record["meaning"].items():
        cells = [_cell(face["values"][name]) for face in record["faces"]]
        table.add_row(name, *cells, meaning)
    console.print(table)
    for name, reason in record["skipped"].items():
        console.print(f"{name}: skipped, {reason}", markup=False)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
