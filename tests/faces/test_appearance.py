"""Looks of painted faces: what was painted is what is measured."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dp3_lightning.faces.appearance import (
    APPEARANCE,
    appearance,
    eye_detail,
    face_color,
    fill_outline,
    lab_of,
    scaled_outline,
    skin_likeness,
    upper_lip,
)
from dp3_lightning.faces.expression import EYE_LEFT, EYE_RIGHT, LIPS_OUTER, OVAL
from tests.face_prior_fixtures import BACKGROUND, HAIR, SKIN, aligned_mesh, painted, rotated

SIZE = 256
MESH = aligned_mesh(SIZE)
TONES = {
    "pale": (255, 224, 200),
    "light": (234, 190, 160),
    "olive": (200, 160, 120),
    "tan": (198, 140, 100),
    "brown": (141, 90, 60),
    "dark": (90, 56, 40),
    "darkest": (60, 38, 28),
}


def lab(color: tuple[int, int, int]) -> np.ndarray:
    return lab_of(np.full((1, 1, 3), color, np.uint8))[0, 0]


def measured(picture: np.ndarray, mesh: np.ndarray = MESH) -> dict[str, float]:
    values = appearance(picture, mesh)
    assert values.shape == (len(APPEARANCE),)
    return dict(zip(APPEARANCE, values.tolist(), strict=True))


def below(picture: np.ndarray, row: float, color: tuple[int, int, int]) -> np.ndarray:
    """Paint the face below a row."""
    changed = picture.copy()
    inside = fill_outline(picture.shape[:2], scaled_outline(MESH, 1.0)) > 0
    inside[: int(row)] = False
    changed[inside] = color
    return changed


@pytest.mark.parametrize("tone", TONES)
@pytest.mark.parametrize("roll", [0.0, 90.0, -150.0])
def test_skin_is_measured_in_lab(tone: str, roll: float) -> None:
    mesh = rotated(MESH, roll, (SIZE / 2, SIZE / 2))
    picture = painted(mesh, SIZE, TONES[tone])
    found = measured(picture, mesh)
    skin = [found["skin_l"], found["skin_a"], found["skin_b"]]
    assert np.abs(skin - lab(TONES[tone])).max() < 2
    assert abs(found["beard"]) < 1
    assert abs(found["lips"]) < 1
    assert found["forehead"] > 0.95


def test_skin_is_not_moved_by_what_covers_some_of_it() -> None:
    picture = painted(MESH, SIZE)
    rng = np.random.default_rng(0)
    speckled = np.where(rng.random((SIZE, SIZE, 1)) < 0.1, 255, picture).astype(np.uint8)
    speckled = below(speckled, MESH[164, 1], HAIR)
    found = face_color(lab_of(speckled), MESH)
    assert np.abs(found - lab(SKIN)).max() < 2


def test_small_faces_are_measured_too() -> None:
    mesh = aligned_mesh(40)
    assert np.abs(face_color(lab_of(painted(mesh, 40)), mesh) - lab(SKIN)).max() < 2


def test_hair_over_the_forehead() -> None:
    bare = painted(MESH, SIZE)
    covered = bare.copy()
    covered[: int(MESH[[105, 334], 1].min())] = HAIR
    half = bare.copy()
    half[: int(MESH[[105, 334], 1].min()), : SIZE // 2] = HAIR
    shares = [measured(picture)["forehead"] for picture in (bare, half, covered)]
    assert shares[0] > 0.95
    assert 0.3 < shares[1] < 0.7
    assert shares[2] < 0.1


def test_beard_is_a_darker_chin() -> None:
    picture = painted(MESH, SIZE)
    darker = tuple(int(v * 0.6) for v in SKIN)
    found = measured(below(picture, MESH[2, 1], darker))  # from the nose down
    assert found["beard"] == pytest.approx(lab(darker)[0] - lab(SKIN)[0], abs=2)
    assert found["beard"] < -20
    assert abs(found["skin_l"] - lab(SKIN)[0]) < 2


def test_lips_are_told_by_their_colour() -> None:
    picture, lips = painted(MESH, SIZE), (190, 90, 100)
    mouth = MESH[list(LIPS_OUTER), :2]
    grown = mouth + 0.2 * (mouth - mouth.mean(0))
    painted_lips = picture.copy()
    painted_lips[fill_outline((SIZE, SIZE), grown) > 0] = lips
    found = measured(painted_lips)["lips"]
    assert found == pytest.approx(np.hypot(*(lab(lips) - lab(SKIN))[1:]), abs=2)
    darker = picture.copy()
    darker[fill_outline((SIZE, SIZE), grown) > 0] = tuple(int(v * 0.7) for v in SKIN)
    assert measured(darker)["lips"] < 0.5 * found  # light alone is no colour


def test_frames_of_glasses() -> None:
    plain = painted(MESH, SIZE)
    eyes = [MESH[list(pair), :2].mean(0) for pair in ((33, 133), (362, 263))]
    for eye in eyes:
        cv2.ellipse(plain, tuple(int(v) for v in eye), (11, 5), 0, 0, 360, (60, 40, 30), -1)
    glasses = plain.copy()
    for eye in eyes:
        center = tuple(int(v) for v in (eye[0], eye[1] + 4))
        cv2.ellipse(glasses, center, (24, 18), 0, 0, 360, (10, 10, 10), 3)
    (left, row), (right, _) = np.array(eyes).astype(int)
    cv2.line(glasses, (left + 22, row), (right - 22, row), (10, 10, 10), 3)
    scores = []
    for roll in (0.0, 50.0):
        turn = cv2.getRotationMatrix2D((SIZE / 2, SIZE / 2), -roll, 1.0)
        mesh = rotated(MESH, roll, (SIZE / 2, SIZE / 2))
        for picture in (plain, glasses):
            turned = cv2.warpAffine(picture, turn, (SIZE, SIZE))
            scores.append(measured(turned, mesh)["glasses"])
    assert scores[1] > scores[0] + 0.5
    np.testing.assert_allclose(scores[2:], scores[:2], atol=0.25)


@pytest.mark.parametrize("gone", [(0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)])
def test_faces_that_leave_the_picture_are_no_error(gone: tuple[float, float]) -> None:
    x, y = (int(share * SIZE) for share in gone)
    window = (slice(max(y, 0), SIZE + min(y, 0)), slice(max(x, 0), SIZE + min(x, 0)))
    cut = painted(MESH, SIZE)[window]
    values = appearance(cut, MESH - [max(x, 0), max(y, 0), 0])
    assert np.isfinite(values).all()
    assert np.abs(values[:3] - lab(SKIN)).max() < 2


# -------------------------------------------------------------------------- skin likeness


@pytest.mark.parametrize("tone", TONES)
def test_every_tone_may_be_skin(tone: str) -> None:
    assert skin_likeness(lab(TONES[tone])) > 0.3


@pytest.mark.parametrize(
    "color",
    [
        BACKGROUND,
        (60, 120, 50),
        (30, 200, 220),
        (250, 250, 250),
        (205, 198, 195),  # grey, hardly warm
        (40, 15, 8),  # the hue of skin, but black
        (220, 60, 140),
    ],
)
def test_other_colours_are_not(color: tuple[int, int, int]) -> None:
    assert skin_likeness(lab(color)) < 0.05


def test_likeness_of_pictures() -> None:
    likeness = skin_likeness(lab_of(painted(MESH, SIZE)))
    assert likeness.shape == (SIZE, SIZE)
    face = fill_outline((SIZE, SIZE), scaled_outline(MESH, 0.95)) > 0
    assert likeness[face].min() > 0.3
    assert likeness[: SIZE // 10].max() < 0.05


# -------------------------------------------------------------------------------- outlines


def test_outline_is_scaled_about_its_centre() -> None:
    outline = MESH[list(OVAL), :2]
    half = scaled_outline(MESH, 0.5)
    np.testing.assert_allclose(half.mean(0), outline.mean(0))
    np.testing.assert_allclose(np.ptp(half, axis=0), np.ptp(outline, axis=0) / 2)
    area = fill_outline((SIZE, SIZE), half, 3)
    assert area.dtype == np.uint8
    assert set(np.unique(area)) == {0, 3}
    full = fill_outline((SIZE, SIZE), outline)
    assert (area > 0).sum() == pytest.approx((full > 0).sum() / 4, rel=0.05)


def test_eyes_behind_sunglasses_have_no_detail() -> None:
    size = 256
    mesh = aligned_mesh(size)
    picture = painted(mesh - [0.5, 0.5, 0.0], size)
    rng = np.random.default_rng(0)
    for ring in (EYE_RIGHT, EYE_LEFT):
        x, y = mesh[list(ring), :2].mean(0).astype(int)
        picture[y - 6 : y + 6, x - 12 : x + 12] = rng.integers(0, 256, (12, 24, 1))
    assert eye_detail(picture, mesh) > 10
    covered = picture.copy()
    covered[int(mesh[159, 1]) - 12 : int(mesh[145, 1]) + 12, 60:200] = 20
    assert eye_detail(covered, mesh) < 1
    assert eye_detail(picture, mesh + 1000) == 0


def over_the_lip(color: tuple[int, int, int]) -> np.ndarray:
    picture = painted(MESH, SIZE)
    rows = slice(int(MESH[2, 1]) + 1, int(MESH[0, 1]) + 2)
    picture[rows, int(MESH[61, 0]) : int(MESH[291, 0])] = color
    return picture


@pytest.mark.parametrize("share", [0.5, 0.7, 1.0, 1.1])
@pytest.mark.parametrize("turned", [0.0, 60.0])
def test_moustaches_are_darker_than_cheeks(share: float, turned: float) -> None:
    tone = tuple(int(v * share) for v in SKIN)
    picture = over_the_lip(tone)
    matrix = cv2.getRotationMatrix2D((SIZE / 2, SIZE / 2), -turned, 1.0)
    picture = cv2.warpAffine(picture, matrix, (SIZE, SIZE))
    found = upper_lip(picture, rotated(MESH, turned, (SIZE / 2, SIZE / 2)))
    assert found == pytest.approx(lab(tone)[0] - lab(SKIN)[0], abs=2)


def test_beards_and_lips_are_no_moustache() -> None:
    assert abs(upper_lip(below(painted(MESH, SIZE), MESH[17, 1] + 4, HAIR), MESH)) < 1
    red = painted(MESH, SIZE)
    red[fill_outline((SIZE, SIZE), MESH[list(LIPS_OUTER), :2]) > 0] = (150, 40, 50)
    assert abs(upper_lip(red, MESH)) < 1
