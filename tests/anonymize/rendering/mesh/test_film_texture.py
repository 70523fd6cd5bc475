"""Sharpness and grain of films that are known exactly."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from scipy.stats import norm

from dp3_lightning.anonymize.rendering.mesh import film_texture
from dp3_lightning.anonymize.rendering.mesh.blend import Cover, cover
from dp3_lightning.anonymize.rendering.mesh.film_texture import (
    FilmTexture,
    edge_width,
    fit_film_texture,
    grain_of,
    stepped,
)
from dp3_lightning.structures import UInt8Array
from tests.anonymize.rendering.mesh.mesh_fixtures import posed

SIZE = (420, 460)
MESH = posed((230, 200), scale=80.0)
EVERYWHERE = np.ones(SIZE, bool)


def shapes(sigma: float, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """Discs of different grey with edges of one Gaussian width, as ``(h, w)`` levels."""
    rng = np.random.default_rng(seed)
    large = np.full((SIZE[0] * 4, SIZE[1] * 4), 120, np.uint8)
    for _ in range(160):
        center = rng.integers(0, [SIZE[1] * 4, SIZE[0] * 4]).tolist()
        cv2.circle(large, center, int(rng.integers(50, 110)), int(rng.integers(30, 226)), -1)
    # A pixel averages what is in it: 0.29 pixels of blur that belong to `sigma`.
    own = np.sqrt(max(sigma**2 - 1 / 12, 0.01))
    soft = cv2.GaussianBlur(large.astype(np.float32), (0, 0), own * 4)
    levels = cv2.resize(soft, SIZE[::-1], interpolation=cv2.INTER_AREA)
    return levels + rng.normal(0, noise, SIZE).astype(np.float32) if noise else levels


def colored(levels: np.ndarray) -> np.ndarray:
    return np.repeat(levels[..., None], 3, 2).astype(np.float32)


def film(levels: np.ndarray) -> UInt8Array:
    return np.clip(np.rint(colored(levels)), 0, 255).astype(np.uint8)


def place() -> Cover:
    found = cover(MESH, MESH, SIZE)
    assert found is not None
    return found


def view(real: UInt8Array, drawn: np.ndarray) -> tuple[UInt8Array, np.ndarray, Cover]:
    found = place()
    x0, y0, x1, y1 = found.region
    return real[y0:y1, x0:x1].copy(), drawn[y0:y1, x0:x1], found


# ---------------------------------------------------------------------------------- measures


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("across", [False, True])
def test_the_width_of_known_edges_is_measured(sigma: float, across: bool) -> None:
    columns = np.arange(300) + 0.5
    profile = sum(
        sign * norm.cdf((columns - at) / sigma)
        for sign, at in zip((90, -90) * 3, range(30, 300, 45), strict=True)
    )
    levels = np.repeat((80 + profile)[None], 200, 0).astype(np.float32)
    levels = np.ascontiguousarray(levels.T) if across else levels
    assert edge_width(levels, np.ones(levels.shape, bool), 21) == pytest.approx(sigma, rel=0.15)
    # In a crowd of edges the sharpest of a neighbourhood count.
    assert 0.75 * sigma < edge_width(shapes(sigma), EVERYWHERE, 9) < sigma


def test_edges_outside_the_mask_do_not_count() -> None:
    levels = shapes(3.0)
    mask = EVERYWHERE.copy()
    mask[:, 230:] = False
    sharp = shapes(0.6)
    mixed = np.where(mask, levels, sharp)
    width = edge_width(mixed, mask, 9)
    assert width == pytest.approx(edge_width(levels, mask, 9), rel=0.02)
    other = np.where(mask, levels, 0).astype(np.float32)
    assert edge_width(other, mask, 9) == width


def test_without_edges_there_is_no_width() -> None:
    assert np.isnan(edge_width(np.full(SIZE, 90, np.float32), EVERYWHERE, 9))
    assert np.isnan(edge_width(shapes(1.0), np.zeros(SIZE, bool), 9))


@pytest.mark.parametrize("noise", [0.0, 2.0, 6.0, 10.0])
def test_noise_of_flat_parts_is_measured(noise: float) -> None:
    measured = grain_of(shapes(1.0, noise), EVERYWHERE)
    assert measured == pytest.approx(noise, rel=0.1, abs=0.2)


def test_noise_outside_the_mask_does_not_count() -> None:
    levels = shapes(1.0, 2.0)
    mask = EVERYWHERE.copy()
    mask[150:300, 100:300] = False
    loud = np.where(mask, levels, levels + np.random.default_rng(1).normal(0, 40, SIZE))
    assert grain_of(loud.astype(np.float32), mask) == pytest.approx(2.0, rel=0.1)
    assert grain_of(levels, np.zeros(SIZE, bool)) == 0


# --------------------------------------------------------------------------------- softness


def widths(real_sigma: float, drawn_sigma: float) -> tuple[FilmTexture, float, float, float]:
    """The texture, and widths of edges: the film's, the drawn face's before and after."""
    real, drawn = shapes(real_sigma), shapes(drawn_sigma, seed=3)
    texture = fit_film_texture([view(film(real), colored(drawn))])
    found = place()
    x0, y0, x1, y1 = found.region
    inside = found.distance > 0.08 * found.half_height
    before = drawn[y0:y1, x0:x1]
    after = np.ascontiguousarray(texture.apply(colored(before), 0)[..., 0])
    return texture, *(
        edge_width(levels, mask, 5)
        for levels, mask in (
            (real[y0:y1, x0:x1], found.alpha == 0),
            (before, inside),
            (after, inside),
        )
    )


@pytest.mark.parametrize("sigma", [1.5, 2.0, 2.6])
def test_a_soft_film_gets_a_drawn_face_of_about_its_softness(sigma: float) -> None:
    texture, wanted, before, after = widths(sigma, 0.7)
    assert texture.step > 0
    # Most of the way, as hair and clothes are not faces; in ratios.
    assert after == pytest.approx(before**0.4 * wanted**0.6, rel=0.15)
    assert abs(np.log(after / wanted)) < 0.6 * abs(np.log(before / wanted))


def test_softer_films_get_softer_faces() -> None:
    steps = [widths(sigma, 0.7)[0].step for sigma in (0.7, 1.2, 2.0, 3.0)]
    assert steps == sorted(steps)
    assert steps[0] < 0.4 < steps[-1]


@pytest.mark.parametrize("noise", [2.0, 4.0, 8.0])
def test_grain_is_not_taken_for_sharpness(noise: float) -> None:
    drawn = colored(shapes(0.7, seed=3))
    steps = [
        fit_film_texture([view(film(shapes(sigma, noise)), drawn)]).step for sigma in (0.7, 2.4)
    ]
    assert abs(steps[0]) <= 0.5
    assert steps[1] >= 0.65  # 1.25 without any grain


def test_a_sharp_film_gets_a_sharper_face() -> None:
    texture, wanted, before, after = widths(0.6, 1.4)
    assert texture.step < 0
    assert wanted < after < before


def test_a_film_as_sharp_as_the_face_leaves_it_as_it_is() -> None:
    texture, *_ = widths(1.0, 1.0)
    assert abs(texture.step) <= 0.4
    assert texture.grain == 0


def test_several_frames_decide_together() -> None:
    drawn = colored(shapes(0.7, seed=3))
    soft, sharp = (view(film(shapes(sigma)), drawn) for sigma in (2.6, 0.7))
    assert fit_film_texture([sharp, soft, soft]) == fit_film_texture([soft])
    assert fit_film_texture([soft, sharp, sharp]) == fit_film_texture([sharp])
    blurred = view(film(shapes(2.6)), colored(shapes(2.4, seed=3)))
    assert fit_film_texture([blurred]) != fit_film_texture([soft])
    assert fit_film_texture([blurred, soft, soft]) == fit_film_texture([soft])


@pytest.mark.parametrize("kind", ["nothing", "no view", "flat film", "flat face"])
def test_where_nothing_can_be_compared_nothing_is_softened(kind: str) -> None:
    flat = np.full(SIZE, 130, np.float32)
    sharp = shapes(0.7)
    views = {
        "nothing": [view(film(flat), colored(flat))],
        "no view": [],
        "flat film": [view(film(flat), colored(sharp))],
        "flat face": [view(film(sharp), colored(flat))],
    }[kind]
    assert fit_film_texture(views).step == 0


# ------------------------------------------------------------------------- what is looked at


def test_pixels_of_the_hole_change_nothing() -> None:
    real, drawn, found = view(film(shapes(1.8, 3.0)), colored(shapes(0.7, seed=3)))
    expected = fit_film_texture([(real, drawn, found)])
    assert expected.step > 0
    assert expected.grain > 0
    rng = np.random.default_rng(7)
    hole = found.alpha > 0
    for values in (0, 255, rng.integers(0, 256, (int(hole.sum()), 3))):
        painted = real.copy()
        painted[hole] = values
        assert fit_film_texture([(painted, drawn, found)]) == expected


def test_no_filter_is_given_a_pixel_of_the_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bytes] = []
    for name in ("edge_width", "grain_of"):
        measure = getattr(film_texture, name)

        def spied(levels: np.ndarray, *rest: Any, measure: Any = measure) -> float:
            given.append(levels.tobytes())
            return float(measure(levels, *rest))

        monkeypatch.setattr(film_texture, name, spied)
    real, drawn, found = view(film(shapes(1.8, 3.0)), colored(shapes(0.7, seed=3)))
    seen = []
    for value in (0, 255):
        real[found.alpha > 0] = value
        given.clear()
        fit_film_texture([(real, drawn, found)])
        seen.append(list(given))
    assert len(seen[0]) > 10
    assert seen[0] == seen[1]


def test_drawn_pixels_beside_the_face_change_nothing() -> None:
    real, drawn, found = view(film(shapes(1.8, 3.0)), colored(shapes(0.7, seed=3)))
    expected = fit_film_texture([(real, drawn, found)])
    outside = found.distance < -2
    other = drawn.copy()
    other[outside] = np.random.default_rng(7).integers(0, 256, (int(outside.sum()), 3))
    assert fit_film_texture([(real, other, found)]) == expected


# ------------------------------------------------------------------------------------ grain


@pytest.mark.parametrize("noise", [3.0, 5.0, 9.0])
def test_a_grainy_film_gets_a_face_of_its_grain(noise: float) -> None:
    drawn = colored(shapes(0.8, seed=3))
    texture = fit_film_texture([view(film(shapes(0.8, noise)), drawn)])
    assert texture.grain == pytest.approx(noise, rel=0.2)
    smooth = np.full((200, 200, 3), 128, np.float32)
    assert texture.apply(smooth, 4).std() == pytest.approx(noise, rel=0.2)


def test_grain_that_the_drawn_face_has_is_not_added_again() -> None:
    drawn = colored(shapes(0.8, 4.0, seed=3))
    grain = fit_film_texture([view(film(shapes(0.8, 5.0)), drawn)]).grain
    assert grain == pytest.approx(3.0, rel=0.25)


def test_clean_films_get_none_and_no_film_gets_snow() -> None:
    drawn = colored(shapes(0.8, seed=3))
    assert fit_film_texture([view(film(shapes(0.8, 0.6)), drawn)]).grain == 0
    assert fit_film_texture([view(film(shapes(0.8, 40.0)), drawn)]).grain == 12


def test_grain_differs_between_frames_and_repeats() -> None:
    texture = FilmTexture(0.0, 5.0)
    drawn = np.full((64, 64, 3), 128, np.float32)
    first, again, next_one = (texture.apply(drawn, frame) for frame in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert abs(np.corrcoef(first[..., 0].ravel(), next_one[..., 0].ravel())[0, 1]) < 0.1
    assert (first[..., 0] == first[..., 1]).all()  # of the film, not of its colours
    assert (drawn == 128).all()


# ------------------------------------------------------------------------------------ steps


def test_steps_soften_and_sharpen_and_levels_stay_levels() -> None:
    levels = colored(shapes(1.0))
    assert stepped(levels, 0.0) is levels
    own = edge_width(shapes(1.0), EVERYWHERE, 9)
    softer, sharper = (
        edge_width(np.ascontiguousarray(stepped(levels, step)[..., 0]), EVERYWHERE, 9)
        for step in (2.0, -0.6)
    )
    assert softer > 1.5 * own
    assert sharper < own
    loud = FilmTexture(-0.6, 12.0).apply(levels, 0)
    assert loud.min() >= 0
    assert loud.max() <= 255
    assert FilmTexture().apply(levels, 0).mean() == pytest.approx(levels.mean())
