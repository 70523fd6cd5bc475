from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from numbered_clips import encode

from dp3_lightning.structures import UInt8Array
from dp3_lightning.video import VideoReader, write_video
from dp3_lightning.video.color import ColorTags

TAGS = {
    "601 limited": ColorTags(6, 6, 6, False),
    "601 full": ColorTags(6, 6, 6, True),
    "601 of PAL": ColorTags(5, 5, 6, False),
    "709 limited": ColorTags(),
    "709 full": ColorTags(full_range=True),
    "2020": ColorTags(9, 9, 14, False),
    "nothing said": ColorTags(2, 2, 2, False),
}


def colors() -> UInt8Array:
    """Patches of strong colours; even the wrong matrix or range shows in one of them."""
    patches = [
        (200, 30, 40),
        (30, 190, 50),
        (40, 50, 210),
        (250, 250, 250),
        (5, 5, 5),
        (200, 180, 30),
    ]
    return np.repeat(np.array(patches, np.uint8)[None], 48, axis=0).repeat(16, axis=1)


@pytest.mark.parametrize("name", TAGS)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".nut"])
def test_tags_and_colours_come_back(tmp_path: Path, name: str, suffix: str) -> None:
    tags = TAGS[name]
    path = write_video(tmp_path / f"a{suffix}", [colors()] * 2, 25, crf=1, tags=tags)
    reader = VideoReader(path)
    assert reader.tags == tags
    assert reader.bit_depth == 8
    read = reader[1].astype(int)
    assert np.abs(read - colors()).max() <= 2


def luma_of(path: Path, column: int) -> int:
    with av.open(str(path)) as container:
        plane = next(container.decode(video=0)).planes[0]
    return int(np.frombuffer(bytes(plane), np.uint8)[column])


@pytest.mark.parametrize(
    ("name", "column", "level"),
    [
        # Y of (250, 250, 250) and of (30, 190, 50), by hand from ITU-R BT.601, BT.709 and BT.2020.
        ("601 limited", 56, 16 + 219 * 250 / 255),
        ("601 full", 56, 250),
        ("709 limited", 56, 16 + 219 * 250 / 255),
        ("601 limited", 24, 16 + 219 / 255 * (0.299 * 30 + 0.587 * 190 + 0.114 * 50)),
        ("601 full", 24, 0.299 * 30 + 0.587 * 190 + 0.114 * 50),
        ("709 limited", 24, 16 + 219 / 255 * (0.2126 * 30 + 0.7152 * 190 + 0.0722 * 50)),
        ("709 full", 24, 0.2126 * 30 + 0.7152 * 190 + 0.0722 * 50),
        ("2020", 24, 16 + 219 / 255 * (0.2627 * 30 + 0.6780 * 190 + 0.0593 * 50)),
        ("nothing said", 24, 16 + 219 / 255 * (0.299 * 30 + 0.587 * 190 + 0.114 * 50)),
    ],
)
def test_luma_is_what_the_tags_say(tmp_path: Path, name: str, column: int, level: float) -> None:
    path = write_video(tmp_path / "a.mp4", [colors()], 25, crf=1, tags=TAGS[name])
    assert abs(luma_of(path, column) - level) <= 1.1


@pytest.mark.parametrize(
    ("pix_fmt", "codec", "depth"),
    [
        ("yuv420p", "libx264", 8),
        ("yuv420p10le", "libx264", 10),
        ("yuv422p10le", "ffv1", 10),
        ("gbrp12le", "ffv1", 12),
        ("gray", "ffv1", 8),
    ],
)
def test_bits_of_a_sample(tmp_path: Path, pix_fmt: str, codec: str, depth: int) -> None:
    pictures = [av.VideoFrame.from_ndarray(colors(), "rgb24").reformat(format=pix_fmt)]
    reader = VideoReader(encode(tmp_path / "a.mkv", codec, pix_fmt, pictures=pictures))
    assert reader.bit_depth == depth
    assert reader.pixel_format == pix_fmt


@pytest.mark.parametrize(
    ("transfer", "expected"), [(16, True), (18, True), (1, False), (14, False)]
)
def test_high_dynamic_range(transfer: int, expected: bool) -> None:
    assert ColorTags(9, 9, transfer).high_dynamic_range is expected


@pytest.mark.parametrize("name", TAGS)
def test_tags_of_yuv_stay(name: str) -> None:
    assert TAGS[name].for_yuv() == TAGS[name]


@pytest.mark.parametrize("matrix", [0, 8, 14])
def test_tags_that_yuv_cannot_be_written_by_become_bt709(matrix: int) -> None:
    assert ColorTags(matrix, 9, 13, True).for_yuv() == ColorTags()


@pytest.mark.parametrize("lossless", [False, True])
def test_chroma_of_444_is_not_halved(tmp_path: Path, lossless: bool) -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(30, 220, (48, 64, 3), dtype=np.uint8)
    options = {"lossless": True} if lossless else {"crf": 1, "pix_fmt": "yuv444p"}
    reader = VideoReader(write_video(tmp_path / "a.mp4", [frame], 25, **options))
    assert reader.pixel_format == ("gbrp" if lossless else "yuv444p")
    assert np.abs(reader[0].astype(int) - frame).mean() < 2
