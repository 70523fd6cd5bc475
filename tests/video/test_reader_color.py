from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from numbered_clips import encode, number_frame, remux

from dp3_lightning.structures import FloatArray
from dp3_lightning.video import VideoReader, write_video


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_rotation_is_applied(tmp_path: Path, rotation: int) -> None:
    upright = encode(tmp_path / "upright.mp4")
    reader = VideoReader(remux(upright, tmp_path / "rotated.mp4", rotation=rotation))
    # Positive angles turn counter-clockwise, as players do.
    expected = np.rot90(VideoReader(upright)[37], rotation // 90)
    assert not np.array_equal(expected, VideoReader(upright)[37])
    assert np.array_equal(reader[37], expected)
    assert reader.size == expected.shape[:2]


def test_odd_size(tmp_path: Path) -> None:
    frames = [number_frame(i, 47, 61) for i in range(5)]
    reader = VideoReader(write_video(tmp_path / "odd.mp4", frames, 25, lossless=True))
    assert reader.size == (47, 61)
    assert np.array_equal(np.stack(list(reader)), np.stack(frames))


def flat_yuv(
    values: tuple[int, int, int],
    height: int,
    width: int,
    pix_fmt: str,
    colorspace: int,
    color_range: int,
) -> av.VideoFrame:
    picture = av.VideoFrame(width, height, pix_fmt)
    dtype, factor = (np.uint16, 4) if "10" in pix_fmt else (np.uint8, 1)
    for plane, value in zip(picture.planes, values, strict=True):
        plane.update(np.full(plane.buffer_size // dtype().nbytes, value * factor, dtype).tobytes())
    picture.colorspace, picture.color_range = colorspace, color_range
    return picture


def expected_rgb(values: tuple[int, int, int], kr: float, kb: float, full: bool) -> FloatArray:
    y, u, v = (np.array(values) - (0, 128, 128)) / 255
    if not full:
        y, u, v = (np.array(values) - (16, 128, 128)) / (219, 224, 224)
    red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    return 255 * np.array([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue])


BT601, BT709, BT2020 = (0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)


@pytest.mark.parametrize(
    ("tag", "height", "pix_fmt", "full", "weights"),
    [
        (Colorspace.ITU709, 48, "yuv420p", False, BT709),
        (Colorspace.ITU601, 48, "yuv420p", False, BT601),
        (6, 720, "yuv420p", False, BT601),
        (9, 48, "yuv420p10le", False, BT2020),
        (Colorspace.ITU709, 48, "yuv420p", True, BT709),
        (Colorspace.ITU709, 48, "yuv420p10le", True, BT709),
        (2, 48, "yuv420p", False, BT601),
        (2, 720, "yuv420p", False, BT709),
    ],
)
def test_colour_matrix_and_range(
    tmp_path: Path, tag: int, height: int, pix_fmt: str, full: bool, weights: tuple[float, float]
) -> None:
    values = (120, 100, 170)
    color_range = ColorRange.JPEG if full else ColorRange.MPEG
    path = tmp_path / "flat.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, height, pix_fmt
        stream.codec_context.colorspace = int(tag)
        stream.codec_context.color_range = color_range
        picture = flat_yuv(values, height, 64, pix_fmt, int(tag), color_range)
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    frame = VideoReader(path)[0]
    assert frame.shape == (height, 64, 3)
    assert np.abs(frame - expected_rgb(values, *weights, full)).max() <= 1


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4"])
def test_chroma_of_both_columns_of_a_pair(tmp_path: Path, codec: str) -> None:
    """Decoders that place chroma at the left must not shift the colours of odd columns."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    frame = blocks.repeat(2, axis=0).repeat(2, axis=1)
    reader = VideoReader(write_video(tmp_path / "blocks.mp4", [frame], 25, codec=codec, crf=1))
    error = np.abs(reader[0].astype(float) - frame).mean(axis=(0, 2))
    # Each encoder has losses of its own; a shift of chroma costs more than 30 levels.
    assert abs(error[1::2].mean() - error[::2].mean()) < 0.2
    assert error.mean() < (3 if codec != "mpeg4" else 15)


WINDOWS = [(0, 0, 61, 47), (3, 5, 4, 6), (7, 9, 40, 31), (60, 46, 61, 47), (8, 16, 24, 32)]


@pytest.mark.parametrize("rotation", [0, 90, -90, 180])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "yuv410p", "bgr0"])
def test_window_equals_the_part_of_the_frame(tmp_path: Path, pix_fmt: str, rotation: int) -> None:
    size = (47, 61) if rotation % 180 == 0 else (61, 47)
    rng = np.random.default_rng(1)
    frames = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(3)]
    pictures = [av.VideoFrame.from_ndarray(f, "rgb24").reformat(format=pix_fmt) for f in frames]
    path = encode(tmp_path / "noise.mkv", "ffv1", pix_fmt, {}, pictures=pictures)
    if rotation:
        path = remux(path, tmp_path / "rotated.mkv", rotation=rotation)
    reader = VideoReader(path)
    whole = reader[2]
    assert whole.shape == (47, 61, 3)
    for window in WINDOWS:
        x0, y0, x1, y1 = window
        assert np.array_equal(reader.frame(2, window), whole[y0:y1, x0:x1])


@pytest.mark.parametrize("window", [(0, 0, 65, 10), (-1, 0, 5, 5), (5, 5, 5, 9), (4, 8, 9, 8)])
def test_window_outside_the_frame_is_refused(
    tmp_path: Path, window: tuple[int, int, int, int]
) -> None:
    reader = VideoReader(encode(tmp_path / "clip.mp4"))
    with pytest.raises(ValueError, match=r"window.*64 x 48.*" + str(window[2])):
        reader.frame(0, window)


def test_ten_bit_ramp_becomes_eight_bit(tmp_path: Path) -> None:
    picture = flat_yuv((128, 128, 128), 48, 64, "yuv420p10le", 1, ColorRange.MPEG)
    ramp = np.linspace(64, 940, 64).astype(np.uint16)
    luma = np.zeros((48, picture.planes[0].line_size // 2), np.uint16)
    luma[:, :64] = ramp
    picture.planes[0].update(luma.tobytes())
    path = encode(tmp_path / "ramp.mp4", "libx264", "yuv420p10le", {"qp": "0"}, pictures=[picture])
    frame = VideoReader(path)[0]
    assert frame.dtype == np.uint8
    expected = (ramp - 64.0) * 255 / 876
    assert np.abs(frame - expected[None, :, None]).max() <= 1
