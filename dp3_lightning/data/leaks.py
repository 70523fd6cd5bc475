"""Keep training videos out of evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dp3_lightning.data.sources import VideoSource
from dp3_lightning.randomness import stable_hash


def video_key(video: VideoSource) -> int:
    """Hash a video, and the part of it in use, so that its name is not told."""
    return stable_hash(str(video.path.resolve()), str(video.start), str(video.end))


def refuse_leak(held_out: Mapping[str, Sequence[VideoSource]], trained: Sequence[int]) -> None:
    """Refuse to evaluate on videos that were trained on.

    Args:
        held_out: videos by split.
        trained: :func:`video_key` of the videos of the training split.

    Raises:
        ValueError: a held-out video is among them.
    """
    for split, videos in held_out.items():
        seen = [video.path.name for video in videos if video_key(video) in set(trained)]
        if seen:
            raise ValueError(
                f"{len(seen)} videos of the `{split}` split were trained on (first: {seen[0]!r}), "
                "so its figures would be too good. Keep `split_by`, the fractions and `seed` as "
                "they were in training, or give other videos in `source`."
            )
