"""Keep training videos out of evaluations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from dp3_lightning.data.sources import VideoSource
from dp3_lightning.faces.analysis import file_hash
from dp3_lightning.randomness import stable_hash

Part = tuple[int, float, float | None]  # of a video: hash of its content, first and last second


def part_key(video: VideoSource) -> Part:
    """Name the part of a video that is in use, by content: a copy of the file is the same video."""
    return stable_hash(file_hash(video.path)), video.start, video.end


def refuse_leak(
    held_out: Mapping[str, Sequence[VideoSource]], trained: Sequence[int | Sequence[float | None]]
) -> None:
    """Refuse to evaluate on videos that were trained on.

    Args:
        held_out: videos by split.
        trained: :func:`part_key` of the videos of the training split. Single numbers, in
            checkpoints of before, are hashes of paths.

    Raises:
        ValueError: a held-out video, or a part of it, is among them.
    """
    paths = {entry for entry in trained if isinstance(entry, int)}
    parts = [entry for entry in trained if not isinstance(entry, int)]
    for split, videos in held_out.items():
        seen = [v.path.name for v in videos if _path_key(v) in paths or _overlaps(v, parts)]
        if seen:
            raise ValueError(
                f"{len(seen)} videos of the `{split}` split were trained on (first: {seen[0]!r}), "
                "so its figures would be too good. Keep `split_by`, the fractions and `seed` as "
                "they were in training, or give other videos in `source`."
            )


def _overlaps(video: VideoSource, parts: Sequence[Sequence[float | None]]) -> bool:
    """Whether any of the parts is of the same content and shares time with a video's part."""
    if not parts:
        return False
    content, start, end = part_key(video)
    for other, first, last in parts:
        begins_before = start < (math.inf if last is None else last)
        if (
            other == content
            and begins_before
            and (first or 0.0) < (math.inf if end is None else end)
        ):
            return True
    return False


def _path_key(video: VideoSource) -> int:
    return stable_hash(str(video.path.resolve()), str(video.start), str(video.end))
