"""Say what a layout of a data set is, and what it yields: videos with their people."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from dp3_lightning.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class VideoSource:
    """Name one video to take clips from.

    Attributes:
        path: the file.
        group: person or origin; never spans splits.
        split: ``train``, ``val`` or ``test`` when a manifest or a layout fixes it.
        start: first second to use.
        end: second after the last to use; None for the end.
        box: the face to use, ``(x0, y0, x1, y1)``: fractions of the frame when no value is above
            1, else pixels; None for all faces.
        licence: terms of the file, as the data set states them; empty when unknown.
    """

    path: Path
    group: str
    split: str | None = None
    start: float = 0.0
    end: float | None = None
    box: Box | None = None
    licence: str = ""


class Layout(ABC):
    """Turn a folder of a known shape into videos with their people and official split.

    Attributes:
        name: value of ``layout``.
        shape: how the folder looks, for errors and the guide.
        split: official split, for the guide.
        licence: terms of the data set, noted at every video.
        stills: holds pictures, which serve as clips of one frame only.
    """

    name: ClassVar[str]
    shape: ClassVar[str]
    split: ClassVar[str] = "none"
    licence: ClassVar[str] = ""
    stills: ClassVar[bool] = False

    @abstractmethod
    def matches(self, folder: Path) -> bool:
        """Look at the names in a folder, and say whether it has this layout."""

    @abstractmethod
    def read(self, folder: Path, suffixes: frozenset[str]) -> list[VideoSource]:
        """List the videos of a folder that matches.

        Args:
            folder: the data set.
            suffixes: endings of the files to take, lower case.
        """

    def videos(self, folder: Path, suffixes: frozenset[str]) -> list[VideoSource]:
        """List the videos of a folder, with licence and with a split that keeps people apart.

        Raises:
            ValueError: no video there, or only pictures while clips have several frames.
        """
        if self.stills and not suffixes & IMAGE_SUFFIXES:
            raise ValueError(
                f"{str(folder)!r} has the layout {self.name!r}, which holds pictures: stills are "
                "not supported for clips of several frames yet. Set `clip_length: 1`, or join the "
                "frames of every clip to a video file."
            )
        found = self.read(folder, suffixes & IMAGE_SUFFIXES if self.stills else suffixes)
        if not found:
            raise ValueError(
                f"No video in the folder {str(folder)!r} of the layout {self.name!r} "
                f"({self.shape}): check `source`."
            )
        return [
            replace(v, licence=v.licence or self.licence) for v in disjoint_splits(found, self.name)
        ]


def files_below(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """List the files with one of the endings in a folder and below it, hidden ones left out."""
    wanted = frozenset(suffixes)
    return sorted(
        p
        for p in folder.rglob("*")
        if p.suffix.lower() in wanted
        and p.is_file()
        # Unfinished output of a writer, macOS's `._clip.mp4`, rubbish bins.
        and not any(part.startswith(".") for part in p.relative_to(folder).parts)
    )


def has_file(folder: Path, wanted: Callable[[Path], bool]) -> bool:
    """Say whether a folder itself holds a file that is wanted; stops at the first."""
    return folder.is_dir() and any(p.is_file() and wanted(p) for p in folder.iterdir())


def has_video(folder: Path) -> bool:
    """Say whether there is a video in a folder or below it."""
    return any(p.suffix.lower() in VIDEO_SUFFIXES for p in folder.rglob("*"))


def folders_in(folder: Path) -> Iterator[Path]:
    """Yield the folders in a folder, hidden ones left out."""
    if folder.is_dir():
        yield from (p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def disjoint_splits(videos: Sequence[VideoSource], layout: str) -> list[VideoSource]:
    """Give every video the split of its group; drop the official split if people overlap."""
    by_group: dict[str, set[str]] = {}
    for video in videos:
        by_group.setdefault(video.group, set()).update([video.split] if video.split else [])
    spanning = sorted(group for group, splits in by_group.items() if len(splits) > 1)
    if not spanning:
        return [replace(v, split=next(iter(by_group[v.group]), None)) for v in videos]
    warnings.warn(
        f"The official split of the layout {layout!r} has {len(spanning)} people or sources in two "
        f"parts (first: {spanning[0]!r}), so it is not used: people are split by hash.",
        stacklevel=2,
    )
    return [replace(v, split=None) for v in videos]
