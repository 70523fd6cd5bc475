"""Resolve files, folders and patterns to pairs of input and output."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dp3_lightning.assets import ASSETS, asset_path
from dp3_lightning.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES

# Containers that do not hold H.264 well, or whose names say another codec.
_BECOME_MP4 = {".3g2", ".3gp", ".asf", ".divx", ".dv", ".f4v", ".flv", ".m2v", ".mpe", ".mpeg"}
_BECOME_MP4 |= {".mpg", ".mxf", ".ogv", ".tod", ".vob", ".wmv"}
# What a run writes beside its outputs.
_OURS = (".dp3.json", ".dp3.html", ".plan.json")
MEDIA_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES


@dataclass(frozen=True)
class FilePair:
    """A source file and the place of its anonymized copy.

    Attributes:
        source: the original.
        output: where its anonymized copy goes.
    """

    source: Path
    output: Path

    @property
    def is_picture(self) -> bool:
        """Whether the source is a still picture."""
        return self.source.suffix.lower() in IMAGE_SUFFIXES


def pair_files(inputs: Sequence[str | Path], output: str | Path) -> list[FilePair]:
    """Find all videos and pictures, and choose where their anonymized copies go.

    Args:
        inputs: files, folders (searched recursively, hidden files left out), patterns with ``*``,
            ``?`` or ``[``, and names of sample clips and pictures (``dp3 assets``).
        output: a file for a single input file, else a folder, in which the tree of every input
            folder is repeated. A name without the suffix of a video or picture is a folder.

    Raises:
        FileNotFoundError: an input that is not there, or nothing to do.
        ValueError: several inputs and one output file, two inputs for one output, or a suffix that
            does not fit the input.
    """
    target = Path(output)
    found = [pair for name in inputs for pair in _expand(str(name), target)]
    found = list({source.resolve(): (source, place) for source, place in found[::-1]}.values())[
        ::-1
    ]
    if not found:
        raise FileNotFoundError(
            f"No videos or pictures in {', '.join(repr(str(i)) for i in inputs)}: looked for "
            f"{', '.join(sorted(MEDIA_SUFFIXES))}."
        )
    names_file = target.suffix.lower() in MEDIA_SUFFIXES and not target.is_dir()
    if names_file:
        if len(found) > 1:
            raise ValueError(
                f"{len(found)} inputs cannot go to the one file {str(target)!r}: name a folder."
            )
        found = [(found[0][0], target)]
    pairs = [FilePair(source, place) for source, place in found]
    for pair in pairs:
        if pair.is_picture != (pair.output.suffix.lower() in IMAGE_SUFFIXES):
            raise ValueError(
                f"{str(pair.source)!r} cannot become {str(pair.output)!r}: a video stays a video, "
                "a picture a picture."
            )
    _refuse_clashes(pairs)
    return pairs


def _expand(name: str, target: Path) -> list[tuple[Path, Path]]:
    path = Path(name)
    if path.is_dir():
        if target.resolve() == path.resolve():
            raise ValueError(
                f"The output folder {str(target)!r} is the input folder: choose another; originals "
                "are never written over."
            )
        inside = sorted(p for p in path.rglob("*") if p.is_file() and _is_media(p, path))
        # A former result below the input is no input.
        return [
            (p, _in_folder(target, p.relative_to(path)))
            for p in inside
            if target.resolve() not in p.resolve().parents
        ]
    if path.exists():
        if path.suffix.lower() not in MEDIA_SUFFIXES:
            raise ValueError(
                f"{name!r} is neither video nor picture by its suffix: expected one of "
                f"{', '.join(sorted(MEDIA_SUFFIXES))}."
            )
        return [(path, _in_folder(target, Path(path.name)))]
    if name in ASSETS and ASSETS[name].kind in ("clip", "picture"):
        sample = asset_path(name)
        return [(sample, target / f"{name}{sample.suffix}")]
    matches = sorted(glob.glob(name, recursive=True)) if glob.has_magic(name) else []
    if not matches:
        raise FileNotFoundError(f"No file or folder at {name!r}. Check the path.")
    below = target.resolve()  # former results are no input
    return [
        pair
        for match in matches
        if below not in Path(match).resolve().parents
        if Path(match).is_dir() or Path(match).suffix.lower() in MEDIA_SUFFIXES
        for pair in _expand(glob.escape(match) if not Path(match).exists() else match, target)
    ]


def _in_folder(folder: Path, name: Path) -> Path:
    """Where the result of a file goes in an output folder."""
    if name.suffix.lower() in _BECOME_MP4:
        name = name.with_name(f"{name.name}.mp4")
    return folder / name


def left_out(inputs: Sequence[str | Path], output: str | Path) -> list[tuple[Path, str]]:
    """Find the files of input folders that are not anonymized, with the reason.

    Args:
        inputs: as in :func:`pair_files`; what patterns match counts too.
        output: as in :func:`pair_files`; what lies in it is left out without a word.

    Returns:
        Files and reasons in plain words, by name.
    """
    below = Path(output).resolve()
    found: dict[Path, str] = {}
    for name in map(str, inputs):
        path = Path(name)
        matches = sorted(glob.glob(name, recursive=True)) if not path.exists() else [name]
        for match in map(Path, matches):
            files = sorted(match.rglob("*")) if match.is_dir() else [match]
            for file in (f for f in files if f.is_file()):
                reason = _why_not(file, match if match.is_dir() else match.parent)
                if reason and below not in file.resolve().parents:
                    found[file] = reason
    return sorted(found.items())


def _why_not(path: Path, root: Path) -> str:
    """Why a file is no input; empty: it is one, or nobody misses it."""
    if _is_hidden(path, root):
        return "hidden" if path.suffix.lower() in MEDIA_SUFFIXES else ""
    if path.suffix.lower() in MEDIA_SUFFIXES or path.name.endswith(_OURS):
        return ""
    if path.suffix.lower() in (".heic", ".heif", ".avif", ".jxl", ".jp2", ".dng", ".cr2", ".nef"):
        return "cannot be read: convert it to .jpg or .png"
    return "neither video nor picture by its suffix"


def _is_hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _is_media(path: Path, root: Path) -> bool:
    return not _is_hidden(path, root) and path.suffix.lower() in MEDIA_SUFFIXES


def _refuse_clashes(pairs: Sequence[FilePair]) -> None:
    seen: dict[Path, Path] = {}
    for pair in pairs:
        place = pair.output.absolute()
        if place in seen and seen[place] != pair.source:
            raise ValueError(
                f"{str(seen[place])!r} and {str(pair.source)!r} would both become "
                f"{str(pair.output)!r}: anonymize them into different folders."
            )
        seen[place] = pair.source
