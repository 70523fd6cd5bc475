"""CelebV-HQ and CelebV-Text: clips of YouTube, cut out already or still to be cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dp3_lightning.data.layouts.base import Box, Layout, VideoSource, files_below
from dp3_lightning.data.layouts.boxes import check_box
from dp3_lightning.data.layouts.forgeries import read_json

_LONGEST_CLIP = 300.0  # seconds; the longest published ones have some 30


class _CelebV(Layout):
    """Read the table of clips and the videos, finished `KEY.mp4` or whole `YOUTUBE_ID.mp4`."""

    table: str
    split = "none; all clips of a YouTube video stay together"
    licence = "non-commercial research"

    def matches(self, folder: Path) -> bool:
        """Match folders with the table of clips."""
        return (folder / self.table).is_file()

    def read(self, folder: Path, suffixes: frozenset[str]) -> list[VideoSource]:
        """List the finished clips, and where there is none, its part of the whole video.

        Raises:
            ValueError: a malformed table, named with its clip.
        """
        table = read_json(folder / self.table)
        clips = table.get("clips") if isinstance(table, dict) else None
        if not isinstance(clips, dict) or not all(isinstance(c, dict) for c in clips.values()):
            raise ValueError(f"Expected an object `clips` in {str(folder / self.table)!r}.")
        files = {p.stem: p for p in files_below(folder, suffixes)}
        videos = []
        for key, clip in sorted(clips.items()):
            where = f"the clip {key!r} of {str(folder / self.table)!r}"
            origin = str(_value(clip, "ytb_id", where))
            if key in files:  # cut out and cropped already: times and box are those of the whole
                videos.append(VideoSource(files[key], origin))
            elif origin in files:
                start, end = _times(clip, where)
                box = _box(clip, where, self.fractions)
                videos.append(VideoSource(files[origin], origin, None, start, end, box))
        return videos

    fractions: bool


class CelebVHq(_CelebV):
    """Read CelebV-HQ, whose boxes are fractions of the frame."""

    name = "celebv-hq"
    shape = "`celebvhq_info.json`, and `processed/KEY.mp4` or whole videos `YOUTUBE_ID.mp4`"
    table = "celebvhq_info.json"
    fractions = True


class CelebVText(_CelebV):
    """Read CelebV-Text, whose boxes are pixels and whose `start_frame` holds seconds."""

    name = "celebv-text"
    shape = "`celebvtext_info.json`, and `processed/KEY.mp4` or whole videos `YOUTUBE_ID.mp4`"
    table = "celebvtext_info.json"
    fractions = False


def _value(entry: Any, key: str, where: str) -> Any:
    if not isinstance(entry, dict) or key not in entry:
        raise ValueError(f"Expected `{key}` in {where}, got {str(entry)[:120]!r}.")
    return entry[key]


def _number(entry: Any, key: str, where: str) -> float:
    try:
        return float(_value(entry, key, where))
    except (TypeError, ValueError) as error:
        raise ValueError(f"Expected a number for `{key}` in {where}: {error}") from error


def _times(clip: dict[str, Any], where: str) -> tuple[float, float]:
    """Return first and last second; the tables call them `start_sec` or, wrongly, frames."""
    duration = _value(clip, "duration", where)
    kind = "frame" if isinstance(duration, dict) and "start_frame" in duration else "sec"
    start, end = (_number(duration, f"{edge}_{kind}", where) for edge in ("start", "end"))
    if not 0 <= start < end <= start + _LONGEST_CLIP:
        raise ValueError(
            f"Expected seconds with 0 <= start < end and a clip below {_LONGEST_CLIP:.0f} s in "
            f"{where}, got {start} and {end}: are they numbers of frames? Divide by the rate."
        )
    return start, end


def _box(clip: dict[str, Any], where: str, fractions: bool) -> Box:
    entry = _value(clip, "bbox", where)
    number: Callable[[str], float] = lambda key: _number(entry, key, where)  # noqa: E731
    values = [number(key) for key in ("left", "top", "right", "bottom")]
    return check_box(values, where, fractions)
