from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numbered_clips import number_frame
from PIL import Image

from dp3_lightning.structures import UInt8Array
from dp3_lightning.video import VideoReader, write_video
from dp3_lightning.video.gif import write_gif


def moving(count: int) -> list[UInt8Array]:
    y, x = np.mgrid[0:48, 0:64]
    planes = [[3 * x + 9 * i, 4 * y, x + y + 5 * i] for i in range(count)]
    return [np.stack(p, axis=-1).clip(0, 255).astype(np.uint8) for p in planes]


def stretches(folder: Path, frames: list[UInt8Array], cut: int) -> list[Path]:
    parts = [frames[:cut], frames[cut:]]
    return [
        write_video(folder / f"{i}.nut", part, 10, lossless=True)
        for i, part in enumerate(parts)
        if part
    ]


@pytest.mark.parametrize("cut", [1, 3, 7])
def test_pictures_and_their_order(tmp_path: Path, cut: int) -> None:
    frames = moving(7)
    times = [Fraction(i, 10) for i in range(7)]
    path = write_gif(tmp_path / "a.gif", stretches(tmp_path, frames, cut), times)
    assert path == tmp_path / "a.gif"
    read = list(VideoReader(path))
    assert len(read) == 7
    for i, frame in enumerate(read):
        assert frame.shape == (48, 64, 3)
        distances = [np.abs(frame.astype(int) - other).mean() for other in frames]
        assert int(np.argmin(distances)) == i
        assert distances[i] < 4  # 256 colours


def lengths(path: Path) -> list[int]:
    """How long each frame is shown, in milliseconds."""
    with Image.open(path) as gif:
        found = []
        for i in range(gif.n_frames):
            gif.seek(i)
            found.append(gif.info["duration"])
        return found


def test_times_are_rounded_without_drift(tmp_path: Path) -> None:
    times = [Fraction(1001 * n, 30000) for n in range(30)]
    path = write_gif(tmp_path / "a.gif", stretches(tmp_path, moving(30), 11), times)
    shown = VideoReader(path).times
    assert len(shown) == 30
    for time, wanted in zip(shown, times, strict=True):
        assert abs(time - wanted) <= Fraction(1, 200)


def test_variable_rate_and_a_late_beginning(tmp_path: Path) -> None:
    times = [Fraction(500 + n, 100) for n in (0, 3, 50, 51, 70, 90)]
    path = write_gif(tmp_path / "a.gif", stretches(tmp_path, moving(6), 2), times)
    assert lengths(path) == [30, 470, 10, 190, 200, 200]  # the last as long as the one before


def test_frames_closer_than_a_hundredth_are_all_shown(tmp_path: Path) -> None:
    times = [Fraction(n, 240) for n in range(6)]
    path = write_gif(tmp_path / "a.gif", stretches(tmp_path, moving(6), 3), times)
    assert len(VideoReader(path)) == 6
    assert min(lengths(path)) >= 10


def test_a_single_picture(tmp_path: Path) -> None:
    path = write_gif(tmp_path / "a.gif", stretches(tmp_path, moving(1), 1), [Fraction(0)])
    assert len(VideoReader(path)) == 1


def test_it_repeats_for_ever(tmp_path: Path) -> None:
    times = [Fraction(i, 10) for i in range(3)]
    path = write_gif(tmp_path / "a.gif", stretches(tmp_path, moving(3), 1), times)
    with Image.open(path) as gif:
        assert gif.info["loop"] == 0


def test_failure_keeps_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    parts = stretches(tmp_path, moving(4), 2)
    times = [Fraction(i, 10) for i in range(4)]
    path = write_gif(tmp_path / "a.gif", parts, times)
    before = path.read_bytes()
    with pytest.raises(FileNotFoundError):
        write_gif(path, [*parts, tmp_path / "absent.nut"], times)
    assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == sorted([path, *parts])


@pytest.mark.parametrize("still", [range(6), range(2, 4)])
def test_pictures_that_repeat_are_all_there(tmp_path: Path, still: range) -> None:
    frames = [number_frame(still[0] if i in still else i) for i in range(6)]
    part = write_video(tmp_path / "0.nut", frames, 10, lossless=True)
    path = write_gif(tmp_path / "a.gif", [part], [Fraction(i, 10) for i in range(6)])
    assert len(VideoReader(path)) == 6
