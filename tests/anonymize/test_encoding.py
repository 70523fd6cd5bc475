"""What a source has and a target must keep, or be refused before anything is rendered."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from dp3_lightning.structures import Detection, UInt8Array
from dp3_lightning.video import VideoReader
from dp3_lightning.video.color import ColorTags, rgb_to_picture
from tests.anonymize.anonymize_fixtures import (
    SquareDetector,
    decoded,
    draw_frames,
    leftovers,
    moving,
    painted_pixels,
    run,
)

Picture = Callable[[UInt8Array], av.VideoFrame]
SECRET = (10, 200, 30)


def of_rgb(frame: UInt8Array) -> av.VideoFrame:
    """4:2:0 keeps the checks of a painted face only when chroma is averaged."""
    picture = rgb_to_picture(VideoReformatter(), frame, "yuv420p", ColorTags(matrix=6))
    picture.colorspace = 5
    return picture


def in_full(frame: UInt8Array) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(frame)


def write(
    path: Path,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    *,
    make: Picture = of_rgb,
    aspect: Fraction | None = None,
    rotation: int | None = None,
    options: dict[str, str] | None = None,
    count: int = 12,
    sound: str | None = None,
) -> Path:
    """A clip with a painted face, of any kind."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            codec, rate=25, options={"g": "6", "crf": "4"} | (options or {})
        )
        frames = draw_frames(moving(count))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation is not None:
            stream.set_display_rotation(rotation)
        tone = None if sound is None else container.add_stream(sound, rate=48000, layout="mono")
        for frame in frames:
            container.mux(stream.encode(make(frame).reformat(format=pix_fmt)))
        container.mux(stream.encode(None))
        if tone is not None:
            kind = tone.codec_context.format.name
            for start in range(0, 24000, tone.codec_context.frame_size or 1024):
                silence = np.zeros((1, tone.codec_context.frame_size or 1024), np.int16)
                block = av.AudioFrame.from_ndarray(silence, "s16", "mono")
                block.sample_rate, block.pts = 48000, start
                block = av.AudioResampler(kind, "mono", 48000).resample(block)[0]
                container.mux(tone.encode(block))
            container.mux(tone.encode(None))
    return path


class NeverAsked(SquareDetector):
    def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
        raise AssertionError("the refusal comes before any work")


def refused(source: Path, output: Path, match: str, **options: Any) -> None:
    with pytest.raises(ValueError, match=match):
        run(source, output, detector=NeverAsked(), **options)
    assert not output.exists()
    assert leftovers(output.parent) == []


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.ts", "a.avi"])
@pytest.mark.parametrize("rotation", [None, 90, 180])
def test_shape_of_pixels_is_kept(tmp_path: Path, name: str, rotation: int | None) -> None:
    if rotation is not None and not name.endswith((".mp4", ".mov")):
        return
    source = write(tmp_path / name, aspect=Fraction(15, 16), rotation=rotation)
    run(source, tmp_path / f"out_{name}")
    made = VideoReader(tmp_path / f"out_{name}")
    assert made.size == VideoReader(source).size
    expected = Fraction(16, 15) if rotation == 90 else Fraction(15, 16)
    assert made.pixel_aspect == expected
    with av.open(str(made.path)) as container:
        assert container.streams.video[0].sample_aspect_ratio == expected


def test_shape_of_pixels_that_the_target_loses_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", aspect=Fraction(3, 2))
    for name in ("out.webm", "out.gif"):
        refused(source, tmp_path / name, "squeezed picture.*mp4")


@pytest.mark.parametrize("first", ["tff", "bff"])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_interlaced_video_stays_interlaced(tmp_path: Path, first: str, name: str) -> None:
    source = write(tmp_path / name, options={"x264-params": f"{first}=1"})
    assert VideoReader(source).fields == {"tff": "top", "bff": "bottom"}[first]
    run(source, tmp_path / f"out_{name}")
    made = VideoReader(tmp_path / f"out_{name}")
    assert made.fields == VideoReader(source).fields
    with av.open(str(made.path)) as container:
        assert all(frame.interlaced_frame for frame in container.decode(video=0))
    assert not any(painted_pixels(frame).any() for frame in made)


def test_interlaced_video_for_other_encoders_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", options={"x264-params": "tff=1"})
    refused(source, tmp_path / "out.webm", "interlaced.*bwdif")
    refused(source, tmp_path / "out.gif", "interlaced.*bwdif")


