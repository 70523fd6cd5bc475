from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from dp3_lightning.anonymize.rendering.mesh.blend import cover
from dp3_lightning.anonymize.rendering.mesh.cast import Casting
from dp3_lightning.anonymize.rendering.mesh.film_texture import FilmTexture
from dp3_lightning.anonymize.rendering.mesh.people import DrawnFace, Person
from dp3_lightning.anonymize.rendering.mesh.role import Role
from dp3_lightning.faces.appearance import fill_outline, lab_of
from dp3_lightning.faces.expression import LIPS_INNER, SIGNALS, expression_signals
from dp3_lightning.generators.face_prior.latent_model import MOTION
from dp3_lightning.generators.face_prior.warp import MeshWarp
from tests.anonymize.rendering.mesh.mesh_fixtures import (
    REFERENCE,
    SIZE,
    SKIN,
    FlatPainter,
    bounds,
    motion_of,
    painted,
    posed,
    renderer_of,
)

PALER = (214, 164, 138)  # than the drawn skin


def cast(
    meshes: list[np.ndarray],
    frames: list[np.ndarray],
    painter: FlatPainter | None = None,
    **options: object,
) -> Role:
    painter = painter or FlatPainter()
    casting = Casting(lambda _: painter, MeshWarp(REFERENCE), **options)  # type: ignore[arg-type, return-value]
    motion = motion_of(meshes)
    assert motion is not None
    boxes = [bounds(mesh) for mesh in meshes]
    return casting.role(0, boxes, motion, torch.zeros(1, 512), frames.__getitem__)


# ------------------------------------------------------------------------------ between keys


def test_frames_are_mixed_from_the_keys_around_them() -> None:
    meshes = [posed((100 + 3 * t, 110), yaw=3 * t - 40) for t in range(28)]
    role = renderer_of(meshes, [painted(mesh) for mesh in meshes]).roles[0]
    assert 2 <= len(role.keys) < 28
    for at in range(28):
        mixed = role.neighbours(at)
        assert sum(share for _, share in mixed) == pytest.approx(1)
        assert all(key in role.keys and share >= 0 for key, share in mixed)
        # The nearer key shows more, and each shows alone for a while.
        nearest = min(role.keys, key=lambda key: abs(key - at))
        if (
            sorted(abs(key - at) for key in role.keys)[0]
            < sorted(abs(key - at) for key in role.keys)[1]
        ):
            assert max(mixed, key=lambda pair: pair[1])[0] == nearest
        if at in role.keys:
            assert mixed == [(at, 1.0)]


def test_frames_between_runs_are_not_mixed_across_a_gap() -> None:
    meshes = [posed()] * 30
    trusted = np.ones(30, bool)
    trusted[10:20] = False
    motion = motion_of(meshes, trusted)
    assert motion is not None
    painter = FlatPainter()
    casting = Casting(lambda _: painter, MeshWarp(REFERENCE))  # type: ignore[arg-type, return-value]
    frames = [painted(meshes[0])] * 30
    boxes = [bounds(mesh) for mesh in meshes]
    role = casting.role(0, boxes, motion, torch.zeros(1, 512), frames.__getitem__)
    for at in [*range(10), *range(20, 30)]:
        assert all((key < 15) == (at < 15) for key, _ in role.neighbours(at))


# ------------------------------------------------------------------------------ colours


def around(color: tuple[int, int, int], n: int = 8) -> list[np.ndarray]:
    """Frames of one colour: skin of which all that is beside the face is."""
    grain = np.random.default_rng(0).integers(-2, 3, (*SIZE, 1))
    return [(np.array(color) + grain).astype(np.uint8)] * n


def test_drawn_colours_follow_the_skin_around() -> None:
    meshes = [posed()] * 8
    role = cast(meshes, around(PALER))
    assert role.shift.shape == (8, 3)
    assert (role.shift[:, 0] > 1.5).all()
    same = cast(meshes, around(SKIN))
    assert np.abs(same.shift).max() < 1
    assert np.abs(role.shift).max() <= 6 + 5  # never by far
    assert role.tone is None


def test_colours_stay_as_drawn_when_they_shall_not_be_matched() -> None:
    role = cast([posed()] * 8, around(PALER), match_colors=False)
    assert not role.shift.any()


def test_nothing_is_shifted_without_skin_around() -> None:
    assert not cast([posed()] * 8, around((30, 60, 190))).shift.any()


def test_somebody_who_was_chosen_before_is_drawn_again() -> None:
    meshes, frames = [posed()] * 5, around(SKIN, 5)
    first = cast(meshes, frames)
    painter = FlatPainter()
    painter.choose = None  # type: ignore[assignment, method-assign]
    casting = Casting(lambda _: painter, MeshWarp(REFERENCE))  # type: ignore[arg-type, return-value]
    boxes = [bounds(mesh) for mesh in meshes]
    again = casting.role(
        7, boxes, first.motion, torch.ones(1, 512), lambda i: frames[i - 7], first.person
    )
    assert again.person is first.person
    assert again.start == 7


