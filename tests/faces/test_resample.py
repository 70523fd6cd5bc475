from __future__ import annotations

import numpy as np
import pytest

from dp3_lightning.faces.crop import ExpansionRule, expand_box
from dp3_lightning.faces.resample import (
    FloatWindow,
    cut_window,
    float_window,
    resampling_matrix,
    uncut_region,
)
from dp3_lightning.structures import FloatArray, UInt8Array

FRAME = (100, 160)
RULES: list[ExpansionRule] = ["fdf128", "fdf256"]


def pattern(x: FloatArray, y: FloatArray, wave: float = 40.0) -> FloatArray:
    """A smooth picture, 28 to 228, defined at every point of the plane."""
    red = 128 + 100 * np.sin(2 * np.pi * x / wave) * np.cos(2 * np.pi * y / (1.3 * wave))
    green = 128 + 100 * np.sin(2 * np.pi * (x + 2 * y) / (2 * wave))
    return np.stack([red, green, 256 - red], axis=-1)


def sampled(window: FloatWindow, size: tuple[int, int], wave: float = 40.0) -> FloatArray:
    """The picture at the centres of a grid of pixels laid over a window."""
    x0, y0, x1, y1 = window
    x = x0 + (np.arange(size[1]) + 0.5) / size[1] * (x1 - x0)
    y = y0 + (np.arange(size[0]) + 0.5) / size[0] * (y1 - y0)
    return pattern(*np.meshgrid(x, y), wave=wave)


def picture(height: int = FRAME[0], width: int = FRAME[1], wave: float = 40.0) -> UInt8Array:
    values = sampled((0, 0, width, height), (height, width), wave)
    return np.rint(values).astype(np.uint8)


def inner(crop: FloatArray, margin: int) -> FloatArray:
    return crop[margin:-margin, margin:-margin]


# ---------------------------------------------------------------------- windows


