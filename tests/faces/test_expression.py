"""Pose and expression of made-up meshes whose pose and expression are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dp3_lightning.faces import expression
from dp3_lightning.faces.expression import (
    SIGNALS,
    STABLE,
    expression_signals,
    frontalise,
    mean_mesh,
    place,
    pose_angles,
)

MOUTH_SIGNALS = {"mouth_open", "mouth_width", "corner_lift", "lip_up", "mouth_x"}


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """R_y(yaw) R_x(pitch) R_z(roll), from degrees, written out."""
    (cy, cp, cr), (sy, sp, sr) = (f(np.radians([yaw, pitch, roll])) for f in (np.cos, np.sin))
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_y @ about_x @ about_z


@pytest.fixture
def face() -> np.ndarray:
    """A front of an ellipsoid that looks straight ahead, outer eyes 1 apart, bridge at 0."""
    rng = np.random.default_rng(3)
    points = rng.normal(size=(468, 3))
    points[:, 2] = -np.abs(points[:, 2])
    points *= np.array([0.8, 1.1, 0.6]) / np.linalg.norm(points, axis=1, keepdims=True)
    points[[33, 263]] = [[-0.5, 0.02, -0.2], [0.5, 0.02, -0.2]]
    points[[10, 152]] = [[0.01, -0.8, -0.1], [-0.02, 1.0, -0.1]]
    points[[234, 454]] = [[-0.8, 0.1, 0.3], [0.82, 0.1, 0.3]]
    points[1] = [0.0, 0.4, -0.7]  # tip of the nose
    points[168] = 0.0
    return points


POSES = [(0.0, 0.0, 0.0), (25.0, -10.0, 5.0), (-60.0, 30.0, 170.0), (10.0, 80.0, -95.0)]


@pytest.mark.parametrize("pose", POSES)
def test_frontalise_undoes_any_similarity(
    face: np.ndarray, pose: tuple[float, float, float]
) -> None:
    turn = rotation(*pose)
    seen = 70.0 * face @ turn.T + [320.0, 100.0, -5.0]
    frontal = frontalise(seen, face)
    np.testing.assert_allclose(frontal.points, face, atol=1e-12)
    np.testing.assert_allclose(frontal.rotation, turn, atol=1e-12)
    np.testing.assert_allclose(frontal.translation, [320.0, 100.0, -5.0], atol=1e-9)
    assert frontal.scale == pytest.approx(70.0)
    assert frontal.scale.shape == ()
    np.testing.assert_allclose(pose_angles(frontal.rotation), pose, atol=1e-9)


def test_expression_stays_and_pose_does_not_see_it(face: np.ndarray) -> None:
    moving = np.setdiff1d(np.arange(468), STABLE)
    expressive = face.copy()
    expressive[moving] += np.random.default_rng(0).normal(scale=0.1, size=(len(moving), 3))
    frontal = frontalise(40.0 * expressive @ rotation(20, 5, 3).T + 100.0, face)
    np.testing.assert_allclose(frontal.points, expressive, atol=1e-12)


def test_frontalise_finds_the_best_similarity_of_a_face_that_fits_none(face: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    other = 30.0 * (face + rng.normal(scale=0.05, size=face.shape)) @ rotation(30, 10, 5).T
    best = frontalise(other, face)
    stable = list(STABLE)

    def error(scale: Any, turn: np.ndarray, shift: np.ndarray) -> float:
        return float(((place(face, scale, turn, shift) - other)[stable] ** 2).sum())

    least = error(best.scale, best.rotation, best.translation)
    assert least < 2 * len(STABLE) * 3 * (30 * 0.05) ** 2
    for step in np.eye(3):
        for sign in (-1, 1):
            nudged = best.rotation @ rotation(*(sign * 0.2 * step))
            assert error(best.scale, nudged, best.translation) > least
            assert error(best.scale, best.rotation, best.translation + sign * 0.05 * step) > least
    assert error(1.002 * best.scale, best.rotation, best.translation) > least
    assert error(0.998 * best.scale, best.rotation, best.translation) > least


def test_a_mirrored_face_gets_a_rotation_all_the_same(face: np.ndarray) -> None:
    found = frontalise(face * [-1.0, 1.0, 1.0], face).rotation
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(found) == pytest.approx(1.0)


def test_leading_axes_equal_a_loop_and_place_inverts(face: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    track = np.stack(
        [
            (20 + 5 * t)
            * (face + rng.normal(scale=0.03, size=face.shape))
            @ rotation(9 * t, t, 3).T
            for t in range(6)
        ]
    ) + rng.normal(scale=50, size=(6, 1, 3))
    whole = frontalise(track.reshape(2, 3, 468, 3), face)
    assert whole.scale.shape == (2, 3)
    for index, mesh in enumerate(track):
        one, place_in_batch = frontalise(mesh, face), divmod(index, 3)
        for name in ("points", "scale", "rotation", "translation"):
            there = getattr(whole, name)[place_in_batch]
            np.testing.assert_allclose(there, getattr(one, name), atol=1e-9)
    signals = expression_signals(whole.points)
    assert signals.shape == (2, 3, len(SIGNALS))
    np.testing.assert_array_equal(signals[1, 2], expression_signals(whole.points[1, 2]))
    angles = pose_angles(whole.rotation)
    np.testing.assert_allclose(angles[1, 0], pose_angles(whole.rotation[1, 0]))
    back = place(whole.points, whole.scale, whole.rotation, whole.translation)
    np.testing.assert_allclose(back.reshape(6, 468, 3), track, atol=1e-9)


def test_signs_of_the_angles_as_documented(face: np.ndarray) -> None:
    def nose(yaw: float, pitch: float, roll: float) -> np.ndarray:
        seen = face @ rotation(yaw, pitch, roll).T
        return np.asarray(seen[1] - face[1])

    assert nose(20, 0, 0)[0] < 0  # to the left
    assert nose(0, 20, 0)[1] > 0  # down
    right_eye, left_eye = (face @ rotation(0, 0, 20).T)[[33, 263]]
    assert left_eye[1] > right_eye[1]  # the picture's right eye sinks: clockwise


def changed(before: np.ndarray, after: np.ndarray) -> set[str]:
    moved = np.abs(expression_signals(after) - expression_signals(before)) > 1e-9
    return {name for name, yes in zip(SIGNALS, moved, strict=True) if yes}


def signal(points: np.ndarray, name: str) -> float:
    return float(expression_signals(points)[SIGNALS.index(name)])


def test_opening_the_mouth_changes_mouth_signals_only(face: np.ndarray) -> None:
    opened = face.copy()
    lower = [i for i in (*expression.LIPS_INNER[1:10], *expression.LIPS_OUTER[1:10])]
    opened[lower, 1] += 0.2
    assert changed(face, opened) <= MOUTH_SIGNALS
    gained = signal(opened, "mouth_open") - signal(face, "mouth_open")
    assert gained == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("points", "axis", "by", "only"),
    [
        ([61, 291], 1, -0.1, {"corner_lift"}),
        ([159, 160, 158], 1, -0.1, {"eye_right"}),
        ([386, 387, 385], 1, -0.1, {"eye_left"}),
        ([145, 144, 153], 1, 0.1, {"eye_right"}),
        ([374, 373, 380], 1, 0.1, {"eye_left"}),
        ([33, 133], 1, 0.1, {"brow_right"}),
        ([263, 362], 1, 0.1, {"brow_left"}),
        ([2], 1, -0.1, {"lip_up"}),
        ([168], 0, -0.1, {"mouth_x"}),
        ([105, 66, 63], 1, -0.1, {"brow_right"}),
        ([334, 296, 293], 1, -0.1, {"brow_left"}),
        ([336], 0, 0.1, {"brow_inner"}),
        ([152], 1, 0.1, {"jaw"}),
        ([291], 0, 0.1, {"mouth_width"}),
    ],
)
def test_each_movement_raises_its_own_signal(
    face: np.ndarray, points: list[int], axis: int, by: float, only: set[str]
) -> None:
    moved = face.copy()
    moved[points, axis] += by
    assert changed(face, moved) == only
    (name,) = only
    assert signal(moved, name) - signal(face, name) == pytest.approx(0.1)


def test_mean_of_turned_copies_is_the_shape(face: np.ndarray) -> None:
    rng = np.random.default_rng(4)
    copies = [
        rng.uniform(10, 300) * face @ rotation(*rng.uniform(-80, 80, 3)).T
        + rng.uniform(-500, 500, 3)
        for _ in range(7)
    ]
    np.testing.assert_allclose(mean_mesh(np.array(copies)), face, atol=1e-9)


def test_mean_of_different_faces_forgets_their_poses_and_averages_their_shapes(
    face: np.ndarray,
) -> None:
    rng = np.random.default_rng(5)
    shapes = face + rng.normal(scale=0.05, size=(400, *face.shape))
    posed = np.stack([50 * s @ rotation(*rng.uniform(-50, 50, 3)).T + 300.0 for s in shapes])
    mean = mean_mesh(posed)
    assert np.linalg.norm(mean[33] - mean[263]) == pytest.approx(1.0)
    assert mean[168] == pytest.approx([0, 0, 0])
    assert mean[454, 1:] == pytest.approx(mean[234, 1:])
    assert mean[10, 2] == pytest.approx(mean[152, 2])
    assert np.abs(mean - face).max() < 0.03  # 0.05 / sqrt(400) a point, times four deviations


def test_lists_name_every_point_once_and_on_the_mesh() -> None:
    names = "OVAL LIPS_OUTER LIPS_INNER EYES BROWS NOSE STABLE"
    for points in (getattr(expression, name) for name in names.split()):
        assert len(set(points)) == len(points)
        assert 0 <= min(points) <= max(points) < 468
    assert not set(STABLE) & {*expression.LIPS_OUTER, *expression.LIPS_INNER, *expression.BROWS}


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.ones((467, 3)), r"`points` of shape \(\.\.\., 468, 3\), got \(467, 3\)"),
        (np.ones((2, 468, 2)), r"got \(2, 468, 2\)"),
        (np.full((468, 3), np.nan), "`points` to be finite"),
        (np.ones((468, 3)), "to be faces, got a single point"),
    ],
)
def test_bad_meshes_are_refused(face: np.ndarray, points: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frontalise(points, face)


def test_bad_references_and_collections_are_refused(face: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"`reference` of shape \(468, 3\), got \(1, 468, 3\)"):
        frontalise(face, face[None])
    with pytest.raises(ValueError, match="`frontal_points`"):
        expression_signals(face[:5])
    for meshes in (face, np.zeros((0, 468, 3))):
        with pytest.raises(ValueError, match=r"`meshes` of shape \(N, 468, 3\)"):
            mean_mesh(meshes)
