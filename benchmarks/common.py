"""What the benchmarks share: fair timing, machine metadata, strict JSON, tables."""

from __future__ import annotations

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


def metadata(device: str) -> dict[str, Any]:
    """Describe machine, software and load; no host name and no path."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    versions = {m.__name__: str(m.__version__) for m in (torch, pytorch_lightning, av, cv2, np)}
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "changed_files": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else "cpu",
        "system": f"{platform.system()}, Python {platform.python_version()}",
        "threads": {"torch": torch.get_num_threads(), "cv2": cv2.getNumThreads()},
        "versions": {"dp3_lightning": __version__, **versions},
    }


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def write_results(output: Path, content: Mapping[str, Any]) -> None:
    """Write ``{metadata, settings, results}`` as strict JSON: no NaN, no infinity."""
    text = json.dumps(content, indent=1, allow_nan=False)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text + "\n", encoding="utf-8")


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
) -> None:
    """Write a run's results and print them as tables.

    Args:
        output: JSON file.
        before: :func:`metadata`, taken before the run.
        settings: what was asked for.
        rows: the figures.
        targets: what they were to reach, and whether they do.
    """
    results = {"rows": list(rows), "targets": list(targets)}
    write_results(
        output, {"metadata": dict(before), "settings": dict(settings), "results": results}
    )
    print(markdown_table(rows))
    print(markdown_table(targets))