SWEEPS = {
    "to the right, into both borders": ((-30, 40, 10, 75), (1, 0, 1, 0)),
    "downwards, into both borders": ((60, -30, 90, 0), (0, 1, 0, 1)),
    "along the diagonal": ((-30, -30, 0, 10), (1, 1, 1, 1)),
    "growing in a corner": ((1, 1, 6, 9), (0, 0, 0.5, 0.5)),
    "growing to the left": ((150, 30, 158, 40), (-0.5, 0, 0, 0)),
    "wide becomes tall": ((60, 40, 90, 50), (0, 0, 0, 0.5)),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", SWEEPS)
def test_windows_follow_the_box_without_jumps(rule: ExpansionRule, name: str) -> None:
    start, direction = (np.array(v, dtype=float) for v in SWEEPS[name])
    boxes = [start + 0.1 * i * direction for i in range(1600 if 1 in direction else 1000)]
    boxes = [b for b in boxes if max(b[2:] - b[:2]) < min(FRAME)]
    windows = np.array([float_window(box, FRAME, rule) for box in boxes])
    steps = np.abs(np.diff(windows, axis=0))
    assert steps.max() <= 0.2
    assert np.abs(windows[-1] - windows[0]).max() > 25  # it did move


@pytest.mark.parametrize("rule", RULES)
def test_windows_are_the_rounded_ones_but_for_rounding(rule: ExpansionRule) -> None:
    rng = np.random.default_rng(0)
    gaps = []
    for _ in range(500):
        width, height = rng.integers(6, 60, 2)
        x, y = rng.integers(0, FRAME[1] - width), rng.integers(0, FRAME[0] - height)
        box = (x, y, x + width, y + height)
        window = float_window(box, FRAME, rule)
        gaps.append(np.subtract(window, expand_box(box, FRAME, rule)))
    assert np.abs(gaps).max() <= 2.5  # three roundings in the integer arithmetic
    assert np.abs(np.mean(gaps)) < 0.75


def test_fdf128_stays_in_the_frame_where_it_fits() -> None:
    rng = np.random.default_rng(1)
    at_border = 0
    for _ in range(300):
        width, height = rng.uniform(4, 99, 2)
        x, y = rng.uniform(0, FRAME[1] - width), rng.uniform(0, FRAME[0] - height)
        x0, y0, x1, y1 = float_window((x, y, x + width, y + height), FRAME, "fdf128")
        assert x1 - x0 == pytest.approx(y1 - y0)
        assert min(x0, y0) >= 0
        assert x1 <= FRAME[1] + 1e-9
        assert y1 <= FRAME[0] + 1e-9
        assert x0 <= x + 1e-9
        assert y0 <= y + 1e-9
        assert x1 >= x + width - 1e-9
        assert y1 >= y + height - 1e-9
        at_border += x0 == 0 or y0 == 0
    assert 50 < at_border < 250


def test_fdf256_is_centred_and_may_leave_the_frame() -> None:
    window = float_window((2, 10, 22.5, 40.25), FRAME, "fdf256")
    assert window[0] < 0
    assert (window[0] + window[2], window[1] + window[3]) == pytest.approx((24.5, 50.25))
    assert window[2] - window[0] == pytest.approx(1.4 * 30.25)


# ---------------------------------------------------------------------- matrices


def test_whole_input_at_its_own_size_is_left_alone() -> None:
    np.testing.assert_array_equal(resampling_matrix(0, 9, 9, 9), np.eye(9, dtype=np.float32))
    np.testing.assert_array_equal(
        resampling_matrix(2, 5, 9, 3, outside="zero"), np.eye(9, dtype=np.float32)[2:5]
    )


@pytest.mark.parametrize("interval", [(0, 20), (3.3, 8.1), (-7.7, 31.2), (25.0, 60.0), (9, 9.01)])
@pytest.mark.parametrize("n_out", [1, 7, 64])
def test_constants_stay_beyond_the_border_too(interval: tuple[float, float], n_out: int) -> None:
    matrix = resampling_matrix(*interval, 20, n_out)
    assert matrix.shape == (n_out, 20)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(("n_out", "tolerance"), [(100, 1e-4), (37, 1e-4), (9, 0.05), (3, 0.05)])
def test_output_samples_look_where_they_should(n_out: int, tolerance: float) -> None:
    # Positions as input values: what comes out is where each sample looked.
    matrix = resampling_matrix(40.3, 77.6, 120, n_out)
    expected = 40.3 + (np.arange(n_out) + 0.5) / n_out * (77.6 - 40.3)
    np.testing.assert_allclose(matrix @ (np.arange(120) + 0.5), expected, atol=tolerance)


def test_zero_means_nothing_is_there() -> None:
    matrix = resampling_matrix(-10, 30, 20, 40, outside="zero")
    total = matrix.sum(axis=1)
    np.testing.assert_allclose(total[12:28], 1, atol=1e-6)
    assert (total[:8] == 0).all()
    assert (total[32:] == 0).all()
    assert np.array_equal(matrix[12:28], resampling_matrix(-10, 30, 20, 40)[12:28])


# ---------------------------------------------------------------------- cutting


WINDOWS = [
    ((30.0, 20.0, 70.0, 60.0), (40, 40)),
    ((30.37, 20.81, 70.37, 60.81), (40, 40)),
    ((25.2, 13.9, 58.7, 47.4), (96, 96)),  # enlarged
    ((20.6, 10.1, 110.3, 85.5), (32, 24)),  # shrunk
]


@pytest.mark.parametrize(("window", "size"), WINDOWS)
def test_crops_show_what_lies_at_fractions_of_a_pixel(
    window: FloatWindow, size: tuple[int, int]
) -> None:
    crop = cut_window(picture(), window, size)
    assert crop.shape == (*size, 3)
    assert crop.dtype == np.float32
    # Half a level of the frame's rounding, and the kernel's own loss where it shrinks by 4.
    tolerance = 1.0 if (window[2] - window[0]) / size[1] <= 1.01 else 4.0
    assert np.abs(crop - sampled(window, size)).max() < tolerance


def test_a_tenth_of_a_pixel_is_seen() -> None:
    frame = picture()
    still = cut_window(frame, (30, 20, 70, 60), (64, 64))
    moved = cut_window(frame, (30.1, 20, 70.1, 60), (64, 64))
    expected = sampled((30.1, 20, 70.1, 60), (64, 64)) - sampled((30, 20, 70, 60), (64, 64))
    assert np.abs(expected).max() > 1
    assert np.abs((moved - still) - expected).max() < 0.35


def test_outside_the_frame_is_black() -> None:
    frame = np.full((40, 50, 3), 200, np.uint8)
    crop = cut_window(frame, (-20, -20, 20, 20), (40, 40))
    assert (crop[:18] == 0).all()
    assert (crop[:, :18] == 0).all()
    np.testing.assert_allclose(crop[22:, 22:], 200, atol=1e-3)
    np.testing.assert_allclose(cut_window(frame, (20, 10, 60, 50), (80, 80))[65:], 0, atol=1e-3)
    for away in [(-90, 0, -50, 40), (300, 300, 340, 340), (0, 60, 40, 100)]:
        assert (cut_window(frame, away, (8, 8)) == 0).all()


@pytest.mark.parametrize("shift", [0.0, 0.37])
def test_shrinking_does_not_alias(shift: float) -> None:
    checks = (np.indices((160, 160)).sum(axis=0) % 2 * 255).astype(np.uint8)
    stripes = np.broadcast_to(np.arange(160) % 3 * 100, (160, 160)).astype(np.uint8)
    frame = np.stack([checks, checks, stripes], axis=-1)
    crop = cut_window(frame, (24 + shift, 24 + shift, 136 + shift, 136 + shift), (14, 14))
    assert np.abs(crop[..., 0] - 127.5).max() < 1
    assert np.abs(crop[..., 2] - 100).max() < 1
    # What the kernel looks at beyond the window is there too.
    flat = np.full((160, 160, 3), 200, np.uint8)
    window = (36 + shift, 36 + shift, 124 + shift, 124 + shift)
    np.testing.assert_allclose(cut_window(flat, window, (8, 8)), 200, atol=1e-3)


# ---------------------------------------------------------------------- and back


@pytest.mark.parametrize(
    ("window", "size"),
    [*WINDOWS, ((-15.3, -9.4, 44.2, 50.1), (64, 64)), ((5, 5, 95, 95), (48, 48))],
)
def test_putting_back_undoes_cutting(window: FloatWindow, size: tuple[int, int]) -> None:
    frame = picture(wave=60)
    crop = cut_window(frame, window, size)
    # Pixels well inside both the window and the frame: beyond them there is nothing to restore.
    pixel = max(1.0, (window[2] - window[0]) / size[1], (window[3] - window[1]) / size[0])
    margin = int(np.ceil(3 * pixel))
    x0, y0 = (max(int(np.ceil(v)), 0) + margin for v in window[:2])
    x1, y1 = (int(v) - margin for v in window[2:])
    back = uncut_region(crop, window, (x0, y0, x1, y1))
    assert back.shape == (y1 - y0, x1 - x0, 3)
    assert back.size > 500
    error = np.abs(back - frame[y0:y1, x0:x1])
    assert error.max() < (1.0 if pixel == 1 else 4.0)
    assert error.mean() < 0.3 * pixel


def test_beyond_the_crop_its_border_goes_on() -> None:
    crop = np.full((16, 16, 3), 50, np.float32)
    back = uncut_region(crop, (10.2, 10.2, 30.7, 30.7), (0, 0, 45, 45))
    np.testing.assert_allclose(back, 50, atol=1e-3)
