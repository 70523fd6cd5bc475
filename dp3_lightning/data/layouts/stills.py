"""Data sets of pictures, CelebA, CelebA-HQ and FDF: they serve with `clip_length: 1`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dp3_lightning.data.layouts.base import Layout, VideoSource, files_below, has_file
from dp3_lightning.data.layouts.forgeries import read_json
from dp3_lightning.video import IMAGE_SUFFIXES

_PARTITION = {"0": "train", "1": "val", "2": "test"}
_TABLES = ("", "Anno", "Eval", "annotations")  # folders in which the tables are published
_MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"


class CelebA(Layout):
    """Read CelebA, `img_align_celeba/000001.jpg` with the tables of people and partition."""

    name = "celeba"
    shape = "`img_align_celeba/000001.jpg`, `identity_CelebA.txt`, `list_eval_partition.txt`"
    split = "`list_eval_partition.txt`, where `identity_CelebA.txt` shows it to be disjoint"
    licence = "non-commercial research"
    stills = True

    def matches(self, folder: Path) -> bool:
        """Match by the folder of pictures."""
        return (folder / "img_align_celeba").is_dir()

    def read(self, folder: Path, suffixes: frozenset[str]) -> list[VideoSource]:
        """List the pictures."""
        files = files_below(folder / "img_align_celeba", suffixes)
        return _celeba(folder, [(path, path.name) for path in files])


class CelebAHq(Layout):
    """Read CelebA-HQ, `data/0.jpg` with the mapping to CelebA's people and partition."""

    name = "celeba-hq"
    shape = f"`annotations/{_MAPPING}` and numbered pictures `data/0.jpg`"
    split = "CelebA's, where `identity_CelebA.txt` shows it to be disjoint"
    licence = "non-commercial research"
    stills = True

    def matches(self, folder: Path) -> bool:
        """Match by the mapping."""
        return _table(folder, _MAPPING) is not None

    def read(self, folder: Path, suffixes: frozenset[str]) -> list[VideoSource]:
        """List the pictures that the mapping has."""
        rows = _rows(_table(folder, _MAPPING))
        names = {row[0]: row[-1] for row in rows}
        files = [p for p in files_below(folder, suffixes) if p.stem in names]
        return _celeba(folder, [(path, names[path.stem]) for path in files])


def _celeba(folder: Path, pictures: list[tuple[Path, str]]) -> list[VideoSource]:
    """Add person and split; without the people's table, no split is known to be disjoint."""
    people = {row[0]: row[-1] for row in _rows(_table(folder, "identity_CelebA.txt"))}
    parts = {row[0]: row[-1] for row in _rows(_table(folder, "list_eval_partition.txt"))}
    videos = []
    for path, name in pictures:
        person = people.get(name)
        split = None if person is None else _PARTITION.get(parts.get(name, ""))
        videos.append(VideoSource(path, path.stem if person is None else person, split))
    return videos


def _table(folder: Path, name: str) -> Path | None:
    return next((p for t in _TABLES if (p := folder / t / name).is_file()), None)


def _rows(path: Path | None) -> list[list[str]]:
    """Return the words of every line."""
    lines = [] if path is None else path.read_text(encoding="utf-8").splitlines()
    return [words for line in lines if len(words := line.split()) > 1]


class Fdf(Layout):
    """Read FDF, `images/128/0.png` with boxes and landmarks beside."""

    name = "fdf"
    shape = "`images/128/0.png`, `bounding_box/` or `landmarks.npy`, `fdf_metainfo.json`"
    split = "folders `train` and `val`, where the photographers are disjoint"
    licence = "mixed Creative Commons, by picture in the metainfo; much of it non-commercial"
    stills = True

    def matches(self, folder: Path) -> bool:
        """Match folders, or their `train` and `val`, with pictures and a table of FDF."""
        return any(_is_fdf(part) and self._has_pictures(part) for part in _parts(folder))

    def _has_pictures(self, part: Path) -> bool:
        return (part / "images" / "128").is_dir()

    def read(self, folder: Path, suffixes: frozenset[str]) -> list[VideoSource]:
        """List the pictures; the photographer names the group where the metainfo has one."""
        videos = []
        for part in filter(_is_fdf, _parts(folder)):
            info = _metainfo(part) or _metainfo(folder)
            split = part.name if part.name in ("train", "val") else None
            for path in files_below(part / "images", suffixes):
                entry = info.get(path.stem, {})
                group = str(entry.get("author") or path.stem)
                licence = str(entry.get("license") or "")
                videos.append(VideoSource(path, group, split, licence=licence))
        return videos


class Fdf256(Fdf):
    """Read FDF256, `train/images/0.png` and `val/images/0.png`."""

    name = "fdf256"
    shape = "`train/images/0.png`, `val/images/0.png`, `bounding_box.npy` or `landmarks.npy`"

    def _has_pictures(self, part: Path) -> bool:
        return has_file(part / "images", lambda p: p.suffix.lower() in IMAGE_SUFFIXES)


def _parts(folder: Path) -> list[Path]:
    return [folder, folder / "train", folder / "val"]


def _is_fdf(part: Path) -> bool:
    tables = ("bounding_box", "bounding_box.npy", "bounding_box.torch", "landmarks.npy")
    return (part / "images").is_dir() and any((part / name).exists() for name in tables)


def _metainfo(folder: Path) -> dict[str, Any]:
    table = next(iter(sorted(folder.glob("fdf*metainfo.json"))), None)
    return {} if table is None else dict(read_json(table))
