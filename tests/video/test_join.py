from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from numbered_clips import B_FRAMES, number_frame, read_number

from dp3_lightning.structures import FloatArray
from dp3_lightning.video import VideoReader, write_video
from dp3_lightning.video.join import join_stretches

COUNT = 30
BASE = Fraction(1, 90000)
CUTS = [0, 7, 8, 21, COUNT]  # one of a single picture; groups of pictures end elsewhere
SECRETS = ("SECRET", "+59.9139")


def variable_rate(first: int = 1800) -> list[int]:
    """Time stamps 1 to 80 ms apart."""
    steps = np.random.default_rng(0).integers(90, 7200, COUNT - 1)
    return [first, *(first + np.cumsum(steps)).tolist()]


def stretches(
    folder: Path,
    pts: Sequence[int],
    base: Fraction = BASE,
    cuts: Sequence[int] = CUTS,
    codec: str = "libx264",
    suffix: str = ".nut",
) -> list[Path]:
    options = B_FRAMES if codec == "libx264" else {}
    return [
        write_video(
            folder / f"stretch-{start}{suffix}",
            (number_frame(i) for i in range(start, stop)),
            25,
            codec=codec,
            pts=pts[start:stop],
            time_base=base,
            encoder_options=options,
        )
        for start, stop in pairwise(cuts)
    ]


def source(path: Path, codec: str = "aac", seconds: float = 2.0, n_sounds: int = 1) -> Path:
    """A video with sound, and with everything that may tell where and of whom it is."""
    subtitles = path.with_suffix(".srt")
    subtitles.write_text("1\n00:00:00,100 --> 00:00:00,900\nSECRET WORDS\n\n")
    with av.open(str(path), "w") as container, av.open(str(subtitles)) as words:
        container.metadata.update({"title": "SECRET TITLE", "location": "+59.9139+010.7522/"})
        pictures = container.add_stream("libx264", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        pictures.metadata["title"] = "SECRET TRACK"
        sounds = [container.add_stream(codec, rate=48000, layout="mono") for _ in range(n_sounds)]
        for sound in sounds:
            sound.metadata["title"] = "SECRET SOUND"
        matroska = path.suffix == ".mkv"
        if matroska:
            written = container.add_stream_from_template(words.streams.subtitles[0])
            container.add_attachment("SECRET.txt", "text/plain", b"SECRET FILE")
            chapter = {"title": "SECRET CHAPTER"}
            container.set_chapters(
                [{"id": 1, "start": 0, "end": 900, "time_base": Fraction(1, 1000),
                  "metadata": chapter}]
            )  # fmt: skip
        for i in range(3):
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(number_frame(i))))
        container.mux(pictures.encode(None))
        if matroska:
            for packet in words.demux(subtitles=0):
                if packet.size:
                    packet.stream = written
                    container.mux(packet)
        for number, sound in enumerate(sounds):
            noise = np.random.default_rng(number).normal(0, 3000, int(seconds * 48000))
            samples = noise.astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 48000, 0
            container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return path


def sound_bytes(path: Path, number: int = 0) -> bytes:
    with av.open(str(path)) as container:
        return b"".join(bytes(packet) for packet in container.demux(audio=number))


def sound_times(path: Path, number: int = 0) -> list[Fraction]:
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(audio=number) if packet.size]
        return [packet.pts * packet.time_base for packet in packets]


def samples_of(path: Path) -> FloatArray:
    """What is heard: encoders lead in before time 0, which containers hide in different ways."""
    with av.open(str(path)) as container:
        frames = [frame for frame in container.decode(audio=0) if frame.pts >= 0]
        parts = [frame.to_ndarray()[0] for frame in frames]
    return np.concatenate(parts).astype(np.float64)


def numbers(path: Path) -> list[int]:
    return [read_number(frame) for frame in VideoReader(path)]


