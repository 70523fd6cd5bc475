from __future__ import annotations

import numpy as np
import pytest

from dp3_lightning.faces.appearance import fill_outline, scaled_outline
from dp3_lightning.faces.expression import BROWS, EYES
from dp3_lightning.generators.face_prior.rim import extend_skin
from tests.face_prior_fixtures import BACKGROUND, HAIR, SKIN, aligned_mesh, painted

SIZES = [96, 128, 256, 512]


def within(size: int, factor: float) -> np.ndarray:
    outline = scaled_outline(aligned_mesh(size), factor) - 0.5
    return fill_outline((size, size), outline) > 0


def share_of(picture: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """0 where a picture has the skin's colour, 1 where it has the background's."""
    away = np.subtract(background, SKIN, dtype=float)
    return (picture - np.array(SKIN, float)) @ away / (away @ away)


@pytest.mark.parametrize("size", SIZES)
def test_features_and_what_lies_below_the_nose_stay_as_they_are(size: int) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
    original = picture.copy()
    filled = extend_skin(picture, aligned_mesh(size))
    assert filled.shape == picture.shape
    assert filled.dtype == np.uint8
    assert np.array_equal(picture, original)
    mesh = aligned_mesh(size)
    inner = within(size, 0.6)
    inner[: int(mesh[2, 1]) + size // 32] = False
    assert np.array_equal(filled[inner], picture[inner])
    columns, rows = mesh[[*EYES, *BROWS], :2].astype(int).T
    deep = within(size, 0.7)[rows, columns]  # beside the temples the rim begins
    assert deep.sum() > 30
    columns, rows = columns[deep], rows[deep]
    assert np.array_equal(filled[rows, columns], picture[rows, columns])
    assert not np.array_equal(filled[~inner], picture[~inner])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("background", [BACKGROUND, HAIR, (250, 250, 250)])
def test_skin_goes_on_beyond_the_outline(size: int, background: tuple[int, int, int]) -> None:
    picture = painted(aligned_mesh(size) - [0.5, 0.5, 0.0], size, background=background)
    filled = extend_skin(picture, aligned_mesh(size))
    ring = within(size, 1.05) & ~within(size, 1.0)
    assert (share_of(picture, background)[ring] > 0.5).mean() > 0.9
    share = share_of(filled, background)
    assert share[ring].max() < 0.5
    assert share[ring & ~within(size, 1.02)].max() < 0.2
    assert share[ring].mean() < 0.05
    assert np.abs(share[within(size, 1.3) & ~within(size, 1.05)]).mean() < 0.02


def test_hair_over_the_rim_of_the_face_goes_too() -> None:
    size = 256
    picture = painted(aligned_mesh(size) - [0.5, 0.5, 0.0], size)
    picture[within(size, 1.0) & ~within(size, 0.93)] = HAIR
    filled = extend_skin(picture, aligned_mesh(size))
    ring = within(size, 1.1) & ~within(size, 0.98)
    assert share_of(filled, HAIR)[ring].mean() < 0.1


def test_a_fringe_goes_and_brows_stay() -> None:
    size, mesh = 256, aligned_mesh(256)
    picture = painted(mesh - [0.5, 0.5, 0.0], size)
    brows = mesh[[105, 334], 1].mean()
    forehead = brows - mesh[10, 1]
    fringe = slice(0, int(brows - 0.55 * forehead))
    picture[fringe] = HAIR
    brow_rows = slice(int(brows) - 3, int(brows) + 4)
    picture[brow_rows, 95:160] = HAIR
    filled = extend_skin(picture, mesh)
    center = slice(size // 2 - 25, size // 2 + 25)
    seen = share_of(filled, HAIR)[int(mesh[10, 1]) : fringe.stop - 4, center]
    assert seen.max() < 0.25
    columns, rows = mesh[[55, 107, 65, 285, 336, 295], :2].astype(int).T  # inner brows
    assert np.array_equal(filled[rows, columns], picture[rows, columns])
    hair_on_the_cheek = painted(mesh - [0.5, 0.5, 0.0], size)
    row, column = int(mesh[117, 1]), int(mesh[117, 0]) - 12
    hair_on_the_cheek[row - 6 : row + 6, column - 3 : column + 4] = HAIR
    gone = extend_skin(hair_on_the_cheek, mesh)
    assert share_of(gone, HAIR)[row, column] < 0.3


def test_each_side_goes_on_in_its_own_tone() -> None:
    size, mesh = 256, aligned_mesh(256)
    light, dark = np.array(SKIN), np.array(SKIN) - 30
    picture = painted(mesh - [0.5, 0.5, 0.0], size)
    face = (picture != BACKGROUND).any(2)
    face[:, : size // 2] = False
    picture[face] = dark
    filled = extend_skin(picture, mesh).astype(float)
    row = int(mesh[234, 1])
    left, right = int(mesh[234, 0]) - 6, int(mesh[454, 0]) + 6
    assert np.abs(filled[row, left] - light).max() < 10
    assert np.abs(filled[row, right] - dark).max() < 10
