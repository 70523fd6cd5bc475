"""Resolve files, folders, manifests and names of sample assets to a list of videos."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp3_lightning.assets import ASSETS, asset_path
from dp3_lightning.data.splits import SPLITS
from dp3_lightning.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES

_SECONDS = ("start", "end")
_MANIFEST_KEYS = {"path", "identity", "split", *_SECONDS}
_MANIFESTS = (".jsonl", ".csv")
_LISTS = (".json", ".tsv", ".txt", ".yaml", ".yml", ".ndjson", ".xlsx")


@dataclass(frozen=True)
class VideoSource:
    """Name one video to take clips from.

    Attributes:
        path: the file.
        group: person or origin; never spans splits.
        split: ``train``, ``val`` or ``test`` when a manifest fixes it.
        start: first second to use.
        end: second after the last to use; None for the end.
    """

    path: Path
    group: str
    split: str | None = None
    start: float = 0.0
    end: float | None = None


def _is_asset(name: str) -> bool:
    return name in ASSETS and ASSETS[name].kind == "clip"


def asset_names(source: str | Path | Sequence[str | Path]) -> list[str]:
    """Return those parts of a source that name sample assets."""
    parts = [source] if isinstance(source, (str, Path)) else source
    return [str(p) for p in parts if _is_asset(str(p)) and not Path(p).exists()]


def find_videos(
    source: str | Path | Sequence[str | Path], stills: bool = False
) -> list[VideoSource]:
    """Resolve a source to its videos.

    Args:
        source: a video, a folder (searched recursively, hidden files left out; the first folder
            level names the group, so ``person/clip.mp4`` keeps a person together), a ``.jsonl``
            manifest with one object per line, or a ``.csv`` manifest with a header (``path``
            relative to the manifest, optional ``identity``, ``split``, ``start`` and ``end`` in
            seconds), the name of a sample asset, or a list of these.
        stills: take pictures from folders too, as videos of one frame.

    Returns:
        Videos in a stable order.

    Raises:
        FileNotFoundError: nothing of that name; lists the sample assets.
        ValueError: a folder without videos, a malformed manifest (with its line), or frames that
            are named twice.
    """
    videos = _find(source, VIDEO_SUFFIXES | IMAGE_SUFFIXES if stills else VIDEO_SUFFIXES)
    _refuse_overlaps(videos)
    return videos


def _find(source: str | Path | Sequence[str | Path], suffixes: frozenset[str]) -> list[VideoSource]:
    if not isinstance(source, (str, Path)):
        if not source:
            raise ValueError("Expected `source` to name at least one video, got an empty list.")
        return [video for part in source for video in _find(part, suffixes)]
    path = Path(source).expanduser()
    if path.is_dir():
        return _from_folder(path, suffixes)
    if path.suffix.lower() in _MANIFESTS and path.is_file():
        return _from_manifest(path)
    if path.suffix.lower() in _LISTS and path.is_file():
        raise ValueError(
            f"{str(path)!r} is no video, and lists of videos are .jsonl (one object per line) or "
            ".csv (with a header): `path`, and optionally `identity`, `split`, `start`, `end`."
        )
    if path.is_file():
        return [VideoSource(path, group=path.stem)]
    if _is_asset(str(source)):
        return [VideoSource(asset_path(str(source)), group=str(source))]
    samples = sorted(name for name, asset in ASSETS.items() if asset.kind == "clip")
    raise FileNotFoundError(
        f"No video, folder or manifest at {str(source)!r}: give the path of one, or one of the "
        f"sample clips {', '.join(samples)}."
    )


def _refuse_overlaps(videos: Sequence[VideoSource]) -> None:
    """Refuse frames that are listed twice: they could be in training and validation at once."""
    earlier: dict[Path, list[VideoSource]] = {}
    for video in videos:
        others = earlier.setdefault(video.path.resolve(), [])
        for other in others:
            first, second = sorted((video, other), key=lambda v: v.start)
            if first.end is None or first.end > second.start:
                raise ValueError(
                    f"{str(video.path)!r} is named twice in `source`, with common frames: they "
                    "could train and validate at once. Name it once, or give its parts separate "
                    "`start` and `end` in a manifest."
                )
        others.append(video)


def _from_folder(folder: Path, suffixes: frozenset[str]) -> list[VideoSource]:
    files = sorted(
        p
        for p in folder.rglob("*")
        if p.suffix.lower() in suffixes
        and p.is_file()
        # Unfinished output of a writer, macOS's `._clip.mp4`, rubbish bins.
        and not any(part.startswith(".") for part in p.relative_to(folder).parts)
    )
    if not files:
        raise ValueError(
            f"No video in the folder {str(folder)!r} (searched recursively for "
            f"{', '.join(sorted(suffixes))}): check `source`. Pictures count with "
            "`clip_length: 1` only."
        )
    relative = [p.relative_to(folder) for p in files]
    groups = [r.parts[0] if len(r.parts) > 1 else r.stem for r in relative]
    return [VideoSource(path, group) for path, group in zip(files, groups, strict=True)]


def _from_manifest(manifest: Path) -> list[VideoSource]:
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
                {key: _number(value) if key in _SECONDS else value for key, value in cells.items()},
                where,
            )


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
    return VideoSource(path, group, split, start, end)


def _seconds(row: dict[str, Any], key: str, where: str) -> float | None:
    value = row.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"Expected `{key}` to be a number of seconds in {where}, got {value!r}.")
    return float(value)