def half_erased(frame: UInt8Array) -> av.VideoFrame:
    """The right half is invisible, and shows a colour to those who drop the transparency."""
    rgba = np.dstack([frame, np.full(frame.shape[:2], 255, np.uint8)])
    rgba[:, frame.shape[1] // 2 :] = (*SECRET, 0)
    return av.VideoFrame.from_ndarray(rgba, format="rgba")


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mov", "qtrle", "argb"),
        ("a.mov", "png", "rgba"),
        ("a.mov", "prores_ks", "yuva444p10le"),
        ("a.mkv", "ffv1", "yuva420p"),
    ],
)
def test_what_a_video_hides_stays_hidden(
    tmp_path: Path, name: str, codec: str, pix_fmt: str
) -> None:
    source = write(tmp_path / name, codec, pix_fmt, make=half_erased)
    outcome = run(source, tmp_path / "out.mp4", deep_color="convert")
    for frame in decoded(tmp_path / "out.mp4"):
        right = frame[4:-4, frame.shape[1] // 2 + 4 :].astype(int)
        assert np.abs(right - 255).max() < 12
    assert any("white" in note for note in outcome.notes)


@pytest.mark.parametrize("name", ["a.webm", "a.mkv"])
def test_transparency_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    source = write(tmp_path / name, "libvpx-vp9", "yuva420p", make=half_erased)
    refused(source, tmp_path / "out.mp4", "transparency.*fill it first")


def test_colours_of_rgb_video_keep_their_resolution(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mkv", "libx264rgb", "rgb24", make=in_full, options={"qp": "0"})
    run(source, tmp_path / "out.mp4")
    assert VideoReader(tmp_path / "out.mp4").pixel_format == "yuv444p"


def test_colours_at_half_resolution_are_told(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mkv", "libx264rgb", "rgb24", make=in_full, options={"qp": "0"})
    outcome = run(source, tmp_path / "out.mkv", codec="mpeg4", encoder_options={"b": "4000000"})
    assert any("half resolution" in note for note in outcome.notes)


@pytest.mark.parametrize(
    ("source", "codec", "sound", "output"),
    [
        ("a.mkv", "libx264", "pcm_s24le", "out.webm"),
        ("a.mp4", "libx264", "aac", "out.webm"),
        ("a.mkv", "libx264", "flac", "out.ts"),
    ],
)
def test_sound_that_does_not_fit_is_found_first(
    tmp_path: Path, source: str, codec: str, sound: str, output: str
) -> None:
    clip = write(tmp_path / source, codec, sound=sound)
    refused(clip, tmp_path / output, "cannot hold|other sound", audio="copy")


@pytest.mark.parametrize("name", ["out.mpg", "out.mpeg", "out.vob"])
def test_target_that_does_not_hold_the_encoder_is_found_first(tmp_path: Path, name: str) -> None:
    source = write(tmp_path / "a.mpg", "mpeg2video")
    refused(source, tmp_path / name, "mp4")


def test_encoder_that_does_not_start_is_found_first(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4")
    refused(source, tmp_path / "out.mp4", "libx264", codec="nonsense")


@pytest.mark.parametrize("name", ["a.ts", "a.mts", "a.m2ts"])
def test_joined_recordings_with_sound_play_on(tmp_path: Path, name: str) -> None:
    part = write(tmp_path / name, sound="mp2")
    source = tmp_path / f"joined_{name}"
    source.write_bytes(part.read_bytes() * 2)
    run(source, tmp_path / "out.mkv", audio="copy")
    made = VideoReader(tmp_path / "out.mkv")
    assert len(made) == 24
    assert not any(painted_pixels(frame).any() for frame in made)
    steps = [float(b - a) for a, b in pairwise(made.times)]
    np.testing.assert_allclose(steps, 0.04, atol=0.002)
    with av.open(str(made.path)) as container:
        times = [float(p.pts * p.time_base) for p in container.demux(audio=0) if p.size]
    assert times[-1] - times[0] > 0.9


@pytest.mark.filterwarnings("ignore:.*is damaged")
def test_damaged_stretch_shows_the_last_safe_frame(tmp_path: Path) -> None:
    noisy = np.random.default_rng(1).integers(-25, 25, (24, 64, 96, 1))

    def grainy(frame: UInt8Array) -> av.VideoFrame:
        grain = noisy[int(frame[4, 4, 0]) // 5]
        mixed = np.where(painted_pixels(frame)[..., None], frame, frame + grain)
        return of_rgb(np.clip(mixed, 0, 255).astype(np.uint8))

    options = {"x264-params": "keyint=8:min-keyint=8:scenecut=0:bframes=0", "crf": "12"}
    source = write(tmp_path / "a.mp4", make=grainy, options=options, count=24)
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        at = packets[10].pos + packets[10].size // 4
    for offset in range(200):
        data[at + offset] ^= offset % 255 + 1
    damaged = tmp_path / "b.mp4"
    damaged.write_bytes(data)
    outcome = run(damaged, tmp_path / "out.mp4")
    assert outcome.repeated
    assert outcome.repeated == list(range(outcome.repeated[0], 16))
    frames = decoded(tmp_path / "out.mp4")
    assert len(frames) == 24
    last = frames[outcome.repeated[0] - 1].astype(int)
    for index in outcome.repeated:
        assert np.abs(frames[index].astype(int) - last).mean() < 3
    assert not any(painted_pixels(frame).any() for frame in frames)