@pytest.mark.parametrize(("scale", "size"), [(30.0, 256), (80.0, 512), (300.0, 1024)])
def test_faces_are_drawn_at_the_size_that_is_seen(scale: float, size: int) -> None:
    asked = []

    def painter_of(wanted: int) -> FlatPainter:
        asked.append(wanted)
        return FlatPainter()

    casting = Casting(painter_of, MeshWarp(REFERENCE))  # type: ignore[arg-type]
    mesh = posed(scale=scale)
    motion = motion_of([mesh] * 4)
    assert motion is not None
    frame = painted(mesh)
    casting.role(0, [bounds(mesh)] * 4, motion, torch.zeros(1, 512), lambda _: frame)
    assert set(asked) == {256, size}  # people are chosen small


def test_the_drawn_face_moves_as_the_real_one_from_its_own_rest() -> None:
    shape = REFERENCE.copy()
    shape[[14, 87, 317], 1] += 0.2
    meshes = [posed()] * 8 + [posed(shape=shape)] * 8
    drawn = REFERENCE * [0.95, 1.0, 1.0]
    role = cast(meshes, [painted(mesh) for mesh in meshes], FlatPainter(drawn))
    rest, spoken = role.frontal(2), role.frontal(13)
    np.testing.assert_allclose((spoken - rest)[14], [0, 0.2, 0], atol=0.01)
    np.testing.assert_allclose((spoken - rest)[168], 0, atol=0.01)
    placed = dataclasses.replace(role).target(2)
    assert placed.shape == (468, 3)
    assert np.abs(placed[:, :2].mean(0) - meshes[2][:, :2].mean(0)).max() < 2


# ------------------------------------------------------------------------------ one texture


class Expressive(FlatPainter):
    """Draws a person at rest in one skin, and every expression in another skin."""

    def __init__(self) -> None:
        super().__init__()
        self.rests = 0
        self.asked: list[bytes] = []

    def express(self, person: Person, motion: np.ndarray, corrections: int = 1) -> DrawnFace:
        self.asked.append(motion.tobytes())
        face = super().express(person, motion, corrections)
        rest = expression_signals(person.frontal)[SIGNALS.index("mouth_open")]
        at_rest = abs(motion[MOTION.index("mouth_open")] - rest) < 0.01
        picture = face.picture.copy()
        if not at_rest:
            rng = np.random.default_rng(len(self.asked))
            picture[:] = np.array(SKIN) + rng.integers(-18, 19, 3)
            for spot in (50, 280, 9, 152):  # what the rest shall never take over
                x, y = face.mesh[spot, :2].astype(int)
                picture[y - 4 : y + 5, x - 4 : x + 5] = (0, 255, 0)
        lips = [face.mesh[list(LIPS_INNER), :2].astype(np.int32)]
        cv2.fillPoly(picture, lips, (200, 30, 30) if at_rest else (20, 20, 160))
        return dataclasses.replace(face, picture=picture)


