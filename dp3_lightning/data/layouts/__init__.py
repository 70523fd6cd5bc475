"""Layouts of data sets: from a folder, found by looking at it or named, to its videos."""

from __future__ import annotations

from pathlib import Path

from dp3_lightning.data.layouts.base import Layout, VideoSource
from dp3_lightning.data.layouts.celebv import CelebVHq, CelebVText
from dp3_lightning.data.layouts.folders import FrameFolders, IdentityFolders, PlainFolder
from dp3_lightning.data.layouts.forgeries import Dfdc, FaceForensics
from dp3_lightning.data.layouts.manifests import MANIFESTS, read_manifest
from dp3_lightning.data.layouts.speakers import Hdtf, ThreeHundredVw, Vfhq, YouTubeFaces
from dp3_lightning.data.layouts.stills import CelebA, CelebAHq, Fdf, Fdf256
from dp3_lightning.data.layouts.voxceleb import VoxCeleb1, VoxCeleb2

_DATA_SETS: tuple[Layout, ...] = (
    VoxCeleb2(),
    VoxCeleb1(),
    Dfdc(),
    FaceForensics(),
    CelebVHq(),
    CelebVText(),
    Hdtf(),
    Vfhq(),
    YouTubeFaces(),
    ThreeHundredVw(),
    CelebA(),
    CelebAHq(),
    Fdf(),
    Fdf256(),
)
_OWN: tuple[Layout, ...] = (IdentityFolders(), FrameFolders(), PlainFolder())
LAYOUTS = {layout.name: layout for layout in (*_DATA_SETS, *_OWN)}
LAYOUT_NAMES = ("auto", *LAYOUTS, *(suffix[1:] for suffix in MANIFESTS))

__all__ = [
    "LAYOUTS",
    "LAYOUT_NAMES",
    "MANIFESTS",
    "Layout",
    "VideoSource",
    "find_layout",
    "matching_layouts",
    "read_manifest",
]


def matching_layouts(folder: Path) -> list[str]:
    """Name the layouts of known data sets that a folder has."""
    return [layout.name for layout in _DATA_SETS if layout.matches(folder)]


def find_layout(folder: Path, name: str = "auto") -> Layout:
    """Find the layout of a folder.

    Args:
        folder: the data set.
        name: of the layout, or ``auto`` to look at the folder: the one data set whose shape it
            has, else frames or a plain folder.

    Raises:
        ValueError: the folder has the shapes of two data sets, or not that of the named one;
            names the candidates.
    """
    found = matching_layouts(folder)
    if name == "auto":
        if len(found) > 1:
            raise ValueError(
                f"{str(folder)!r} has the shapes of several data sets, {', '.join(found)}: name "
                "one in `layout`, or give a folder of one of them in `source`."
            )
        frames = LAYOUTS["frames"]
        fallback = frames if not found and frames.matches(folder) else LAYOUTS["folder"]
        return LAYOUTS[found[0]] if found else fallback
    layout = LAYOUTS.get(name)
    if layout is None:
        raise ValueError(
            f"The folder {str(folder)!r} cannot have the layout {name!r}: it is one of "
            f"{', '.join(LAYOUTS)}, or `auto`; `jsonl` and `csv` are files."
        )
    if not layout.matches(folder):
        raise ValueError(
            f"{str(folder)!r} does not have the layout {name!r} ({layout.shape}). It has "
            f"{', '.join(found) or 'that of no known data set'}: set `layout: auto`, `folder`, or "
            f"one of {', '.join(LAYOUTS)}."
        )
    return layout
