"""Mouth and eyes come from the expression's picture, everything else from the one at rest."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from dp3_lightning.anonymize.rendering.mesh.blend import Cover, cover
from dp3_lightning.anonymize.rendering.mesh.cast import Casting
from dp3_lightning.anonymize.rendering.mesh.patches import matched, patch_weights
from dp3_lightning.anonymize.rendering.mesh.people import DrawnFace
from dp3_lightning.anonymize.rendering.mesh.role import Role
from dp3_lightning.faces.appearance import fill_outline
from dp3_lightning.faces.expression import (
    BROWS,
    EYES,
    LIPS_INNER,
    LIPS_OUTER,
    OVAL,
)
from dp3_lightning.generators.face_prior.warp import MeshWarp
from tests.anonymize.rendering.mesh.mesh_fixtures import (
    REFERENCE,
    SKIN,
    FlatPainter,
    bounds,
    motion_of,
    painted,
    posed,
)

WEIGHTS = patch_weights(REFERENCE)
REST, EXPRESSED = (200, 40, 40), (40, 60, 210)
CHEEKS, NOSE_TIP, CHIN, BROW = (50, 280, 205, 425), 1, 152, 9


def placed(frames: int = 8, **angles: float) -> tuple[Casting, Role, Cover]:
    """A role of a face in one pose, and where it goes."""
    meshes = [posed(scale=45.0, **angles)] * frames
    motion = motion_of(meshes)
    assert motion is not None
    casting = Casting(lambda _: FlatPainter(), MeshWarp(REFERENCE), match_colors=False)  # type: ignore[arg-type, return-value]
    boxes = [bounds(mesh) for mesh in meshes]
    role = casting.role(
        0, boxes, motion, torch.zeros(1, 512), [painted(m) for m in meshes].__getitem__
    )
    place = cover(motion.place(motion.frontal[0], 0), role.target(0), (240, 320))
    assert place is not None
    return casting, role, place


def in_color(color: tuple[int, int, int]) -> DrawnFace:
    return FlatPainter(color=color).face()


def share_of_expression(drawn: np.ndarray) -> np.ndarray:
    """Where between the two colours every pixel lies; no third colour may show."""
    line = np.subtract(EXPRESSED, REST).astype(np.float64)
    share = (drawn - np.array(REST)) @ line / (line @ line)
    expected = np.array(REST) + share[..., None] * line
    assert np.abs(drawn - expected).max() < 1
    return share


def seen_triangles(casting: Casting, target: np.ndarray) -> np.ndarray:
    """Triangles of the face, larger than a few pixels, whose middle nothing else hides."""
    triangles = casting.warp.triangles
    triangles = triangles[(triangles < 468).all(1)]
    corners = target[triangles][..., :2]
    middles, depths = corners.mean(1), target[triangles][..., 2].mean(1)
    sides = np.roll(corners, -1, 1) - corners
    to_middle = middles[:, None, None] - corners[None]  # (middle, triangle, corner, 2)
    crosses = sides[..., 0] * to_middle[..., 1] - sides[..., 1] * to_middle[..., 0]
    within = (crosses > -2).all(-1) | (crosses < 2).all(-1)
    hidden = (within & (depths[None] < depths[:, None] - 0.5)).any(1)
    areas = np.abs(sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0]) / 2
    return triangles[~hidden & (areas > 3)]


# ----------------------------------------------------------------------------------- weights


def test_lips_and_lids_are_patches_and_the_rest_of_the_face_is_not() -> None:
    assert WEIGHTS.shape == (468,)
    assert WEIGHTS.min() >= 0
    assert WEIGHTS.max() <= 1
    assert (WEIGHTS[[*LIPS_INNER, *LIPS_OUTER, *EYES]] == 1).all()
    assert (WEIGHTS[[*OVAL, *CHEEKS, CHIN, BROW]] == 0).all()
    assert WEIGHTS[NOSE_TIP] < 0.03
    assert WEIGHTS[list(BROWS)].max() < 0.5  # raised brows are the mesh's business


def test_patches_fade_out_over_some_rows_of_points() -> None:
    below = [17, 18, 200, 199, 175, 152]  # from the lower lip to the chin
    assert (np.diff(WEIGHTS[below]) <= 0).all()
    assert ((WEIGHTS > 0.02) & (WEIGHTS < 0.98)).sum() > 40


# --------------------------------------------------------------------------- which pixels show


@pytest.mark.parametrize(
    "pose",
    [
        {},
        *({"yaw": yaw} for yaw in (-50, -25, 25, 50)),
        *({"pitch": pitch} for pitch in (-25, 25)),
        *({"roll": roll} for roll in (-90, 45, 180)),
        {"yaw": 30, "pitch": 15, "roll": -30},
    ],
    ids=str,
)
def test_every_pixel_comes_from_the_picture_it_should(pose: dict[str, float]) -> None:
    casting, role, place = placed(**pose)
    role._rests = {0: in_color(REST)}
    drawn = casting.warped(role, 0, [(in_color(EXPRESSED), 1.0)], place)
    share = share_of_expression(drawn)
    target = role.target(0) - [*place.corner, 0]
    counts = {"mouth and eyes": 0, "skin": 0, "between": 0}
    for corners in seen_triangles(casting, target):
        column, row = target[corners, :2].mean(0).astype(int)
        here, weights = share[row, column], WEIGHTS[corners]
        if (weights == 1).all():
            assert here > 0.97
            counts["mouth and eyes"] += 1
        elif (weights == 0).all():
            assert here < 0.03
            counts["skin"] += 1
        else:
            assert weights.min() - 0.15 < here < weights.max() + 0.15
            counts["between"] += 1
    assert min(counts.values()) >= 5
    # Nor does anything of the expression show outside the face.
    outside = (place.distance < 0) & (place.alpha > 0)
    assert share[outside].max() < 0.1


def test_nothing_of_the_mouth_at_rest_shows_between_the_lips() -> None:
    casting, role, place = placed()
    role._rests = {0: in_color(REST)}
    opened = role.shape.points.copy()
    lower = list({*LIPS_INNER[1:10], *np.flatnonzero(opened[:, 1] > opened[14, 1]).tolist()})
    opened[lower, 1] += 0.2
    role.shape = replace(role.shape, points=opened)
    drawn = casting.warped(role, 0, [(in_color(EXPRESSED), 1.0)], place)
    inner = role.target(0)[list(LIPS_INNER), :2] - place.corner
    mouth = fill_outline(place.size, inner) > 0
    assert mouth.sum() > 60
    assert share_of_expression(drawn)[mouth].min() > 0.97


def test_without_an_expression_the_picture_at_rest_shows_alone() -> None:
    casting, role, place = placed()
    role._rests = {0: in_color(REST)}
    assert np.abs(casting.warped(role, 0, [], place) - REST).max() < 1


def test_pictures_are_mixed_by_their_shares() -> None:
    casting, role, place = placed()
    role.poses = np.array([[-10.0, 0.0], [10.0, 0.0]])
    role._rests = {0: in_color((200, 0, 0)), 1: in_color((0, 200, 0))}
    role.motion.angles[0, 0] = 1.0
    shares = dict(role.rest_shares(0))
    assert 0.5 < shares[1] < 0.9
    keys = [(in_color((0, 0, 200)), 0.3), (in_color((0, 0, 100)), 0.7)]
    drawn = casting.warped(role, 0, keys, place)
    target = role.target(0) - [*place.corner, 0]

    def at(point: int) -> np.ndarray:
        column, row = target[point, :2].astype(int)
        return np.asarray(drawn[row, column])

    np.testing.assert_allclose(at(BROW), [200 * shares[0], 200 * shares[1], 0], atol=1)
    np.testing.assert_allclose(at(13), [0, 0, 130], atol=1)


# -------------------------------------------------------------------------------- colours


def at_points(face: DrawnFace, which: np.ndarray | list[int]) -> np.ndarray:
    columns, rows = face.mesh[which, :2].astype(int).T
    return face.picture[rows, columns].astype(np.float64)


def textured(color: tuple[int, int, int]) -> DrawnFace:
    """A face with a dark mouth and dark eyes."""
    face = in_color(color)
    picture = face.picture.copy()
    for ring in (LIPS_INNER, EYES[:16], EYES[16:]):
        cv2.fillPoly(picture, [face.mesh[list(ring), :2].astype(np.int32)], (40, 20, 20))
    return replace(face, picture=picture)


MEETING = np.flatnonzero((WEIGHTS > 0.02) & (WEIGHTS < 0.6))


def test_an_even_difference_is_taken_away() -> None:
    rest, face = in_color(SKIN), in_color((SKIN[0] + 14, SKIN[1] - 9, SKIN[2] + 5))
    fitted = matched(face, rest, WEIGHTS)
    assert np.abs(at_points(fitted, np.flatnonzero(WEIGHTS > 0)) - SKIN).max() <= 3
    assert np.abs(at_points(fitted, MEETING) - SKIN).max() <= 2
    assert fitted.picture.dtype == np.uint8
    # What was drawn is not changed by it.
    assert (face.picture == [SKIN[0] + 14, SKIN[1] - 9, SKIN[2] + 5]).all()
    np.testing.assert_array_equal(fitted.mesh, face.mesh)


def test_a_difference_of_sides_and_of_eyes_and_mouth_is_taken_away() -> None:
    rest, face = in_color(SKIN), in_color(SKIN)
    picture = face.picture.astype(np.float64)
    rows, columns = np.mgrid[0:256, 0:256] / 256 - 0.5
    picture += 40 * columns[..., None] + np.array([0, -20, 20]) * rows[..., None]
    face = replace(face, picture=picture.astype(np.uint8))
    before = np.abs(at_points(face, MEETING) - SKIN)
    after = np.abs(at_points(matched(face, rest, WEIGHTS), MEETING) - SKIN)
    assert after.mean() < 0.35 * before.mean()
    assert after.max() < 5


def test_mouth_and_eyes_keep_their_contrast() -> None:
    rest = in_color(SKIN)
    face = textured((SKIN[0] + 10, SKIN[1] + 10, SKIN[2] + 10))
    fitted = matched(face, rest, WEIGHTS)
    inside = fill_outline((256, 256), face.mesh[list(LIPS_INNER), :2] - 0.5) > 0
    dark = fitted.picture[inside].astype(int)
    assert np.abs(np.median(dark, 0) - [30, 10, 10]).max() < 12  # as dark, less the difference


def test_the_picture_at_rest_may_have_another_pose_and_size() -> None:
    rest, face = in_color(SKIN), in_color((SKIN[0] + 12, SKIN[1], SKIN[2]))
    mesh = rest.mesh * [1.2, 1.6, 1] + [190, 60, 0]
    picture = np.zeros((512, 512, 3), np.uint8)
    x0, y0, x1, y1 = (int(v) for v in bounds(mesh, 8))
    picture[y0:y1, x0:x1] = SKIN
    elsewhere = replace(rest, picture=picture, mesh=mesh)
    fitted = matched(face, elsewhere, WEIGHTS)
    assert np.abs(at_points(fitted, MEETING) - SKIN).max() <= 2
    assert fitted.picture.shape == (256, 256, 3)


def test_bright_and_dark_pictures_do_not_wrap_around() -> None:
    for ours, theirs in (((250, 4, 128), (255, 0, 128)), ((4, 250, 0), (0, 255, 255))):
        fitted = matched(textured(ours), in_color(theirs), WEIGHTS)
        assert np.abs(at_points(fitted, MEETING) - theirs).max() < 60
