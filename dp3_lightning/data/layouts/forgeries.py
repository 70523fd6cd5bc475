"""Data sets of forged videos, DFDC and FaceForensics++: a forgery stays with its original."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dp3_lightning.data.layouts.base import Layout, VideoSource, files_below, folders_in


def read_json(path: Path) -> Any:
    """Read a JSON file of a data set.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"Expected JSON in {str(path)!r}: {error}.") from error


class Dfdc(Layout):
    """Read the Deepfake Detection Challenge: `dfdc_train_part_0/*.mp4` and `metadata.json`."""

    name = "dfdc"
    shape = "`dfdc_train_part_N/*.mp4` with a `metadata.json` beside them"
    split = "none: people are not named; a fake stays with its original"
    licence = "terms of the Deepfake Detection Challenge (Meta, Kaggle)"

    def matches(self, folder: Path) -> bool:
        """Match one part, or a folder of parts, by the keys of `metadata.json`."""
        return any(map(_is_dfdc, self._tables(folder)[:1]))

    def read(self, folder: Path, suffixes: frozenset[str]) -> list[VideoSource]:
        """List the videos; the original names the group.

        Raises:
            ValueError: a video without its entry in `metadata.json`.
        """
        videos = []
        for table in self._tables(folder):
            entries = read_json(table)
            videos += [
                VideoSource(path, _original(path, entries, table))
                for path in files_below(table.parent, suffixes)
                if path.parent == table.parent
            ]
        return videos

    def _tables(self, folder: Path) -> list[Path]:
        parts = [folder, *sorted(folders_in(folder))]
        return [p / "metadata.json" for p in parts if (p / "metadata.json").is_file()]


def _is_dfdc(table: Path) -> bool:
    try:
        entries = read_json(table)
    except ValueError:
        return False  # of something else
    entry = next(iter(entries.values()), None) if isinstance(entries, dict) else None
    return isinstance(entry, dict) and entry.get("label") in ("REAL", "FAKE")


def _original(path: Path, entries: dict[str, Any], table: Path) -> str:
    entry = entries.get(path.name)
    label, original = (entry.get("label"), entry.get("original")) if entry else (None, None)
    if label != "REAL" and not (label == "FAKE" and original):
        raise ValueError(
            f"Expected {str(table)!r} to name the original of {path.name!r}: without it, a fake "
            "and its original could train and validate at once. Move the video away, or mend it."
        )
    return Path(str(original or path.name)).stem


class FaceForensics(Layout):
    """Read FaceForensics++: forgeries `TARGET_SOURCE.mp4` stay with both of their originals."""

    name = "faceforensics"
    shape = "`original_sequences/` or `manipulated_sequences/`, each `METHOD/c23/videos/000.mp4`"
    split = "`splits/{train,val,test}.json`; without them by groups of connected sequences"
    licence = "non-commercial research, by FaceForensics' form"

    def matches(self, folder: Path) -> bool:
        """Match folders with one of the two folders of sequences."""
        return any((folder / kind).is_dir() for kind in _KINDS)

    def read(self, folder: Path, suffixes: frozenset[str]) -> list[VideoSource]:
        """List the videos; sequences that a forgery joins are one group."""
        files = [p for kind in _KINDS for p in files_below(folder / kind, suffixes)]
        splits, pairs = _official(folder / "splits")
        groups = _Groups()
        for names in (*pairs, *map(_sequences, files)):
            groups.join(names)
        videos = []
        for path in files:
            own = [splits[name] for name in _sequences(path) if name in splits]
            group = groups.of(_sequences(path)[0])
            videos.append(VideoSource(path, group, own[0] if own else None))
        return videos


_KINDS = ("original_sequences", "manipulated_sequences")


def _sequences(path: Path) -> list[str]:
    """Return the sequences or actors in a file: `000_003` has two, `01_02__scene__X` too."""
    actors, separator, _ = path.stem.partition("__")
    return [f"actor {a}" if separator else a for a in actors.split("_")]


def _official(folder: Path) -> tuple[dict[str, str], list[list[str]]]:
    tables = {s: folder / f"{s}.json" for s in ("train", "val", "test")}
    pairs = {s: read_json(p) for s, p in tables.items() if p.is_file()}
    splits = {str(name): s for s, rows in pairs.items() for row in rows for name in row}
    return splits, [[str(n) for n in row] for rows in pairs.values() for row in rows]


class _Groups:
    """Join names to groups; a group is called after its first name in order."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def of(self, name: str) -> str:
        """Return the group of a name."""
        while (above := self._parent.setdefault(name, name)) != name:
            name = above
        return name

    def join(self, names: list[str]) -> None:
        """Put names into one group."""
        roots = sorted({self.of(name) for name in names})
        self._parent.update(dict.fromkeys(roots, roots[0]))
