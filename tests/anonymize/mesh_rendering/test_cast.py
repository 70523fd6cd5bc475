from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from dp3_lightning.anonymize.mesh_rendering.cast import Casting
from dp3_lightning.anonymize.mesh_rendering.role import Role
from dp3_lightning.anonymize.mesh_rendering.surroundings import context_of
from dp3_lightning.faces.expression import five_points
from dp3_lightning.generators.face_prior.warp import MeshWarp
from tests.anonymize.mesh_rendering.mesh_fixtures import (
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


# ------------------------------------------------------------------------------ surroundings


def scene(box: tuple[float, ...], size: tuple[int, int], grey: int = 100) -> np.ndarray:
    """One grey, and magenta wherever a pixel touches the box."""
    frame = np.full((*size, 3), grey, np.uint8)
    x0, y0 = (max(int(np.floor(v)), 0) for v in box[:2])
    x1, y1 = (max(int(np.ceil(v)), 0) for v in box[2:])
    frame[y0:y1, x0:x1] = (255, 0, 255)
    return frame


CONTEXTS = {
    "plain": (posed(), SIZE),
    "turned": (posed(roll=40), SIZE),
    "upside down": (posed(roll=180), SIZE),
    "tiny": (posed((8, 8), 4.0), (16, 16)),
    "shrunk": (posed((500, 480), 220.0), (960, 1000)),
    "shrunk strongly": (posed((1000, 1000), 1100.0), (2100, 2000)),
    "leaves at the left": (posed((5, 110)), SIZE),
    "leaves at the corner": (posed((318, 236)), SIZE),
    "larger than the frame": (posed((160, 110), 400.0), SIZE),
    "outside": (posed((-200, 110)), SIZE),
}


@pytest.mark.parametrize("case", CONTEXTS)
def test_contexts_hold_nothing_of_the_box(case: str) -> None:
    mesh, size = CONTEXTS[case]
    box = bounds(mesh)
    levels, known = context_of(scene(box, size), box, five_points(mesh))
    assert levels.shape == (3, 128, 128)
    assert known.shape == (1, 128, 128)
    assert levels.dtype == known.dtype == torch.float32
    assert torch.isfinite(levels).all()
    assert known.min() >= 0
    assert known.max() <= 1 + 1e-5
    seen = known[0] > 0.05
    assert (levels[:, ~seen] == 0).all()
    if case in ("larger than the frame", "outside"):
        assert not seen.any()
    else:
        assert (levels[:, seen] - (100 / 127.5 - 1)).abs().max() < 0.01
        assert not seen[50:90, 50:78].any()  # the face
        assert seen.float().mean() > 0.04


def test_contexts_do_not_change_with_what_is_in_the_box() -> None:
    mesh = posed(scale=60.0, roll=20)
    box = bounds(mesh)
    frame = painted(mesh)
    other = frame.copy()
    x0, y0, x1, y1 = box
    ys, xs = slice(max(int(y0), 0), int(np.ceil(y1))), slice(int(x0), int(np.ceil(x1)))
    other[ys, xs] = np.random.default_rng(0).integers(0, 256, other[ys, xs].shape)
    first, second = (context_of(f, box, five_points(mesh)) for f in (frame, other))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert first[0].std() > 0.05  # and shows what is around


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


@pytest.mark.parametrize(("scale", "size"), [(30.0, 256), (60.0, 512), (300.0, 1024)])
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
    assert set(asked) == {size}


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
