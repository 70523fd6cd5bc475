"""What was trained on is known again by content, whole or in part."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dp3_lightning.data.leaks import part_key, refuse_leak
from dp3_lightning.data.sources import VideoSource
from dp3_lightning.randomness import stable_hash


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "trained.mp4"
    path.write_bytes(b"a video")
    return path


def as_stored(*parts: object) -> list:
    return json.loads(json.dumps(list(parts)))


def test_a_copy_under_another_name_is_the_same_video(video: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(video, tmp_path / "other.mp4"))
    trained = as_stored(part_key(VideoSource(video, "a")))
    with pytest.raises(ValueError, match=r"1 videos of the `val` split.*'other.mp4'"):
        refuse_leak({"val": [VideoSource(copy, "b")]}, trained)
    video.write_bytes(b"another video")  # at the old path
    refuse_leak({"val": [VideoSource(video, "a")]}, trained)


@pytest.mark.parametrize(
    ("start", "end", "leaks"),
    [(0, None, True), (0, 2, False), (2, 3, True), (3.9, 9, True), (4, None, False), (1, 9, True)],
)
def test_parts_leak_where_they_share_time(
    video: Path, start: float, end: float | None, leaks: bool
) -> None:
    trained = as_stored(part_key(VideoSource(video, "a", start=2, end=4)))
    held_out = {"test": [VideoSource(video, "a", start=start, end=end)]}
    if leaks:
        with pytest.raises(ValueError, match="would be too good"):
            refuse_leak(held_out, trained)
    else:
        refuse_leak(held_out, trained)


def test_checkpoints_of_before_name_paths(video: Path) -> None:
    old = stable_hash(str(video.resolve()), "0.0", "None")
    with pytest.raises(ValueError, match="trained on"):
        refuse_leak({"val": [VideoSource(video, "a")]}, [old])
    refuse_leak({"val": [VideoSource(video, "a", start=1.0)]}, [old])
