"""Run the command ``dp3 anonymize``."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from dp3_lightning.anonymize.batch import HOW_TO_GO_ON, Batch, lines_of_left_out
from dp3_lightning.anonymize.files import FilePair, pair_files
from dp3_lightning.anonymize.manifest import UNRESOLVED, Outcome, read_manifest
from dp3_lightning.anonymize.options import (
    CheckOptions,
    DeviceOptions,
    OutputOptions,
    PersonOptions,
)
from dp3_lightning.anonymize.picture_job import plan_of_picture
from dp3_lightning.anonymize.planning.plan import Plan, read_plan, write_plan
from dp3_lightning.anonymize.planning.planner import PlanOptions
from dp3_lightning.anonymize.remarks import remarks, verdict_line
from dp3_lightning.anonymize.rendering.drawing import Drawing
from dp3_lightning.anonymize.rendering.renderer import RenderOptions
from dp3_lightning.anonymize.settings import Settings, recogniser
from dp3_lightning.anonymize.video_job import plan_of_video
from dp3_lightning.checks import check_at_least
from dp3_lightning.faces import detector_named
from dp3_lightning.faces.choice import DEFAULT_DETECTOR, DETECTOR_NAMES
from dp3_lightning.structures import FaceDetector
from dp3_lightning.video import VideoReader

_GROUPS: dict[str, type[Any]] = {
    "plan": PlanOptions,
    "render": RenderOptions,
    "people": PersonOptions,
    "output": OutputOptions,
    "check": CheckOptions,
}
_INTERRUPTED = 128 + signal.SIGINT  # exit code
# Options that may be given without a value, and as --no-NAME.
_SWITCHES = {
    f.name
    for group in _GROUPS.values()
    for f in dataclasses.fields(group)
    if f.type in ("bool", bool)
} | {"dry_run", "report"}


def anonymize_parser() -> ArgumentParser:
    """Return the parser of ``dp3 anonymize``, which also reads ``configs/anonymize.yaml``."""
    parser = ArgumentParser(
        prog="dp3 anonymize",
        description="Replace the faces of videos and pictures. Exit code 0: done and no face is "
        "known to be left (nor looked for with --no-verify, as the last line then says); "
        f"{UNRESOLVED}: faces may be left, see the manifest; 1: an error.",
        default_env=False,
    )
    parser.add_argument("inputs", nargs="+", help="videos, pictures, folders or patterns")
    parser.add_argument(
        "-o", "--out", default=None, help="output file; a folder for several inputs"
    )
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_argument(
        "--generator",
        type=str,
        default="face-prior",
        help="face-prior, a checkpoint file, a name of published weights, or blur, pixelate, solid",
    )
    parser.add_argument(
        "--detector",
        type=FaceDetector | str | None,
        default=DEFAULT_DETECTOR,
        help=f"{', '.join(DETECTOR_NAMES)}, or the dotted path of a class",
    )
    parser.add_argument(
        "--dry_run", type=bool, default=False, help="write the plan only (OUT.plan.json)"
    )
    parser.add_argument(
        "--sheet", type=str | None, default=None, help="write a PNG of candidates only"
    )
    parser.add_argument("--people", type=int, default=8, help="candidates per person on the sheet")
    parser.add_argument("--plan", type=str | None, default=None, help="render with this plan file")
    parser.add_argument(
        "--report", type=bool, default=False, help="also write a page, OUT.dp3.html"
    )
    parser.add_argument(
        "--cache",
        type=str | None,
        default=None,
        help="folder that caches detected boxes (no pixels); default: the user's cache",
    )
    for group in (*_GROUPS.values(), DeviceOptions):
        parser.add_class_arguments(group, None)
    return parser


def _with_values(arguments: Sequence[str]) -> list[str]:
    """Accept options with dashes, and switches without a value."""
    result = []
    for number, text in enumerate(arguments):
        if not text.startswith("--") or len(text) == 2:
            result.append(text)
            continue
        name, equals, value = text[2:].partition("=")
        first, dot, rest = name.partition(".")
        name = first.replace("-", "_") + dot + rest
        following = arguments[number + 1].lower() if number + 1 < len(arguments) else ""
        if name.removeprefix("no_") in _SWITCHES and name.startswith("no_"):
            result.append(f"--{name.removeprefix('no_')}=false")
        elif name in _SWITCHES and not equals and following not in ("true", "false", "yes", "no"):
            result.append(f"--{name}=true")
        else:
            result.append(f"--{name}{equals}{value}")
    return result


def anonymize_command(arguments: Sequence[str]) -> int:
    """Run ``dp3 anonymize``; returns the exit code."""
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    parser = anonymize_parser()
    options = parser.instantiate_classes(parser.parse_args(_with_values(arguments)))
    settings = settings_from(options)
    chosen = options.detector or DEFAULT_DETECTOR
    detector: FaceDetector = detector_named(chosen) if isinstance(chosen, str) else chosen
    if options.sheet is not None:
        return _sheet(options, settings, detector)
    if options.out is None:
        raise ValueError("Expected an output: give `-o OUT`, a file, or a folder for several.")
    pairs = pair_files(options.inputs, options.out)
    if options.plan is not None and len(pairs) > 1:
        raise ValueError(f"Expected one input with `--plan`, got {len(pairs)}.")
    if options.plan is not None and options.dry_run:
        raise ValueError("Give `--plan` to use a plan, or `--dry-run` to write one, not both.")
    plan = None if options.plan is None else read_plan(options.plan)
    for line in lines_of_left_out(options.inputs, options.out):
        print(line)
    console = Console(stderr=True)
    cache = None if options.cache is None else Path(options.cache)
    if options.dry_run:
        return _dry_run(pairs, settings, detector, cache, console)
    device = DeviceOptions(options.device, options.precision)
    drawing = Drawing.prepare(options.generator, device)
    batch = Batch(
        drawing,
        settings,
        detector,
        plan,
        cache,
        watch=lambda: _bars(console),
        finish=lambda pair, outcome: _tell(pair.output, outcome, settings, options.report),
    )
    return _run(batch, pairs, console)


def _sheet(options: Namespace, settings: Settings, detector: FaceDetector) -> int:
    """Write the contact sheet of one input."""
    from dp3_lightning.anonymize.sheet import make_sheet

    check_at_least(1, people=options.people)
    if len(options.inputs) != 1:
        raise ValueError(f"Expected one input with `--sheet`, got {len(options.inputs)}.")
    pair = pair_files(options.inputs, "anonymized")[0]  # nothing is written there
    device = DeviceOptions(options.device, options.precision)
    drawing = Drawing.prepare(options.generator, device)
    plan = None if options.plan is None else read_plan(options.plan)
    target = Path(options.sheet)
    found = make_sheet(
        pair.source, target, drawing, settings, detector, options.people, pair.is_picture, plan
    )
    print(f"{target}: {options.people} people for each of {', '.join(found)}; choose: --person N")
    return 0


def settings_from(options: Namespace) -> Settings:
    """Sort flat options into their groups and check them."""
    groups = {
        name: group(**{f.name: options[f.name] for f in dataclasses.fields(group)})
        for name, group in _GROUPS.items()
    }
    return Settings(**groups)


@contextmanager
def _bars(console: Console) -> Iterator[Any]:
    """Show one progress bar per pass with the time left; yield ``progress(pass, done, total)``."""
    columns = (
        TextColumn("{task.description:>8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield progress


def _dry_run(
    pairs: Sequence[FilePair],
    settings: Settings,
    detector: FaceDetector,
    cache: Path | None,
    console: Console,
) -> int:
    for pair in pairs:
        pair.output.parent.mkdir(parents=True, exist_ok=True)
        path = pair.output.with_name(f"{pair.output.name}.plan.json")
        if path.exists() and not settings.output.overwrite:
            raise FileExistsError(
                f"{str(path)!r} exists and may have been edited: pass --overwrite to replace it."
            )
        if pair.is_picture:
            plan = plan_of_picture(pair.source, settings, detector)
        else:
            total = len(VideoReader(pair.source))
            with _bars(console) as progress:
                plan = plan_of_video(
                    pair.source,
                    settings,
                    detector,
                    cache,
                    progress=lambda done, total=total, show=progress: show("plan", done, total),  # type: ignore[misc]
                    embedder=recogniser(settings.check)[0],
                )
        write_plan(plan, path)
        print(f"{path}: {_summary_of_plan(plan)}")
    return 0


def _summary_of_plan(plan: Plan) -> str:
    people = len({t.person for t in plan.tracks})
    covered = len({i for t in plan.tracks for i in range(t.start, t.stop)})
    text = f"{people} people in {len(plan.tracks)} tracks, {covered} of {plan.n_frames} frames"
    if plan.ignored:
        text += f"; {sum(map(len, plan.ignored.values()))} weak detections ignored, see `ignored`"
    return text


def _run(batch: Batch, pairs: Sequence[FilePair], console: Console) -> int:
    """Anonymize all files of one command and print how it goes; returns the exit code."""
    several = len(pairs) > 1
    for number, pair in enumerate(pairs, start=1):
        if several:
            console.print(f"[{number}/{len(pairs)}] {pair.source}", markup=False)
        try:
            result = batch.anonymize(pair)
        except KeyboardInterrupt:
            print(f"stopped at {pair.source}: {HOW_TO_GO_ON}", file=sys.stderr)
            return _INTERRUPTED
        if result.was_done:
            print(f"{pair.output}: already done")
        if result.error is not None:
            if not several:
                raise result.error
            console.print(f"  error: {result.error}", style="red", markup=False)
    for line in batch.summary() if several else ():
        print(line, file=sys.stderr)
    return batch.exit_code


def _tell(output: Path, outcome: Outcome, settings: Settings, report: bool) -> None:
    """Print in a few lines what was done, and what was not; write the page where it is asked."""
    record = read_manifest(output)
    assert record is not None  # just written
    tracks = record["tracks"]
    people = len({t["person"] for t in tracks})
    print(
        f"{output}: {outcome.n_frames} frames, {people} people in {len(tracks)} tracks, "
        f"{outcome.n_drawn} faces drawn, {outcome.n_carried} carried"
    )
    for line in remarks(record, outcome, settings):
        print(f"  {line}")
    if report:
        from dp3_lightning.reports.anonymized import write_report

        print(f"  report: {write_report(output, outcome.people)}")
    print(f"  {verdict_line(record, outcome)}")