# ---------------------------------------------------------------------- pictures


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
@pytest.mark.parametrize("cuts", [[0, COUNT], CUTS, list(range(COUNT + 1))])
def test_pictures_keep_their_order_and_their_times(
    tmp_path: Path, name: str, cuts: list[int]
) -> None:
    pts = variable_rate()
    parts = stretches(tmp_path, pts, cuts=cuts)
    path = join_stretches(tmp_path / name, parts, pts, BASE)
    assert path == tmp_path / name
    reader = VideoReader(path)
    assert numbers(path) == list(range(COUNT))
    allowed = Fraction(1, 1000) if name == "a.mkv" else 0
    for time, stamp in zip(reader.times, pts, strict=True):
        assert abs(time - stamp * BASE) <= allowed


def test_pictures_are_copied_not_encoded_again(tmp_path: Path) -> None:
    pts = variable_rate()
    parts = stretches(tmp_path, pts)
    path = join_stretches(tmp_path / "a.mp4", parts, pts, BASE)
    single = [frame for part in parts for frame in VideoReader(part)]
    assert np.array_equal(np.stack(list(VideoReader(path))), np.stack(single))


def test_stretches_do_hold_reordered_pictures(tmp_path: Path) -> None:
    (part,) = stretches(tmp_path, variable_rate(), cuts=[0, COUNT])
    with av.open(str(part)) as container:
        order = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert order != sorted(order)


def test_decoding_times_increase_and_are_not_after_showing(tmp_path: Path) -> None:
    pts = variable_rate()
    path = join_stretches(tmp_path / "a.mp4", stretches(tmp_path, pts), pts, BASE)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert all(a.dts < b.dts for a, b in pairwise(packets))
    assert all(packet.dts <= packet.pts for packet in packets)


@pytest.mark.parametrize("index", [0, 6, 7, 8, 20, 21, 29])
def test_any_picture_can_be_sought(tmp_path: Path, index: int) -> None:
    pts = variable_rate()
    path = join_stretches(tmp_path / "a.mp4", stretches(tmp_path, pts), pts, BASE)
    assert read_number(VideoReader(path)[index]) == index


@pytest.mark.parametrize(
    ("base", "step"),
    [
        (Fraction(1, 25), 1),
        (Fraction(1001, 30000), 1),
        (Fraction(1, 600), 20),
        (Fraction(1, 1000), 7),
    ],
)
def test_units_of_time(tmp_path: Path, base: Fraction, step: int) -> None:
    pts = [step * i for i in range(COUNT)]
    path = join_stretches(tmp_path / "a.mp4", stretches(tmp_path, pts, base), pts, base)
    assert VideoReader(path).times == [stamp * base for stamp in pts]


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
@pytest.mark.parametrize("with_sound", [False, True])
def test_a_late_beginning_is_kept(tmp_path: Path, name: str, with_sound: bool) -> None:
    pts = variable_rate(first=45000)
    sound = source(tmp_path / "source.mp4") if with_sound else None
    path = join_stretches(tmp_path / name, stretches(tmp_path, pts), pts, BASE, sound)
    assert VideoReader(path).times[0] == Fraction(1, 2)


@pytest.mark.parametrize(
    ("codec", "name"), [("libx265", "a.mp4"), ("libvpx-vp9", "a.webm"), ("ffv1", "a.mkv")]
)
def test_other_codecs(tmp_path: Path, codec: str, name: str) -> None:
    pts = [40 * i for i in range(COUNT)]
    parts = stretches(tmp_path, pts, Fraction(1, 1000), codec=codec)
    path = join_stretches(tmp_path / name, parts, pts, Fraction(1, 1000))
    assert numbers(path) == list(range(COUNT))
    assert VideoReader(path).times == [Fraction(stamp, 1000) for stamp in pts]


def test_a_single_picture(tmp_path: Path) -> None:
    part = write_video(tmp_path / "one.nut", [number_frame(9)], 25)
    path = join_stretches(tmp_path / "a.mp4", [part], [0], Fraction(1, 25))
    assert numbers(path) == [9]


# ---------------------------------------------------------------------- sound


