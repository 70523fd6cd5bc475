"""From what the user names (file, folder, manifest, sample asset) to a list of videos."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp3_lightning.assets import ASSETS, asset_path
from dp3_lightning.video import VIDEO_SUFFIXES

_MANIFEST_KEYS = {"path", "identity", "split", "start", "end"}


@dataclass(frozen=True)
class VideoSource:
    """One video to take clips from.

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


def find_videos(source: str | Path | Sequence[str | Path]) -> list[VideoSource]:
    """Resolve a source.

    Args:
        source: a video, a folder (searched recursively; the first folder level names the group, so
            ``person/clip.mp4`` keeps a person together), a ``.jsonl`` manifest with one object per
            line (``path`` relative to the manifest, optional ``identity``, ``split``, ``start`` and
            ``end`` in seconds), the name of a sample asset, or a list of these.

    Returns:
        Videos in a stable order.

    Raises:
        FileNotFoundError: nothing of that name; lists the sample assets.
        ValueError: a folder without videos, or a malformed manifest (with its line).
    """
    if not isinstance(source, (str, Path)):
        if not source:
            raise ValueError("Expected `source` to name at least one video, got an empty list.")
        return [video for part in source for video in find_videos(part)]
    path = Path(source).expanduser()
    if path.is_dir():
        return _from_folder(path)
    if path.suffix == ".jsonl" and path.is_file():
        return _from_manifest(path)
    if path.is_file():
        return [VideoSource(path, group=path.stem)]
    if _is_asset(str(source)):
        return [VideoSource(asset_path(str(source)), group=str(source))]
    samples = sorted(name for name, asset in ASSETS.items() if asset.kind == "clip")
    raise FileNotFoundError(
        f"No video, folder or manifest at {str(source)!r}: give the path of one, or one of the sample "
        f"clips {', '.join(samples)}."
    )


def _from_folder(folder: Path) -> list[VideoSource]:
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file())
    if not files:
        raise ValueError(
            f"No video in the folder {str(folder)!r} (searched recursively for "
            f"{', '.join(sorted(VIDEO_SUFFIXES))}): check `source`."
        )
    relative = [p.relative_to(folder) for p in files]
    groups = [r.parts[0] if len(r.parts) > 1 else r.stem for r in relative]
    return [VideoSource(path, group) for path, group in zip(files, groups, strict=True)]


def _from_manifest(manifest: Path) -> list[VideoSource]:
    videos = []
    for number, line in enumerate(manifest.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            videos.append(_manifest_row(manifest, number, line))
    if not videos:
        raise ValueError(f"The manifest {str(manifest)!r} lists no video.")
    return videos


def _manifest_row(manifest: Path, number: int, line: str) -> VideoSource:
    where = f"line {number} of {str(manifest)!r}"
    try:
        row: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"Expected a JSON object in {where}: {error}.") from error
    if not isinstance(row, dict) or "path" not in row or set(row) - _MANIFEST_KEYS:
        raise ValueError(
            f"Expected an object with `path` and optionally {sorted(_MANIFEST_KEYS - {'path'})} in "
            f"{where}, got {line.strip()[:120]!r}."
        )
    path = manifest.parent / row["path"]
    if not path.is_file():
        raise FileNotFoundError(f"No video at {str(path)!r}, named in {where}.")
    start, end = float(row.get("start") or 0.0), row.get("end")
    if start < 0 or (end is not None and float(end) <= start):
        raise ValueError(f"Expected 0 <= start < end in {where}, got {start} and {end}.")
    return VideoSource(
        path=path,
        group=str(row.get("identity", path.stem)),
        split=row.get("split"),
        start=start,
        end=None if end is None else float(end),
    )
