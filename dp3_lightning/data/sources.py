"""Resolve files, folders, manifests and names of sample assets to a list of videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dp3_lightning.assets import ASSETS, asset_path
from dp3_lightning.checks import check_choice
from dp3_lightning.data.layouts import (
    LAYOUT_NAMES,
    MANIFESTS,
    VideoSource,
    find_layout,
    read_manifest,
)
from dp3_lightning.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES

__all__ = ["VideoSource", "asset_names", "find_videos"]
_LISTS = (".json", ".tsv", ".txt", ".yaml", ".yml", ".ndjson", ".xlsx")


def _is_asset(name: str) -> bool:
    return name in ASSETS and ASSETS[name].kind == "clip"


def asset_names(source: str | Path | Sequence[str | Path]) -> list[str]:
    """Return those parts of a source that name sample assets."""
    parts = [source] if isinstance(source, (str, Path)) else source
    return [str(p) for p in parts if _is_asset(str(p)) and not Path(p).exists()]


def find_videos(
    source: str | Path | Sequence[str | Path], stills: bool = False, layout: str = "auto"
) -> list[VideoSource]:
    """Resolve a source to its videos.

    Args:
        source: a video, a folder (searched recursively, hidden files left out; the first folder
            level names the group, so ``person/clip.mp4`` keeps a person together), a ``.jsonl``
            manifest with one object per line, or a ``.csv`` manifest with a header (``path``
            relative to the manifest, optional ``identity``, ``split``, ``start`` and ``end`` in
            seconds, ``box`` of the face), the name of a sample asset, or a list of these.
        stills: take pictures from folders too, as videos of one frame.
        layout: how folders are laid out, see :data:`dp3_lightning.data.layouts.LAYOUTS`; ``auto``
            looks at them. Folders of no known data set are searched as said above.

    Returns:
        Videos in a stable order.

    Raises:
        FileNotFoundError: nothing of that name; lists the sample assets.
        ValueError: a folder without videos, a malformed manifest (with its line), or frames that
            are named twice.
    """
    check_choice(LAYOUT_NAMES, layout=layout)
    suffixes = VIDEO_SUFFIXES | IMAGE_SUFFIXES if stills else VIDEO_SUFFIXES
    videos = _find(source, suffixes, layout)
    _refuse_overlaps(videos)
    return videos


def _find(
    source: str | Path | Sequence[str | Path], suffixes: frozenset[str], layout: str
) -> list[VideoSource]:
    if not isinstance(source, (str, Path)):
        if not source:
            raise ValueError("Expected `source` to name at least one video, got an empty list.")
        return [video for part in source for video in _find(part, suffixes, layout)]
    path = Path(source).expanduser()
    if path.is_dir():
        return find_layout(path, layout).videos(path, suffixes)
    if path.exists() and layout not in ("auto", path.suffix.lower()[1:]):
        raise ValueError(
            f"{str(path)!r} is a file, but `layout` is {layout!r}: set `layout: auto`, or give the "
            "data set's folder in `source`."
        )
    if path.suffix.lower() in MANIFESTS and path.is_file():
        return read_manifest(path)
    if path.suffix.lower() in _LISTS and path.is_file():
        raise ValueError(
            f"{str(path)!r} is no video, and lists of videos are .jsonl (one object per line) or "
            ".csv (with a header): `path`, and optionally `identity`, `split`, `start`, `end`, "
            "`box`."
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
            if video.box and other.box and video.group == other.group:
                continue  # two faces of one video: one group, so never in two splits
            first, second = sorted((video, other), key=lambda v: v.start)
            if first.end is None or first.end > second.start:
                raise ValueError(
                    f"{str(video.path)!r} is named twice in `source`, with common frames: they "
                    "could train and validate at once. Name it once, or give its parts separate "
                    "`start` and `end` in a manifest."
                )
        others.append(video)
