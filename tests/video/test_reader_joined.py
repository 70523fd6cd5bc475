"""Recordings that were joined end to end: their time stamps start again."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from numbered_clips import B_FRAMES, encode, read_number

from dp3_lightning.video import VideoReader, join_stretches
from dp3_lightning.video.join import check_sound_times


def joined(target: Path, *parts: Path) -> Path:
    target.write_bytes(b"".join(part.read_bytes() for part in parts))
    return target


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.ts", "libx264"), ("a.ts", "mpeg2video"), ("a.mpg", "mpeg2video"), ("a.ts", "libx265")],
)
def test_parts_follow_each_other(tmp_path: Path, name: str, codec: str) -> None:
    options = B_FRAMES if codec == "libx264" else {}
    part = encode(tmp_path / name, codec, options=options)
    reader = VideoReader(joined(tmp_path / f"b_{name}", part, part, part))
    assert len(reader) == 120
    assert [read_number(frame) for frame in reader] == [*range(40)] * 3
    assert {b - a for a, b in pairwise(reader.times)} == {Fraction(1, 25)}
    assert reader.average_rate == 25
    assert reader.shifts == (0, Fraction(8, 5), Fraction(16, 5))
    assert read_number(reader[75]) == 35


def test_parts_of_different_length_that_share_no_time_stamp(tmp_path: Path) -> None:
    first = encode(tmp_path / "a.ts", options=B_FRAMES)
    options = {"x264-params": "keyint=5:min-keyint=5:scenecut=0"}
    second = tmp_path / "b.ts"
    short = encode(tmp_path / "b.mp4", options=options, count=9)
    with av.open(str(short)) as old, av.open(str(second), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size:
                packet.pts, packet.dts = packet.pts + 177, packet.dts + 177
                packet.stream = stream
                new.mux(packet)
    reader = VideoReader(joined(tmp_path / "c.ts", first, second))
    assert [read_number(frame) for frame in reader] == [*range(40), *range(9)]
    steps = [b - a for a, b in pairwise(reader.times)]
    assert max(steps) == min(steps) == Fraction(1, 25)


def test_whole_recordings_have_one_part(tmp_path: Path) -> None:
    reader = VideoReader(encode(tmp_path / "a.ts", options=B_FRAMES))
    assert reader.shifts == (0,)


def with_tone(path: Path, seconds: float, codec: str = "mp2") -> Path:
    """Forty numbered frames and a sound of some length."""
    video = encode(path.with_suffix(".mp4"), options=B_FRAMES)
    with av.open(str(video)) as old, av.open(str(path), "w") as new:
        pictures = new.add_stream_from_template(old.streams.video[0])
        tone = new.add_stream(codec, rate=48000, layout="mono")
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = pictures
                new.mux(packet)
        samples = tone.codec_context.frame_size or 1152
        for start in range(0, int(seconds * 48000), samples):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, samples), np.int16), "s16", "mono")
            frame.sample_rate, frame.pts = 48000, start
            new.mux(tone.encode(frame))
        new.mux(tone.encode(None))
    return path


@pytest.mark.parametrize("seconds", [1.4, 1.6, 2.1])
def test_sound_goes_on_beside_its_pictures(tmp_path: Path, seconds: float) -> None:
    part = with_tone(tmp_path / "a.ts", seconds)
    source = joined(tmp_path / "b.ts", part, part)
    reader = VideoReader(source)
    pictures = encode(tmp_path / "p.nut", pictures=[av.VideoFrame(64, 48, "yuv420p")] * 80)
    out = join_stretches(
        tmp_path / "out.mkv", [pictures], reader.pts, reader.time_base, source, reader.shifts
    )
    with av.open(str(out)) as container:
        times = [float(p.pts * p.time_base) for p in container.demux(audio=0) if p.size]
    start = float(reader.times[0])
    assert all(a < b for a, b in pairwise(times))
    assert times[-1] - start == pytest.approx(1.6 + seconds, abs=0.1)
    # The second part's sound starts with its pictures, or where the first part's longer one ends.
    later = [time for time in times if time - start > max(1.55, seconds - 0.05)]
    assert later[0] - start == pytest.approx(max(1.6, seconds), abs=0.06)


def test_sound_that_starts_again_alone_is_refused(tmp_path: Path) -> None:
    part = with_tone(tmp_path / "a.ts", 1.6)
    source = joined(tmp_path / "b.ts", part, part)
    with pytest.raises(ValueError, match="--audio drop"):
        check_sound_times(source, (Fraction(0),))
    check_sound_times(source, VideoReader(source).shifts)