def speaking(n: int = 40, yaw: float = 0.0) -> tuple[Casting, Role, Expressive, list[np.ndarray]]:
    """A film of a mouth that opens and closes."""
    opened = REFERENCE.copy()
    lower = [*LIPS_INNER[1:10], *np.flatnonzero(opened[:, 1] > opened[14, 1])]
    opened[lower, 1] += 0.15
    share = np.abs(np.sin(np.arange(n) / 5))
    share[: n // 4] = 0
    meshes = [
        posed(scale=45.0, shape=REFERENCE + s * (opened - REFERENCE), yaw=yaw * (t / n - 0.5))
        for t, s in enumerate(share.tolist())
    ]
    frames = [painted(mesh) for mesh in meshes]
    painter = Expressive()
    casting = Casting(lambda _: painter, MeshWarp(REFERENCE), match_colors=False, every=3)  # type: ignore[arg-type, return-value]
    motion = motion_of(meshes)
    assert motion is not None
    boxes = [bounds(mesh) for mesh in meshes]
    role = casting.role(0, boxes, motion, torch.zeros(1, 512), frames.__getitem__)
    return casting, role, painter, frames


def drawn_at(casting: Casting, role: Role, at: int) -> tuple[np.ndarray, np.ndarray]:
    """The drawn face of a frame and its mesh there."""
    target = role.target(at)
    place = cover(role.motion.place(role.motion.frontal[at], at), target, SIZE)
    assert place is not None
    return casting.face_at(role, at, place), target[:, :2] - place.corner


def colors_at(drawn: np.ndarray, points: np.ndarray) -> np.ndarray:
    columns, rows = points.astype(int).T
    return np.asarray(drawn[rows, columns])


def test_keys_of_another_skin_never_change_the_skin_of_a_frame() -> None:
    casting, role, painter, frames = speaking()
    for at in range(len(frames)):
        drawn, points = drawn_at(casting, role, at)
        skin = colors_at(drawn, points[[50, 280, 205, 425, 9, 151, 152, 4, 117, 346]])
        assert np.abs(skin - SKIN).max() < 1
        # Nor beside mouth and eyes, where both meet.
        beside = colors_at(drawn, points[[164, 18, 200, 206, 426, 57, 287, 111, 340]])
        assert np.abs(beside - SKIN).max() < 8
        green = drawn[..., 1] - np.maximum(drawn[..., 0], drawn[..., 2]) > 40
        assert not green.any()
    assert painter.drawn > 3


def test_mouths_show_the_expression_and_nothing_of_the_rest() -> None:
    casting, role, _, _ = speaking()
    rest = expression_signals(role.person.frontal)[SIGNALS.index("mouth_open")]
    spoken = 0
    for at in role.keys:
        if role.wanted(at)[MOTION.index("mouth_open")] - rest < 0.05:
            continue
        spoken += 1
        drawn, points = drawn_at(casting, role, at)
        inner = fill_outline(drawn.shape[:2], points[list(LIPS_INNER)] - 0.5) > 0
        inner = cv2.erode(inner.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        assert inner.sum() > 20
        red, green, blue = drawn[inner].T
        assert (blue > red + 60).mean() > 0.9
        assert (red - green < 90).all()  # that of the rest is 170
    assert spoken >= 3


def test_key_pictures_held_are_few_and_come_back_alike() -> None:
    casting, role, _, _ = speaking(60)
    role.painter = FlatPainter(color=(180, 130, 110))  # type: ignore[assignment]
    role._rests.clear()
    counted: Any = role.painter
    first = casting.key_face(role, 0).picture.copy()
    before = counted.drawn
    casting.key_face(role, 0)
    assert counted.drawn == before  # held
    for key in range(1, 31):
        casting.key_face(role, key)
        casting.key_face(role, 1)  # asked for again and again: never dropped
        assert len(role.drawn) <= 24
    assert counted.drawn == before + 30
    casting.key_face(role, 1)
    casting.key_face(role, 30)
    assert counted.drawn == before + 30
    again = casting.key_face(role, 0)
    assert counted.drawn == before + 31
    np.testing.assert_array_equal(again.picture, first)


def test_key_pictures_are_fitted_to_the_rest_that_shows_most() -> None:
    casting, role, _, frames = speaking(yaw=80.0)
    assert len(role.poses) >= 2
    tones = [(200, 150, 125), (150, 100, 75), (110, 70, 50), (60, 40, 30)]
    role._rests = {n: FlatPainter(color=tones[n]).face() for n in range(len(role.poses))}
    lip = 164
    for at in (0, len(frames) - 1):
        ((number, share),) = role.rest_shares(at)
        assert share == 1
        face = casting.key_face(role, at)
        (color,) = colors_at(face.picture, face.mesh[[lip], :2])
        assert np.abs(color.astype(int) - tones[number]).max() < 12


# ------------------------------------------------------------------------------ options


def test_only_a_part_of_what_the_seam_says_is_believed() -> None:
    """Necks lie in shade: even a seam that fits asks for a little."""

    def lab(color: tuple[int, int, int]) -> np.ndarray:
        return lab_of(np.full((1, 1, 3), color, np.uint8))[0, 0]

    paler = (200, 150, 125)
    difference = lab(paler) - lab(SKIN)
    assert 3 < difference[0] < 5
    expected = (difference - [-1.2, -0.2, 0.7]) * [0.2, 0.7, 0.7]
    found = cast([posed()] * 8, around(paler)).shift
    assert (np.abs(found[4] - expected) < [0.3, 0.05, 0.05]).all()
    assert found[4, 0] < 0.8 * difference[0]


def test_film_textures_are_fitted_unless_colours_shall_stay() -> None:
    meshes = [posed(scale=60.0)] * 8
    rng = np.random.default_rng(0)
    noisy = [
        np.clip(frame + rng.normal(0, 6, (*SIZE, 1)), 0, 255).astype(np.uint8)
        for frame in around(SKIN)
    ]
    assert cast(meshes, noisy).texture.grain == pytest.approx(6, rel=0.2)
    assert cast(meshes, noisy, match_colors=False).texture == FilmTexture()


@pytest.mark.parametrize("by_key", [False, True])
def test_the_key_is_told_to_who_chooses(by_key: bool) -> None:
    told: list[tuple[object, ...]] = []

    class Told(FlatPainter):
        def choose(self, *arguments: object, **options: object) -> Person:
            told.append(arguments)
            return super().choose()

    painter = Told()
    casting = Casting(lambda _: painter, MeshWarp(REFERENCE))  # type: ignore[arg-type, return-value]
    mesh = posed()
    motion = motion_of([mesh] * 4)
    assert motion is not None
    residual, identity = torch.ones(1, 512), np.ones(100)
    casting.role(
        0,
        [bounds(mesh)] * 4,
        motion,
        residual,
        lambda _: painted(mesh),
        strength=0.3,
        identity=identity,
        by_key=by_key,
    )
    ((contexts, _, draw, strength, wanted, keyed),) = told
    assert len(contexts) >= 1  # type: ignore[arg-type]
    assert np.shape(draw) == (512,)
    assert strength == 0.3
    assert wanted is identity
    assert keyed is by_key
