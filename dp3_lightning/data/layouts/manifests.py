"""Manifests, JSON lines and CSV: videos with person, split, seconds and box."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dp3_lightning.data.layouts.base import VideoSource
from dp3_lightning.data.layouts.boxes import check_box
from dp3_lightning.data.splits import SPLITS

MANIFESTS = (".jsonl", ".csv")
_SECONDS = ("start", "end")
_MANIFEST_KEYS = {"path", "identity", "split", "box", *_SECONDS}


def read_manifest(manifest: Path) -> list[VideoSource]:
    """Read a manifest, one video per line.

    Raises:
        ValueError: a malformed line, named, or no line at all.
        FileNotFoundError: a video that is not there, with its line.
    """
    rows = _csv_rows if manifest.suffix.lower() == ".csv" else _json_rows
    videos = [_manifest_row(manifest, row, where) for row, where in rows(manifest)]
    if not videos:
        raise ValueError(f"The manifest {str(manifest)!r} lists no video.")
    return videos


def _json_rows(manifest: Path) -> Iterator[tuple[Any, str]]:
    """Yield what every line holds, and how to name the line in an error."""
    for number, line in enumerate(manifest.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        where = f"line {number} of {str(manifest)!r}"
        try:
            yield json.loads(line), where
        except json.JSONDecodeError as error:
            raise ValueError(f"Expected a JSON object in {where}: {error}.") from error


def _csv_rows(manifest: Path) -> Iterator[tuple[Any, str]]:
    """Yield rows as JSON would hold them: numbers for seconds, nothing for an empty cell."""
    with manifest.open(encoding="utf-8-sig", newline="") as stream:
        for row in (reader := csv.DictReader(stream)):
            where = f"line {reader.line_num} of {str(manifest)!r}"
            cells = {str(key).strip(): value for key, value in row.items() if value}
            yield (
                {key: _cell(key, value) for key, value in cells.items()},
                where,
            )


def _cell(key: str, text: str) -> Any:
    if key == "box":  # "x0 y0 x1 y1"
        return text.split()
    return _number(text) if key in _SECONDS else text


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text  # refused by name where it is used


def _manifest_row(manifest: Path, row: Any, where: str) -> VideoSource:
    if not isinstance(row, dict) or "path" not in row or set(row) - _MANIFEST_KEYS:
        raise ValueError(
            f"Expected `path` and optionally {sorted(_MANIFEST_KEYS - {'path'})} in {where}, got "
            f"{str(row)[:120]!r}."
        )
    path = manifest.parent / str(row["path"])
    if not path.is_file():
        raise FileNotFoundError(f"No video at {str(path)!r}, named in {where}.")
    split, identity = row.get("split"), row.get("identity")
    if split is not None and split not in SPLITS:
        raise ValueError(f"Expected `split` to be one of {SPLITS} in {where}, got {split!r}.")
    start, end = _seconds(row, "start", where) or 0.0, _seconds(row, "end", where)
    if start < 0 or (end is not None and end <= start):
        raise ValueError(f"Expected 0 <= start < end in {where}, got {start} and {end}.")
    group = path.stem if identity is None else str(identity)
    box = None if row.get("box") is None else check_box(row["box"], where)
    return VideoSource(path, group, split, start, end, box)


def _seconds(row: dict[str, Any], key: str, where: str) -> float | None:
    value = row.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"Expected `{key}` to be a number of seconds in {where}, got {value!r}.")
    return float(value)
