from __future__ import annotations

import cv2
import numpy as np
import pytest

from dp3_lightning.anonymize.rendering.mesh.blend import (
    Cover,
    Layer,
    cover,
    fitted_colors,
    measure_seam,
    to_lab,
)
from dp3_lightning.faces.appearance import fill_outline, scaled_outline
from tests.anonymize.rendering.mesh.mesh_fixtures import REFERENCE, SIZE, SKIN, posed


def flat(place: Cover, color: tuple[int, ...]) -> np.ndarray:
    """CIELAB of one colour with a little grain."""
    grain = np.random.default_rng(0).normal(0, 1.0, (*place.size, 1)).repeat(3, 2)
    return to_lab((np.full((*place.size, 3), color) + grain).astype(np.float32))


def covered(scale: float = 40.0, **pose: float) -> Cover:
    mesh = posed(scale=scale, **pose)
    place = cover(mesh, mesh, SIZE)
    assert place is not None
    return place


SKIN_LAB = to_lab(np.full((1, 1, 3), SKIN, np.float32))[0, 0]


def any_pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Meshes of a real and a drawn face in one pose."""
    rng = np.random.default_rng(seed)
    center, scale = (rng.uniform(-10, 330), rng.uniform(-10, 250)), rng.uniform(8, 90)
    pose = dict(zip(("yaw", "pitch", "roll"), rng.uniform(-60, 60, 3).tolist(), strict=True))
    return posed(center, scale, **pose), posed(center, scale * rng.uniform(0.8, 1.15), **pose)


def face_in(place: Cover, mesh: np.ndarray) -> np.ndarray:
    """Which pixels of a region a face covers; all of it lies in the region."""
    x0, y0, x1, y1 = place.region
    face = fill_outline(SIZE, scaled_outline(mesh, 1.0) - 0.5)
    inside = face[y0:y1, x0:x1].copy()
    face[y0:y1, x0:x1] = 0
    assert not face.any()
    return inside


def test_not_one_pixel_of_the_real_face_shows_through_in_any_pose() -> None:
    for seed in range(40):
        real, drawn = any_pair(seed)
        place = cover(real, drawn, SIZE)
        assert place is not None
        assert (place.alpha[face_in(place, real) > 0] == 1).all(), seed


@pytest.mark.parametrize("seed", range(12))
def test_the_real_face_is_covered_in_any_pose(seed: int) -> None:
    real, drawn = any_pair(seed)
    place = cover(real, drawn, SIZE)
    assert place is not None
    x0, y0, x1, y1 = place.region
    assert 0 <= x0 < x1 <= SIZE[1]
    assert 0 <= y0 < y1 <= SIZE[0]
    assert place.alpha.shape == place.distance.shape == place.size
    assert place.alpha.min() >= 0
    assert place.alpha.max() <= 1
    rim = np.ones((3, 3), np.uint8)
    for mesh in (real, drawn):
        assert (place.alpha[cv2.erode(face_in(place, mesh), rim) > 0] == 1).all()
    # It has faded out at the region's border, unless that is the frame's.
    for line, inner in (
        (place.alpha[0], y0 > 0),
        (place.alpha[-1], y1 < SIZE[0]),
        (place.alpha[:, 0], x0 > 0),
        (place.alpha[:, -1], x1 < SIZE[1]),
    ):
        assert not (inner and line.max() > 0.01)


@pytest.mark.parametrize("center", [(-300, 110), (700, 110), (160, -300), (160, 700)])
def test_faces_outside_the_frame_cover_nothing(center: tuple[float, float]) -> None:
    mesh = posed(center)
    assert cover(mesh, mesh, SIZE) is None


@pytest.mark.parametrize("offset", [(6.0, 3.0, -4.0), (-9.0, -2.0, 5.0)])
def test_the_seam_is_the_difference_of_the_skins(offset: tuple[float, ...]) -> None:
    place = covered()
    real = flat(place, SKIN)
    drawn = real - np.array(offset, np.float32)
    real = real.copy()
    real[place.distance > 0] = (50, -60, 70)  # nobody looks at the face itself
    seam = measure_seam(real, drawn, place, grey=False)
    np.testing.assert_allclose(seam.shift, offset, atol=0.4)
    assert seam.weight == 1


def test_the_seam_of_a_grey_film_is_its_lightness() -> None:
    place = covered()
    real, drawn = flat(place, (140, 140, 140)), flat(place, (120, 120, 120))
    assert measure_seam(real, drawn, place, grey=False).weight == 0
    seam = measure_seam(real, drawn, place, grey=True)
    assert seam.weight == 1
    assert seam.shift[0] == pytest.approx(float(real[..., 0].mean() - drawn[..., 0].mean()), abs=1)


@pytest.mark.parametrize("color", [(30, 60, 190), (40, 140, 50), (120, 120, 120), (4, 3, 2)])
def test_there_is_no_seam_without_skin(color: tuple[int, ...]) -> None:
    place = covered()
    seam = measure_seam(flat(place, color), flat(place, SKIN), place, grey=False)
    assert seam.weight == 0
    assert not seam.shift.any()


def test_a_little_skin_beside_something_else_is_believed_a_little() -> None:
    place = covered()
    real, drawn = flat(place, (40, 60, 190)), flat(place, SKIN)
    rows, columns = np.nonzero((place.distance < 0) & (place.distance > -6))
    few = columns <= np.quantile(columns, 0.06)
    beside = rows[few], columns[few]
    real[beside] = drawn[beside] + np.float32([5, 0, 0])
    seam = measure_seam(real, drawn, place, grey=False)
    assert 0 < seam.weight < 1
    assert seam.shift[0] == pytest.approx(5, abs=0.7)


def test_wild_differences_are_limited() -> None:
    place = covered()
    seam = measure_seam(flat(place, SKIN), flat(place, (2, 2, 2)), place, grey=False)
    assert np.abs(seam.shift).max() <= 30


@pytest.mark.parametrize("tone", [None, np.array([1.0, 3.0])])
def test_pixels_under_the_mask_decide_no_colour(tone: np.ndarray | None) -> None:
    place = covered(yaw=30)
    around = (170, 130, 110) if tone is None else (130, 130, 130)
    real, drawn = flat(place, around), flat(place, SKIN)
    other = real.copy()
    inside = place.distance > 0
    other[inside] = np.random.default_rng(1).uniform(-60, 100, (int(inside.sum()), 3))
    shift = np.array([3.0, 1.0, 1.0])
    first, second = (fitted_colors(r, drawn, place, shift, tone) for r in (real, other))
    np.testing.assert_array_equal(first, second)
    outside = real.copy()
    outside[~inside] += np.float32([4, 0, 0])
    assert np.abs(fitted_colors(outside, drawn, place, shift, tone) - first).max() > 1


def test_drawn_skin_comes_to_lie_at_the_skin_beside_it() -> None:
    place = covered()
    real, drawn = flat(place, SKIN), flat(place, SKIN) - np.float32([5, 2, 2])
    fitted = to_lab(fitted_colors(real, drawn, place, np.zeros(3), None))
    rim = np.abs(place.distance) < 3
    assert np.abs(fitted[rim].mean(0) - real[rim].mean(0)).max() < 1
    assert fitted.dtype == np.float32


def test_grey_films_get_their_own_tone() -> None:
    place = covered()
    real, drawn = flat(place, (130, 130, 130)), flat(place, SKIN)
    assert np.hypot(*SKIN_LAB[1:]) > 15
    tone = np.array([1.5, 4.0])
    rgb = fitted_colors(real, drawn, place, np.array([2.0, 9.0, 9.0]), tone)
    lab = to_lab(rgb)
    np.testing.assert_allclose(np.median(lab[..., 1:], axis=(0, 1)), tone, atol=0.2)
    assert np.abs(lab[..., 1:] - tone).max() < 2


@pytest.mark.parametrize(
    "center",
    [
        (-38, 110),
        (160, 110),
        (160, -58),
    ],
)
def test_grey_films_have_colours_at_the_border_of_the_frame(center: tuple[float, float]) -> None:
    mesh = posed(center, 60.0, yaw=60)
    place = cover(mesh, mesh, SIZE)
    assert place is not None
    drawn, real = flat(place, SKIN), flat(place, (130, 130, 130))
    with np.errstate(all="raise"):
        rgb = fitted_colors(real, drawn, place, np.zeros(3), np.array([1.0, 2.0]))
    assert np.isfinite(rgb).all()


def test_a_layer_leaves_alone_what_it_does_not_cover() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    before = frame.copy()
    alpha = np.zeros((20, 30), np.float32)
    alpha[5:10, 5:10], alpha[12:15, 5:10] = 1, 0.5
    Layer((10, 5, 40, 25), np.full((20, 30, 3), 77.4, np.float32), alpha).lay_over(frame)
    changed = np.zeros((40, 60), bool)
    changed[5:25, 10:40] = alpha > 0
    np.testing.assert_array_equal(frame[~changed], before[~changed])
    assert (frame[10:15, 15:20] == 77).all()
    mixed = frame[17:20, 15:20].astype(float) - (before[17:20, 15:20] + 77.4) / 2
    assert np.abs(mixed).max() <= 0.5 + 1e-4


@pytest.mark.parametrize("yaw", [-60, 60])
def test_all_of_a_turned_drawn_face_is_covered_with_room_around_it(yaw: float) -> None:
    real = posed(yaw=yaw)
    drawn = posed(yaw=yaw, shape=REFERENCE * [1.0, 1.0, 1.5])  # a longer nose
    place = cover(real, drawn, (240, 320))
    assert place is not None
    columns, rows = (drawn[:, :2] - place.corner).astype(int).T
    assert (place.alpha[rows, columns] == 1).all()
    x0, _, x1, _ = place.region
    height = np.ptp(real[:, 1])
    assert x0 < drawn[:, 0].min() - 0.3 * height
    assert x1 > drawn[:, 0].max() + 0.3 * height
