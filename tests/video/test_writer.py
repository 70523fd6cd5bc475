import os
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from numbered_clips import number_frame

from dp3_lightning.structures import UInt8Array
from dp3_lightning.video import VideoReader, write_video


def noise(count: int = 6, height: int = 48, width: int = 64, seed: int = 0) -> list[UInt8Array]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8))


def smooth(count: int = 6, height: int = 48, width: int = 64) -> list[UInt8Array]:
    """Slow colour gradients, which lossy coding keeps within a few levels."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    planes = [40 + 2 * x, 200 - 3 * y, 60 + x + y]
    return [np.stack(planes, -1).astype(np.uint8) + np.uint8(i) for i in range(count)]


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.avi"])
@pytest.mark.parametrize("size", [(48, 64), (47, 61)])
def test_lossless_keeps_every_bit(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    frames = noise(6, *size)
    path = write_video(tmp_path / name, iter(frames), 25, lossless=True)
    assert path == tmp_path / name
    assert np.array_equal(np.stack(list(VideoReader(path))), np.stack(frames))


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.webm", "libvpx-vp9"), ("a.mkv", "ffv1")]
)
@pytest.mark.parametrize(("size", "pix_fmt"), [((48, 64), "yuv420p"), ((47, 61), "yuv444p")])
def test_lossy_video_looks_alike(
    tmp_path: Path, name: str, codec: str, size: tuple[int, int], pix_fmt: str
) -> None:
    frames = smooth(6, *size)
    path = write_video(tmp_path / name, frames, 25, codec=codec, crf=10)
    with av.open(str(path)) as container:
        assert container.streams.video[0].pix_fmt == pix_fmt
    read = np.stack(list(VideoReader(path))).astype(int)
    assert read.shape == (6, *size, 3)
    assert np.abs(read - np.stack(frames)).mean() < 3


def test_tags_and_conversion_are_bt709(tmp_path: Path) -> None:
    green = np.full((48, 64, 3), (0, 255, 0), np.uint8)
    path = write_video(tmp_path / "a.mp4", [green], 25, crf=1)
    with av.open(str(path)) as container:
        picture = next(container.decode(video=0))
    assert picture.colorspace == Colorspace.ITU709
    assert picture.color_range == ColorRange.MPEG
    assert (picture.color_primaries, picture.color_trc) == (1, 1)
    # BT.709: Y = 16 + 219 * 0.7152; BT.601 would give 145.
    assert abs(np.frombuffer(bytes(picture.planes[0]), np.uint8)[0] - 173) <= 1


def test_reading_and_writing_again_does_not_drift(tmp_path: Path) -> None:
    first = write_video(tmp_path / "a.mkv", noise(), 25, codec="ffv1")
    frames = list(VideoReader(first))
    second = write_video(tmp_path / "b.mkv", frames, 25, codec="ffv1")
    drift = np.abs(np.stack(list(VideoReader(second))).astype(int) - np.stack(frames))
    # Noise leaves the gamut and is clipped there; the rest comes back as it was.
    assert (drift == 0).mean() > 0.5
    third = write_video(tmp_path / "c.mkv", smooth(), 25, codec="ffv1")
    frames = list(VideoReader(third))
    fourth = write_video(tmp_path / "d.mkv", frames, 25, codec="ffv1")
    assert np.array_equal(np.stack(list(VideoReader(fourth))), np.stack(frames))


@pytest.mark.parametrize(
    ("rate", "exact"),
    [(25, Fraction(25)), (Fraction(30000, 1001), Fraction(30000, 1001)), (12.5, Fraction(25, 2))],
)
def test_rate(tmp_path: Path, rate: Any, exact: Fraction) -> None:
    reader = VideoReader(write_video(tmp_path / "a.mp4", noise(), rate, lossless=True))
    assert reader.average_rate == exact
    assert reader.times == [i / exact for i in range(6)]


def test_float_rate_means_the_ntsc_fraction(tmp_path: Path) -> None:
    reader = VideoReader(write_video(tmp_path / "a.mp4", noise(), 30000 / 1001, lossless=True))
    assert reader.average_rate == Fraction(30000, 1001)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_bad_rate(tmp_path: Path, rate: Any) -> None:
    with pytest.raises(ValueError, match="positive `rate`"):
        write_video(tmp_path / "a.mp4", noise(), rate)


def test_explicit_time_stamps(tmp_path: Path) -> None:
    pts = [30, 31, 100, 1000, 1001, 9000]
    path = write_video(tmp_path / "a.mp4", noise(), 25, pts=pts, time_base=Fraction(1, 3000))
    assert VideoReader(path).times == [Fraction(p, 3000) for p in pts]


@pytest.mark.parametrize(
    ("pts", "message"),
    [
        ([0, 1, 2], "one `pts` per frame, got 3"),
        ([0, 1, 2, 3, 4, 5, 6], "more than the 6 frames"),
        ([0, 1, 1, 2, 3, 4], "increasing `pts`, got 1 after 1"),
    ],
)
def test_wrong_time_stamps(tmp_path: Path, pts: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / "a.mp4", noise(), 25, pts=pts, time_base=Fraction(1, 25))
    assert list(tmp_path.iterdir()) == []


def test_time_stamps_need_a_time_base(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`pts` and `time_base` together"):
        write_video(tmp_path / "a.mp4", noise(), 25, pts=range(6))


@pytest.mark.parametrize(
    ("frames", "error", "message"),
    [
        ([], ValueError, "No frames to write"),
        ([np.zeros((48, 64), np.uint8)], ValueError, r"\(H, W, 3\), got \(48, 64\)"),
        ([np.zeros((3, 48, 64), np.uint8)], ValueError, r"\(H, W, 3\), got \(3, 48, 64\)"),
        ([np.zeros((48, 64, 3), np.float32)], TypeError, "uint8, got float32"),
        ([*noise(2), *noise(1, 32, 32)], ValueError, r"got \(32, 32, 3\) at frame 2"),
    ],
)
def test_bad_frames_leave_no_file(
    tmp_path: Path, frames: list[UInt8Array], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        write_video(tmp_path / "a.mp4", frames, 25)
    assert list(tmp_path.iterdir()) == []


def test_failure_keeps_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", noise(seed=1), 25)
    before = path.read_bytes()

    def failing() -> Iterator[UInt8Array]:
        for frame in noise(60):
            # The target must be whole at any moment.
            assert path.read_bytes() == before
            yield frame
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(path, failing(), 25)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    write_video(path, noise(seed=2), 25)
    assert path.read_bytes() != before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.xyz", {}, r"No container for the suffix '\.xyz'"),
        ("a.webm", {}, "cannot hold libx264"),
        ("a.webm", {"lossless": True}, "cannot hold libx264rgb"),
        ("a.mp4", {"codec": "nonsense"}, "video encoder, got 'nonsense'"),
        ("a.mp4", {"codec": "aac"}, "video encoder, got 'aac'"),
        ("a.gif", {"codec": "gif"}, "encoder 'gif'"),
    ],
)
def test_what_does_not_fit_together(
    tmp_path: Path, name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / name, noise(), 25, **options)
    assert list(tmp_path.iterdir()) == []


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        write_video(tmp_path / "absent" / "a.mp4", noise(), 25)


@pytest.mark.skipif(os.name == "nt", reason="Windows does not replace open files")
def test_target_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", noise(seed=1), 25)
    before = path.read_bytes()
    with path.open("rb") as old:
        write_video(path, noise(seed=2), 25)
        assert old.read() == before


def test_writer_keeps_any_first_time(tmp_path: Path) -> None:
    pts = [31 + 3003 * i for i in range(6)]
    frames = [number_frame(i) for i in range(6)]
    path = write_video(tmp_path / "a.mp4", frames, 30, pts=pts, time_base=Fraction(1, 90000))
    assert VideoReader(path).times == [stamp * Fraction(1, 90000) for stamp in pts]


def test_an_encoder_without_its_hardware_is_named_in_plain_words(tmp_path: Path) -> None:
    """Hidden devices stand for a machine without a GPU, also where one is."""
    script = (
        "import sys, numpy as np; from dp3_lightning.video import write_video\n"
        "write_video(sys.argv[1], [np.zeros((144, 144, 3), np.uint8)] * 2, 25, codec=sys.argv[2])"
    )
    if "hevc_nvenc" not in av.codecs_available:
        pytest.skip("this PyAV has no NVENC")
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "x.mp4"), "hevc_nvenc"],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "'hevc_nvenc' needs a GPU and its driver" in result.stderr
    assert "libx264" in result.stderr
    assert list(tmp_path.iterdir()) == []
