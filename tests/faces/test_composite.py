from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from dp3_lightning.faces.composite import blend_outwards
from dp3_lightning.faces.resample import FloatWindow
from dp3_lightning.structures import FloatArray, UInt8Array

SIZE = (100, 120)
MAGENTA = (255, 0, 255)  # occurs nowhere else


def touched(box: FloatWindow) -> npt.NDArray[np.bool_]:
    """Pixels that share any area with a box, by definition: pixel i covers [i, i + 1)."""
    rows, columns = np.arange(SIZE[0]), np.arange(SIZE[1])
    in_y = (rows + 1 > box[1]) & (rows < box[3])
    in_x = (columns + 1 > box[0]) & (columns < box[2])
    return np.outer(in_y, in_x)


def grown(box: FloatWindow, by: float) -> FloatWindow:
    return box[0] - by, box[1] - by, box[2] + by, box[3] + by


def meadow() -> UInt8Array:
    """Green noise, so that no mixture with grey comes near magenta."""
    rng = np.random.default_rng(0)
    return rng.integers((20, 150, 20), (110, 250, 110), (*SIZE, 3)).astype(np.uint8)


def random_faces() -> list[tuple[FloatWindow, FloatWindow, float, int]]:
    """Box, window around it, band and side of the crop, at fractions of a pixel."""
    rng = np.random.default_rng(1)
    faces = []
    for i in range(50):
        x, y = rng.uniform((-15, -15), (95, 75))
        width, height = rng.uniform(0.5 if i % 10 == 0 else 6, 45, 2)
        box = (x, y, x + width, y + height)
        band = 0.0 if i % 7 == 0 else float(rng.uniform(0.05, 9))
        side = (max(width, height) + 2 * band) * rng.uniform(1, 1.7)
        off = rng.uniform(-1, 1, 2) * (side - np.array([width, height]) - 2 * band) / 2
        center = np.array([x + width / 2, y + height / 2]) + off
        window = (*(center - side / 2).tolist(), *(center + side / 2).tolist())
        faces.append((box, window, band, int(rng.choice([16, 32, 128]))))
    return faces


def test_nothing_of_a_face_is_left() -> None:
    for box, window, band, side in random_faces():
        frame = meadow()
        face = touched(box)
        frame[face] = MAGENTA
        blend_outwards(frame, np.full((side, side, 3), 128, np.float32), window, box, band)
        assert (frame[face] == 128).all(), (box, window, band)
        # Nor beside it: nothing is smeared into the band.
        assert (np.abs(frame.astype(int) - MAGENTA).max(axis=-1) > 100).all()


def test_pixels_beyond_the_band_stay_as_they_are() -> None:
    for box, window, band, side in random_faces():
        frame = meadow()
        blend_outwards(frame, np.full((side, side, 3), 128, np.float32), window, box, band)
        beyond = ~touched(grown(box, band))
        assert np.array_equal(frame[beyond], meadow()[beyond])


def test_in_the_band_the_share_of_the_frame_grows_outwards() -> None:
    frame = np.full((*SIZE, 3), 200, np.uint8)
    crop = np.full((64, 64, 3), 40, np.float32)
    blend_outwards(frame, crop, (20, 20, 84, 84), (40, 40, 64, 64), 12)
    row = frame[50, 64:76, 0].astype(int)
    assert (np.diff(row) > 0).all()
    assert row[0] < 50
    assert row[-1] > 190
    assert (np.diff(frame[50, 28:40, 0].astype(int)) < 0).all()


def gradient(window: FloatWindow, height: int, width: int) -> FloatArray:
    """A smooth picture in coordinates of the frame, at the pixels of a window."""
    x = window[0] + (np.arange(width) + 0.5) / width * (window[2] - window[0])
    y = window[1] + (np.arange(height) + 0.5) / height * (window[3] - window[1])
    x, y = np.meshgrid(x, y)
    wave = 128 + 60 * np.sin(x / 15) * np.cos(y / 15)
    return np.stack([60 + 1.37 * x, 60 + 1.43 * y, wave], axis=-1)


@pytest.mark.parametrize("side", [32, 64, 200])
@pytest.mark.parametrize(
    ("window", "box"),
    [
        ((20, 20, 84, 84), (36, 33, 66, 70)),
        ((17.37, 22.81, 84.37, 89.81), (36.1, 33.4, 65.7, 70.2)),
        ((-20.3, -14.6, 40.9, 46.6), (-5.5, -2.5, 25.1, 30.4)),
        ((70.25, 55.5, 130.25, 115.5), (85.2, 70.3, 119.9, 99.9)),
    ],
)
def test_crops_land_where_their_window_says(
    window: FloatWindow, box: FloatWindow, side: int
) -> None:
    frame = meadow()
    blend_outwards(frame, gradient(window, side, side).astype(np.float32), window, box, 3.0)
    expected = gradient((0, 0, SIZE[1], SIZE[0]), *SIZE)
    face = touched(box)
    # Half a level of rounding; a shift by a tenth of a pixel would show in the mean.
    error = frame[face] - expected[face]
    assert np.abs(error).max() < 0.65
    assert np.abs(error.mean(axis=0)).max() < 0.1


def test_values_out_of_range_are_cut_off() -> None:
    crop = np.full((32, 32, 3), 300, np.float32)
    crop[..., 1] = -80
    frame = meadow()
    blend_outwards(frame, crop, (20, 20, 60, 60), (30, 30, 50, 50), 0)
    assert (frame[30:50, 30:50] == MAGENTA).all()


@pytest.mark.parametrize("box", [(-40, 10, 0, 40), (120, 10, 150, 40), (10, 100, 40, 130)])
def test_a_face_beside_the_frame_changes_nothing(box: FloatWindow) -> None:
    frame = meadow()
    crop = np.zeros((32, 32, 3), np.float32)
    blend_outwards(frame, crop, grown(box, 9), box, 0)
    assert np.array_equal(frame, meadow())
    blend_outwards(frame, crop, grown(box, 9), box, 3)  # its band lies in the frame
    assert not np.array_equal(frame, meadow())