@pytest.mark.parametrize(
    ("codec", "origin", "name"),
    [
        ("aac", "source.mp4", "a.mp4"),
        ("aac", "source.mp4", "a.mkv"),
        ("aac", "source.mkv", "a.mov"),
        ("flac", "source.mkv", "a.mp4"),
        ("pcm_s16le", "source.mkv", "a.mov"),
        ("pcm_s16le", "source.mov", "a.mkv"),
        ("libopus", "source.mkv", "a.mkv"),
    ],
)
def test_sound_is_copied_byte_by_byte(tmp_path: Path, codec: str, origin: str, name: str) -> None:
    sound = source(tmp_path / origin, codec)
    pts = [40 * i for i in range(COUNT)]  # 1.2 s of pictures, 2 s of sound
    parts = stretches(tmp_path, pts, Fraction(1, 1000))
    path = join_stretches(tmp_path / name, parts, pts, Fraction(1, 1000), sound)
    assert len(sound_bytes(path)) > 1000
    assert sound_bytes(path) == sound_bytes(sound)
    assert abs(sound_times(path)[0] - sound_times(sound)[0]) <= Fraction(1, 1000)
    heard, original = samples_of(path), samples_of(sound)
    assert np.array_equal(heard[: len(original)], original[: len(heard)])
    assert abs(len(heard) - len(original)) <= 1024
    assert numbers(path) == list(range(COUNT))
    assert VideoReader(path).times == [Fraction(stamp, 1000) for stamp in pts]


@pytest.mark.parametrize("seconds", [0.3, 1.2, 5.0])
def test_sound_may_be_shorter_or_longer_than_the_pictures(tmp_path: Path, seconds: float) -> None:
    sound = source(tmp_path / "source.mp4", seconds=seconds)
    pts = variable_rate()
    path = join_stretches(tmp_path / "a.mp4", stretches(tmp_path, pts), pts, BASE, sound)
    assert sound_bytes(path) == sound_bytes(sound)
    assert sound_times(path) == sound_times(sound)
    assert numbers(path) == list(range(COUNT))


def test_every_sound_is_copied(tmp_path: Path) -> None:
    sound = source(tmp_path / "source.mp4", n_sounds=3)
    assert len({sound_bytes(sound, i) for i in range(3)}) == 3
    pts = variable_rate()
    path = join_stretches(tmp_path / "a.mp4", stretches(tmp_path, pts), pts, BASE, sound)
    for i in range(3):
        assert sound_bytes(path, i) == sound_bytes(sound, i)


def test_sound_lies_beside_its_pictures_in_the_file(tmp_path: Path) -> None:
    pts = [40 * i for i in range(COUNT)]
    parts = stretches(tmp_path, pts, Fraction(1, 1000))
    sound = source(tmp_path / "source.mp4")
    path = join_stretches(tmp_path / "a.mp4", parts, pts, Fraction(1, 1000), sound)
    with av.open(str(path)) as container:
        places = [(p.pos, p.stream.type) for p in container.demux() if p.size]
    kinds = [kind for _, kind in sorted(places)]
    assert sum(a != b for a, b in pairwise(kinds)) > 20


def test_a_silent_source_gives_a_silent_file(tmp_path: Path) -> None:
    pts = variable_rate()
    parts = stretches(tmp_path, pts)
    silent = write_video(tmp_path / "silent.mp4", [number_frame(0)], 25)
    path = join_stretches(tmp_path / "a.mp4", parts, pts, BASE, silent)
    with av.open(str(path)) as container:
        assert [stream.type for stream in container.streams] == ["video"]


@pytest.mark.parametrize("with_sound", [False, True])
@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
def test_nothing_else_of_the_source_gets_into_the_file(
    tmp_path: Path, name: str, with_sound: bool
) -> None:
    origin = source(tmp_path / "source.mkv")
    assert all(secret.encode() in origin.read_bytes() for secret in SECRETS)
    with av.open(str(origin)) as container:
        kinds = [stream.type for stream in container.streams]
        assert sorted(kinds) == ["attachment", "audio", "subtitle", "video"]
        assert container.chapters()
    pts = variable_rate()
    parts = stretches(tmp_path, pts)
    path = join_stretches(tmp_path / name, parts, pts, BASE, origin if with_sound else None)
    with av.open(str(path)) as container:
        kinds = [stream.type for stream in container.streams]
        assert kinds == ["video", "audio"][: 1 + with_sound]
        assert not container.chapters()
        said = {key.lower() for key in container.metadata}
        assert not said & {"title", "location", "creation_time"}
        assert container.metadata.get("encoder", "Lavf") == "Lavf"  # not its version
    assert not any(secret.encode() in path.read_bytes() for secret in SECRETS)


