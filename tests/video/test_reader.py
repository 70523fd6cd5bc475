import dataclasses
import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numbered_clips import (
    B_FRAMES,
    HEIGHT,
    OPEN_GOP,
    WIDTH,
    Options,
    encode,
    number_frame,
    read_number,
    remux,
)

from dp3_lightning.video import VIDEO_SUFFIXES, VideoReader, write_video


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return encode(tmp_path / "clip.mp4", options=B_FRAMES)


def assert_exact(path: Path, count: int = 40) -> None:
    reader = VideoReader(path)
    assert len(reader) == count
    order = np.random.default_rng(0).permutation(count)
    assert [read_number(reader[i]) for i in order] == list(order)
    assert [read_number(frame) for frame in reader] == list(range(count))
    assert [read_number(reader.frame(i)) for i in reversed(range(count))] == [*range(count)][::-1]
    assert all(a < b for a, b in itertools.pairwise(reader.pts))


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "options"),
    [
        ("b_frames.mp4", "libx264", "yuv420p", B_FRAMES),
        ("b_frames.mov", "libx264", "yuv420p", B_FRAMES),
        ("open_gop.mkv", "libx264", "yuv420p", OPEN_GOP),
        ("open_gop.mp4", "libx264", "yuv420p", OPEN_GOP),
        ("open_gop.ts", "libx264", "yuv420p", OPEN_GOP),
        ("intra_refresh.mp4", "libx264", "yuv420p", {"x264-params": "intra-refresh=1:keyint=12"}),
        ("program.mpg", "mpeg2video", "yuv420p", {"g": "12", "bf": "2"}),
        ("vp9.webm", "libvpx-vp9", "yuv420p", {"g": "12", "lag-in-frames": "16", "b": "300k"}),
        ("reordered.avi", "mpeg4", "yuv420p", {"g": "12", "bf": "2"}),
        ("reordered_h264.avi", "libx264", "yuv420p", B_FRAMES),
        ("intra.avi", "mjpeg", "yuvj420p", {}),
        ("raw.h264", "libx264", "yuv420p", B_FRAMES),
        ("animated.gif", "gif", "rgb8", {}),
        ("ten_bit.mp4", "libx264", "yuv420p10le", B_FRAMES),
    ],
)
def test_any_access_order_gives_the_frame_asked_for(
    tmp_path: Path, name: str, codec: str, pix_fmt: str, options: Options
) -> None:
    path = encode(tmp_path / name, codec, pix_fmt, options)
    assert_exact(path)
    assert path.suffix in VIDEO_SUFFIXES or name == "raw.h264"


def test_properties(clip: Path) -> None:
    reader = VideoReader(str(clip))
    assert reader.path == clip
    assert reader.size == (HEIGHT, WIDTH)
    assert reader.average_rate == 25
    assert reader.times == [Fraction(i, 25) for i in range(40)]
    assert [pts * reader.time_base for pts in reader.pts] == reader.times
    frame = reader[3]
    assert frame.shape == (HEIGHT, WIDTH, 3)
    assert frame.dtype == np.uint8
    frame[:] = 7
    assert read_number(reader[3]) == 3
    assert read_number(reader[-1]) == 39
    assert [read_number(f) for f in reader.frames(10, 15)] == [10, 11, 12, 13, 14]


def test_bad_indices_name_the_length(clip: Path) -> None:
    reader = VideoReader(clip)
    for index in (40, -41):
        with pytest.raises(IndexError, match="40 frames"):
            reader[index]
    with pytest.raises(IndexError, match="40 frames"):
        reader.frames(30, 41)


def test_reading_forward_does_not_seek(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dp3_lightning.video.decode_run import DecodeRun

    seeks = []
    restart = DecodeRun.restart
    monkeypatch.setattr(
        DecodeRun, "restart", lambda run, key: (seeks.append(key), restart(run, key))
    )
    reader = VideoReader(clip)
    list(reader)
    assert seeks == []
    for index in (26, 27, 29, 29, 35):
        reader[index]
    assert seeks == [2]
    reader[3]
    assert seeks == [2, 0]


def test_variable_frame_rate_keeps_exact_times(tmp_path: Path) -> None:
    steps = [1, 3, 40, 2, 900, 5, 60, 1]
    pts = [0, *itertools.accumulate(steps * 5)][:40]
    frames = [number_frame(i) for i in range(40)]
    path = write_video(
        tmp_path / "vfr.mp4", frames, 25, lossless=True, pts=pts, time_base=Fraction(1, 600)
    )
    assert_exact(path)
    reader = VideoReader(path)
    assert reader.times == [Fraction(p, 600) for p in pts]
    assert reader.average_rate == pytest.approx(39 / (pts[-1] / 600), rel=0.05)


def test_average_rate_follows_the_time_stamps_where_the_header_does_not(tmp_path: Path) -> None:
    frames = [number_frame(i) for i in range(20)]
    path = write_video(
        tmp_path / "vfr.mkv", frames, 25, pts=range(0, 40, 2), time_base=Fraction(1, 10)
    )
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate != 5
    assert VideoReader(path).average_rate == 5


def test_seek_that_lands_late_is_noticed(clip: Path) -> None:
    reader = VideoReader(clip)
    late = [reader.pts[-1]] * len(reader._index.key_seek)
    reader._index = dataclasses.replace(reader._index, key_seek=late)
    assert [read_number(reader[i]) for i in (30, 14, 2)] == [30, 14, 2]


def test_edit_list_hides_frames_before_zero(clip: Path, tmp_path: Path) -> None:
    # Frame duration 512: frames 0 to 4 get negative times, and decoding has to start there.
    path = remux(clip, tmp_path / "cut.mp4", -5 * 512, {"avoid_negative_ts": "disabled"})
    with av.open(str(path)) as container:
        shown = [read_number(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
        assert any(p.is_discard for p in container.demux(video=0)) or len(shown) < 40
    assert 30 < len(shown) < 40
    reader = VideoReader(path)
    assert len(reader) == len(shown)
    assert read_number(reader[2]) == shown[2]
    assert [read_number(reader[i]) for i in reversed(range(len(shown)))] == shown[::-1]


def test_negative_first_time_stamp(clip: Path, tmp_path: Path) -> None:
    path = remux(clip, tmp_path / "negative.ts", -30_000, {"avoid_negative_ts": "disabled"})
    assert VideoReader(path).pts[0] < 0
    assert_exact(path)


def test_close_and_context_manager(clip: Path) -> None:
    with VideoReader(clip) as reader:
        assert read_number(reader[5]) == 5
    assert read_number(reader[6]) == 6
    reader.close()
    reader.close()
