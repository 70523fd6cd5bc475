"""What the benchmarks share: fair timing, machine metadata, strict JSON, tables."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytorch_lightning
import torch

from dp3_lightning import __version__

Summary = dict[str, float]
Row = dict[str, Any]
MOST_LOAD = 0.3  # of the last minute, before a run
RESULTS = Path(__file__).parent / "results" / __version__


def synchronize(device: str) -> None:
    """Wait for the device; call before every reading of the clock."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def in_turns(
    alternatives: Mapping[str, Callable[[int], object]],
    repeats: int,
    warmup: int = 1,
    device: str = "cpu",
) -> dict[str, list[float]]:
    """Time alternatives side by side, in alternating order, so that slow drift hits all alike.

    Args:
        alternatives: what to time, called with the number of the repeat.
        repeats: rounds that count.
        warmup: rounds before them that do not.
        device: waited for inside the timed region.

    Returns:
        Seconds per round, by name; entry ``i`` of all lists was taken in the same round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in alternatives}
    for number in range(warmup + repeats):
        names = list(alternatives) if number % 2 == 0 else list(alternatives)[::-1]
        for name in names:
            synchronize(device)
            start = time.perf_counter()
            alternatives[name](number)
            synchronize(device)
            if number >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def summary(values: Sequence[float]) -> Summary:
    """Median and quartiles; of ratios taken per round, so that the spread is the ratio's own."""
    q1, median, q3 = np.percentile(np.asarray(values, dtype=np.float64), [25, 50, 75])
    return {"median": float(median), "q1": float(q1), "q3": float(q3), "n": len(values)}


def add_draft(parser: argparse.ArgumentParser) -> None:
    """Add ``--draft``, which :func:`metadata` asks for."""
    parser.add_argument(
        "--draft",
        action="store_true",
        help="run with changed files or on a busy machine; the result goes to *.draft.json",
    )


def check_publishable(description: Mapping[str, Any]) -> None:
    """Refuse to measure what nobody could repeat.

    Args:
        description: of :func:`metadata`.

    Raises:
        SystemExit: changed files, or a busy machine, without ``--draft``.
    """
    if description["draft"]:
        return
    if description["commit"] is None or description["changed_files"]:
        raise SystemExit(
            "The working tree has changes (or is no git checkout), so nobody could say what was "
            "measured: commit them, or try with --draft."
        )
    if description["load_before"] >= MOST_LOAD:
        raise SystemExit(
            f"The machine is busy (load {description['load_before']}, at most {MOST_LOAD}): wait "
            "until it is idle, or try with --draft."
        )


def metadata(device: str, draft: bool = False) -> dict[str, Any]:
    """Describe machine, software and load; no host name and no path.

    Args:
        device: that is measured on.
        draft: measure in any state; the result is not for publication.

    Raises:
        SystemExit: changed files, or a busy machine, without ``draft``.
    """
    description = _describe(device) | {"draft": draft}
    check_publishable(description)
    return description


def _describe(device: str) -> dict[str, Any]:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    versions = {m.__name__: str(m.__version__) for m in (torch, pytorch_lightning, av, cv2, np)}
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "changed_files": _changed_files(),
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else "cpu",
        "system": f"{platform.system()}, Python {platform.python_version()}",
        "threads": {"torch": torch.get_num_threads(), "cv2": cv2.getNumThreads()},
        "versions": {"dp3_lightning": __version__, **versions},
    }


def _changed_files() -> bool:
    return bool(_git("status", "--porcelain", "--untracked-files=no"))


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def write_results(output: Path, content: Mapping[str, Any]) -> Path:
    """Write ``{metadata, settings, results}`` as strict JSON: no NaN, no infinity.

    A draft goes to ``*.draft.json`` beside, which no table takes up.

    So does a result during whose measurement files were changed.

    Returns:
        The file.

    Raises:
        SystemExit: the state before the run does not allow publication, see :func:`metadata`.
    """
    described = content["metadata"]
    check_publishable(described)
    if not described["draft"] and _changed_files():
        described = {**described, "draft": True}
        print("Files were changed while this ran: the result is a draft.")
    if described["draft"]:
        output = output.with_suffix(".draft.json")
    text = json.dumps({**content, "metadata": described}, indent=1, allow_nan=False)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text + "\n", encoding="utf-8")
    return output


def markdown_table(rows: Sequence[Row]) -> str:
    """Format rows with equal keys; a summary becomes "median (first to third quartile)"."""
    lines = [list(rows[0]), ["---"] * len(rows[0])]
    lines += [[_cell(value) for value in row.values()] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return f"{_cell(value['median'])} ({_cell(value['q1'])} to {_cell(value['q3'])})"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return "" if value is None else str(value)


def publish(
    output: Path,
    before: Mapping[str, Any],
    settings: Mapping[str, Any],
    rows: Sequence[Row],
    targets: Sequence[Row],
    pairs: Sequence[Row] = (),
) -> None:
    """Write a run's results and print them as tables.

    Args:
        output: JSON file.
        before: :func:`metadata`, taken before the run.
        settings: what was asked for.
        rows: the figures.
        targets: what they were to reach, and whether they do.
        pairs: the single values that the targets are judged by.
    """
    results = {"rows": list(rows), "targets": list(targets)}
    if pairs:
        results["pairs"] = list(pairs)
    write_results(
        output, {"metadata": dict(before), "settings": dict(settings), "results": results}
    )
    print(markdown_table(rows))
    print(markdown_table(targets))