def test_the_same_parts_give_the_same_file(tmp_path: Path) -> None:
    pts = variable_rate()
    parts = stretches(tmp_path, pts)
    sound = source(tmp_path / "source.mp4")
    for suffix in (".mp4", ".mkv"):
        first = join_stretches(tmp_path / f"a{suffix}", parts, pts, BASE, sound).read_bytes()
        again = join_stretches(tmp_path / f"b{suffix}", parts, pts, BASE, sound).read_bytes()
        assert first == again


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize("change", [-1, 1])
def test_one_time_stamp_per_picture(tmp_path: Path, change: int) -> None:
    pts = variable_rate()
    parts = stretches(tmp_path, pts)
    wrong = pts[:-1] if change < 0 else [*pts, pts[-1] + 3000]
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=rf"one `pts` per picture, got {COUNT + change} for 30"):
        join_stretches(tmp_path / "a.mp4", parts, wrong, BASE)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("codec", "origin", "name"),
    [
        ("libopus", "source.mkv", "a.mov"),
        ("flac", "source.mkv", "a.mov"),
    ],
)
def test_a_container_that_cannot_hold_the_sound(
    tmp_path: Path, codec: str, origin: str, name: str
) -> None:
    sound = source(tmp_path / origin, codec, seconds=0.2)
    pts = variable_rate()
    parts = stretches(tmp_path, pts)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=rf"{name[1:]} file.*\.mkv.*leave the sound out"):
        join_stretches(tmp_path / name, parts, pts, BASE, sound)
    assert sorted(tmp_path.iterdir()) == before


def test_failure_keeps_the_old_file(tmp_path: Path) -> None:
    pts = variable_rate()
    parts = stretches(tmp_path, pts)
    path = join_stretches(tmp_path / "a.mp4", parts, pts, BASE)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="one `pts`"):
        join_stretches(path, parts, pts[:-1], BASE)
    assert path.read_bytes() == before
    join_stretches(path, parts[:2], pts[:8], BASE)
    assert numbers(path) == list(range(8))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("first", [1, 31, 1000])
@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
def test_times_are_exact_whatever_the_first(tmp_path: Path, name: str, first: int) -> None:
    pts = variable_rate(first)
    path = join_stretches(tmp_path / name, stretches(tmp_path, pts), pts, BASE)
    assert VideoReader(path).times == [stamp * BASE for stamp in pts]


@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
def test_times_of_the_stretches_themselves_do_not_count(tmp_path: Path, name: str) -> None:
    parts = stretches(tmp_path, list(range(COUNT)), Fraction(1, 25), suffix=".mp4")
    pts = [1800 + 3003 * i for i in range(COUNT)]
    path = join_stretches(tmp_path / name, parts, pts, BASE)
    assert VideoReader(path).times == [stamp * BASE for stamp in pts]


@pytest.mark.parametrize("count", [4, 10, COUNT])
@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
def test_length_and_rate_are_those_of_the_pictures(tmp_path: Path, name: str, count: int) -> None:
    pts = [3600 * i for i in range(count)]
    parts = stretches(tmp_path, pts, cuts=[0, count])
    path = join_stretches(tmp_path / name, parts, pts, BASE)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.duration * stream.time_base == Fraction(count, 25)
        assert stream.average_rate == 25
        assert container.duration == count * 40000


@pytest.mark.parametrize(("codec", "origin"), [("pcm_s16le", "source.mov"), ("aac", "source.mp4")])
def test_webm_says_what_to_do_about_sound(tmp_path: Path, codec: str, origin: str) -> None:
    sound = source(tmp_path / origin, codec, seconds=0.2)
    pts = [40 * i for i in range(4)]
    parts = stretches(tmp_path, pts, Fraction(1, 1000), [0, 4], "libvpx-vp9")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"webm file.*\.mkv.*leave the sound out"):
        join_stretches(tmp_path / "a.webm", parts, pts, Fraction(1, 1000), sound)
    assert sorted(tmp_path.iterdir()) == before
