"""Run the command ``dp3 evaluate``."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dp3_lightning.anonymize.files import pair_files
from dp3_lightning.anonymize.planning.plan import read_plan
from dp3_lightning.evaluation.records import Evaluated, evaluate, group_of, record_of
from dp3_lightning.evaluation.rendering import detected_plan
from dp3_lightning.evaluation.tools import Tools
from dp3_lightning.faces.embedder import DeepFaceEmbedder
from dp3_lightning.reports.evaluation import flat_text, spread_text, write_evaluation_report
from dp3_lightning.runtime.files import write_json


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dp3 evaluate",
        description="Measure anonymized videos against their originals: steadiness, sharpness, "
        "liveliness and privacy. Writes OUTPUT.eval.json beside each, and for a folder "
        "FOLDER/eval.json.",
    )
    parser.add_argument("output", type=Path, help="anonymized video, or a folder of them")
    parser.add_argument(
        "--original", type=Path, required=True, help="its original, or the folder of originals"
    )
    parser.add_argument(
        "--baseline",
        type=Path,
        help="other anonymized copies of the same originals, to compare with: file or folder",
    )
    parser.add_argument("--plan", type=Path, help="plan file with the faces; default: detect them")
    parser.add_argument(
        "--recogniser", default="dlib", help="recogniser: dlib, or deepface:MODEL (extra deepface)"
    )
    parser.add_argument(
        "--fake-detector",
        help="class path of a detector of generated faces, made without arguments",
    )
    parser.add_argument("--report", action="store_true", help="also write a page, .eval.html")
    parser.add_argument(
        "--show-original",
        action="store_true",
        help="put frames of the originals into the report, beside those of the output",
    )
    return parser


def evaluate_command(arguments: Sequence[str]) -> int:
    """Run ``dp3 evaluate``; returns the exit code."""
    options = _parser().parse_args(arguments)
    triples = _files(options)
    if options.plan is not None and len(triples) > 1:
        raise ValueError(f"Expected one video with `--plan`, got {len(triples)}.")
    tools = _tools(options)
    console = Console()
    videos, failed = [], {}
    for original, output, baseline in triples:
        try:
            if options.plan:
                plan = read_plan(options.plan)
            else:
                plan = detected_plan(original, embedder=tools.embedder)
            group = group_of(original, options.original)
            video = evaluate(original, output, plan, tools, group, baseline)
        except (ValueError, ArithmeticError, OSError) as error:
            if len(triples) == 1:
                raise
            # The record holds no path of this machine.
            name = output.relative_to(options.output).as_posix()
            failed[name] = _without_paths(str(error), original, output, baseline)
            console.print(f"{output}: {error}", markup=False)
            continue
        videos.append(video)
        _publish(output.with_name(f"{output.name}.eval"), [video], tools, options, console)
    if not videos:
        raise ValueError(f"None of the {len(triples)} videos could be measured, see above.")
    if len(triples) > 1:
        tools.skipped |= failed
        _publish(options.output / "eval", videos, tools, options, console)
    return 1 if failed else 0


def _without_paths(text: str, *paths: Path | None) -> str:
    for path in filter(None, paths):
        text = text.replace(repr(str(path)), repr(path.name)).replace(str(path), path.name)
    return text


def _publish(
    stem: Path,
    videos: Sequence[Evaluated],
    tools: Tools,
    options: argparse.Namespace,
    console: Console,
) -> None:
    record = record_of(videos, tools)
    write_json(stem.with_name(f"{stem.name}.json"), record)
    _print(console, record)
    if options.report:
        page = stem.with_name(f"{stem.name}.html")
        write_evaluation_report(page, record, videos, options.show_original)
        console.print(f"report: {page}", markup=False)


def _files(options: argparse.Namespace) -> list[tuple[Path, Path, Path | None]]:
    """Pair the original, output and baseline of every video."""
    pairs = [p for p in pair_files([options.original], options.output) if not p.is_picture]
    baselines: list[Path | None] = [None] * len(pairs)
    if options.baseline is not None:
        places = pair_files([options.original], options.baseline)
        baselines = [place.output for place in places if not place.is_picture]
    wanted = [p.output for p in pairs] + [b for b in baselines if b is not None]
    missing = [str(path) for path in wanted if not path.is_file()]
    if missing or not pairs:
        raise FileNotFoundError(
            f"No anonymized video at {', '.join(missing) or str(options.output)}: give an output "
            "and its original, or two folders of the same tree."
        )
    return [(p.source, p.output, b) for p, b in zip(pairs, baselines, strict=True)]


def _tools(options: argparse.Namespace) -> Tools:
    kind, _, model = str(options.recogniser).partition(":")
    if kind not in ("dlib", "deepface"):
        raise ValueError(
            f"Expected `--recogniser` dlib or deepface:MODEL, got {options.recogniser!r}."
        )
    tools = Tools.at_hand(DeepFaceEmbedder(model or "Dlib") if kind == "deepface" else None)
    if options.fake_detector is not None:
        module, _, name = options.fake_detector.rpartition(".")
        try:
            detector = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(
                f"Expected `--fake-detector` to be the class path of a detector, got "
                f"{options.fake_detector!r}: {error}."
            ) from error
        tools.fake_detector = detector()
    return tools


def _print(console: Console, record: Mapping[str, Any]) -> None:
    outputs = [video["output"]["name"] for video in record["videos"]]
    table = Table(title=outputs[0] if len(outputs) == 1 else f"{len(outputs)} videos together")
    compared = "comparison" in record
    for title in ("figure", "median (quartiles)", *(["baseline", "better on"] if compared else [])):
        table.add_column(title)
    table.add_column("meaning")
    for name, meaning in record["meaning"].items():
        cells = [spread_text(record["summary"][name])]
        if compared:
            counts = record["comparison"][name]
            total = sum(counts.values())
            cells += [
                spread_text(record["baseline_summary"][name]),
                f"{counts['output']} of {total}",
            ]
        table.add_row(name, *cells, "; ".join(filter(None, meaning.values())))
    console.print(table)
    for name, value in record.get("together", {}).items():
        console.print(f"{name}: {flat_text(value)}", markup=False)
    for name, reason in record["skipped"].items():
        console.print(f"{name}: skipped, {reason}", markup=False)
