from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from dp3_lightning.anonymize.rendering.mesh.film_texture import FilmTexture
from dp3_lightning.anonymize.rendering.mesh.likeness import Likeness
from dp3_lightning.anonymize.rendering.mesh.people import DrawnFace, Person
from dp3_lightning.anonymize.rendering.mesh.role import Role
from dp3_lightning.faces.appearance import fill_outline
from dp3_lightning.faces.expression import LIPS_OUTER
from tests.anonymize.rendering.mesh.mesh_fixtures import (
    SKIN,
    FlatPainter,
    painted,
    posed,
    renderer_of,
)

REAL = (60, 120, 230)
MESH = posed(scale=60.0)
FRAME = painted(MESH, color=REAL)
N = 6


class ByColor:
    """Recognises people by the colour between their eyes and mouth."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def embed(self, chips: np.ndarray) -> np.ndarray:
        assert chips.shape[1:] == (112, 112, 3)
        self.seen.append(chips)
        colors = chips[:, 60:80, 50:62].reshape(len(chips), -1, 3).mean(1) - 127.5
        return (colors / np.linalg.norm(colors, axis=1, keepdims=True)).astype(np.float32)


def judge() -> Likeness:
    found = renderer_of([MESH] * N, [FRAME] * N)
    likeness = Likeness(found.casting)
    likeness.recogniser = ByColor()  # type: ignore[assignment]
    return likeness


def role_of(color: tuple[int, int, int]) -> Role:
    return renderer_of([MESH] * N, [FRAME] * N, FlatPainter(color=color)).roles[0]


def is_unlike(likeness: Likeness, color: tuple[int, int, int]) -> bool:
    return likeness.is_unlike(role_of(color), [(0, 0, 9, 9)] * N, lambda _: FRAME)


def test_somebody_like_the_real_person_is_refused() -> None:
    likeness = judge()
    assert not is_unlike(likeness, REAL)
    seen: Any = likeness.recogniser
    chips = seen.seen[0]
    assert len(chips) % 2 == 0
    # One half shows the real face, the other the drawn one, each upright in the middle.
    assert np.abs(chips[0, 60:80, 50:62].mean((0, 1)) - REAL).max() < 3


def test_somebody_unlike_the_real_person_is_kept() -> None:
    likeness = judge()
    assert is_unlike(likeness, SKIN)
    seen: Any = likeness.recogniser
    chips = seen.seen[0]
    drawn = chips[len(chips) // 2 :, 60:80, 50:62].mean((0, 1, 2))
    assert np.abs(drawn - SKIN).max() < 25  # colours are not fitted


def test_one_alike_frame_of_a_track_is_enough() -> None:
    likeness = judge()
    role = role_of(SKIN)
    frames = [FRAME] * N
    frames[2] = painted(MESH, color=SKIN)  # the real person in other light
    assert not likeness.is_unlike(role, [(0, 0, 9, 9)] * N, frames.__getitem__)


def test_somebody_like_another_drawn_person_is_refused() -> None:
    likeness = judge()
    assert is_unlike(likeness, SKIN)
    likeness.keep("person-1", 0)
    assert not is_unlike(likeness, SKIN)
    assert is_unlike(likeness, (90, 190, 60))
    likeness.keep("person-2", 3)
    assert likeness.redraws == {"person-1": 0, "person-2": 3}


def test_somebody_who_was_refused_stands_in_nobodys_way() -> None:
    likeness = judge()
    assert is_unlike(likeness, SKIN)  # one track
    assert not is_unlike(likeness, REAL)  # another one of the same person: refused
    likeness.keep("person-1", 4)
    assert is_unlike(likeness, SKIN)


def test_somebody_who_was_not_kept_stands_in_nobodys_way() -> None:
    likeness = judge()
    assert is_unlike(likeness, SKIN)
    assert is_unlike(likeness, SKIN)  # another track of the same person


@pytest.mark.parametrize(
    "value",
    [
        np.inf,
        np.nan,
    ],
)
def test_who_cannot_be_compared_is_refused(value: float) -> None:
    likeness = judge()

    class Broken(ByColor):
        def embed(self, chips: np.ndarray) -> np.ndarray:
            return np.full((len(chips), 128), value, np.float32)

    likeness.recogniser = Broken()  # type: ignore[assignment]
    with np.errstate(all="ignore"):
        assert not is_unlike(likeness, SKIN)


def test_faces_outside_the_frame_need_no_comparison() -> None:
    likeness = judge()
    role = role_of(SKIN)
    role.motion.translation[:, 0] -= 2000
    assert likeness.is_unlike(role, [(0, 0, 9, 9)] * N, lambda _: FRAME)


@pytest.mark.parametrize(("distance", "expected"), [(0.9, False), (1.1, False), (1.2, True)])
def test_who_passes_for_the_real_person_with_the_checks_recogniser_is_refused(
    distance: float, expected: bool
) -> None:
    class Apart:
        """Puts everybody so far from the first face of a pair."""

        name, threshold = "apart", 1.129

        def __init__(self) -> None:
            self.calls = 0

        def __call__(self, frame: np.ndarray, box: object) -> np.ndarray:
            assert frame.shape == FRAME.shape
            self.calls += 1
            return np.array([distance * (self.calls % 2)])

    likeness = judge()
    likeness.embedder = Apart()
    assert is_unlike(likeness, SKIN) is expected


def chips_of(role: Role) -> np.ndarray:
    """The drawn faces that are shown to the recogniser, ``(n, 112, 112, 3)``."""
    likeness = judge()
    likeness.is_unlike(role, [(0, 0, 9, 9)] * N, lambda _: FRAME)
    seen: Any = likeness.recogniser
    (chips,) = seen.seen
    return np.asarray(chips[len(chips) // 2 :], dtype=np.float64)


class Smiling(FlatPainter):
    """Draws a mouth: a red one, and a blue one once it speaks."""

    speaks = False

    def express(self, person: Person, motion: np.ndarray, corrections: int = 1) -> DrawnFace:
        face = super().express(person, motion, corrections)
        picture = face.picture.copy()
        color = (30, 40, 200) if self.speaks else (200, 30, 30)
        mouth = fill_outline(picture.shape[:2], face.mesh[list(LIPS_OUTER), :2] - 0.5) > 0
        picture[mouth] = color
        return dataclasses.replace(face, picture=picture)


def test_faces_are_compared_with_their_expression() -> None:
    painter = Smiling()
    role = renderer_of([MESH] * N, [FRAME] * N, painter).roles[0]
    assert painter.drawn == 1  # colours are fitted to the picture at rest
    painter.speaks = True
    mouth = chips_of(role)[:, 88:94, 52:60].reshape(-1, 3).mean(0)
    assert mouth[2] > mouth[0] + 60


def test_faces_are_compared_as_soft_as_the_film() -> None:
    painter = Smiling()
    role = renderer_of([MESH] * N, [FRAME] * N, painter).roles[0]

    def sharpness(texture: FilmTexture) -> float:
        role.texture = texture
        return float(np.abs(np.diff(chips_of(role)[:, 75:105, 40:72], axis=1)).max())

    assert sharpness(FilmTexture(2.7)) < 0.6 * sharpness(FilmTexture())
    noisy = FilmTexture(0.0, 12.0)
    role.texture = noisy
    cheek = chips_of(role)[:, 60:70, 30:40]
    assert cheek.std() > 3
