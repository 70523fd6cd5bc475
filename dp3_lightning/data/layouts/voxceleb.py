"""VoxCeleb1 and VoxCeleb2: a folder per person, a folder per video of YouTube."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from dp3_lightning.data.layouts.base import Layout, VideoSource, files_below, folders_in


class _VoxCeleb(Layout):
    """Read `[dev|test]/[mp4/]idNNNNN/VIDEO/00001.mp4`."""

    person: ClassVar[re.Pattern[str]]

    def matches(self, folder: Path) -> bool:
        """Match folders that hold people of this data set, down to three levels."""
        return any(self.person.fullmatch(p.name) for p in _people(folder))

    def read(self, folder: Path, suffixes: frozenset[str]) -> list[VideoSource]:
        """List the videos; those below `test` are the test, the rest is split by person."""
        videos = []
        for path in files_below(folder, suffixes):
            parts = path.relative_to(folder).parts[:-1]
            person = next((part for part in parts if re.fullmatch(r"id\d{5}", part)), None)
            if person is None:  # somebody else's, as in a plain folder
                videos.append(VideoSource(path, parts[0] if parts else path.stem))
                continue
            videos.append(VideoSource(path, person, _split(folder, parts[: parts.index(person)])))
        return videos


class VoxCeleb2(_VoxCeleb):
    """Read VoxCeleb2; its development and test people are disjoint."""

    name = "voxceleb2"
    shape = "`dev/mp4/id00012/VIDEO/00001.mp4` (`dev`, `test` and `mp4` may be missing)"
    split = "test people below `test`; `dev` is split by person into train and val"
    licence = "metadata CC BY 4.0; the videos' rights stay with their owners on YouTube"
    person = re.compile(r"id0\d{4}")


class VoxCeleb1(_VoxCeleb):
    """Read VoxCeleb1; the split for verification is used, that for identification is not.

    `iden_split.txt` has all people in training, validation and test.
    """

    name = "voxceleb1"
    shape = "`dev/mp4/id10001/VIDEO/00001.mp4` (`dev`, `test` and `mp4` may be missing)"
    split = "test people below `test` (verification); `iden_split.txt` overlaps and is not used"
    licence = "metadata CC BY 4.0; the videos' rights stay with their owners on YouTube"
    person = re.compile(r"id1\d{4}")


def _split(folder: Path, before: tuple[str, ...]) -> str | None:
    """Return the split by the folders before a person, those of `source` itself included."""
    if before in ((), ("mp4",)):
        before = (folder.parent.name if folder.name == "mp4" else folder.name,)
    return "test" if "test" in before else None


def _people(folder: Path) -> list[Path]:
    level = [folder]
    found: list[Path] = []
    for _ in range(3):
        level = [p for parent in level for p in folders_in(parent)]
        found += level
        level = [p for p in level if p.name in ("dev", "test", "mp4")]
    return found
