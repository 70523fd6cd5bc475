from __future__ import annotations

import numpy as np
import pytest

from dp3_lightning.faces.alignment import align_matrix, upright_points
from dp3_lightning.faces.expression import five_points
from dp3_lightning.generators.face_prior.adapter import DRAWN_BOX
from tests.face_prior_fixtures import aligned_mesh, rotated

FIVE = np.array([[100, 120], [160, 118], [131, 150], [108, 182], [154, 180]], float)


def shown(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def test_rule_by_hand() -> None:
    five = np.array([[40, 50], [80, 50], [60, 70], [45, 90], [75, 90]], float)
    # Eyes 40 apart, mouth 40 below them: half a side is 80, the centre 4 below the eyes.
    half = 80 * 1.012
    matrix = align_matrix(five, 200)
    corners = np.array([[60 - half, 54 - half], [60 + half, 54 + half]])
    np.testing.assert_allclose(shown(matrix, corners), [[0, 0], [200, 200]], atol=1e-9)


def test_axes_follow_eyes_and_mouth_alike() -> None:
    five = np.array([[40, 50], [80, 50], [70, 70], [65, 90], [95, 90]], float)
    # Across (40, 0), down (20, 40): the axis to the right is (40, 0) + (40, -20).
    matrix = align_matrix(five, 100)
    assert matrix[0, 1] / matrix[0, 0] == pytest.approx(-20 / 80)
    assert matrix[1, 0] / matrix[1, 1] == pytest.approx(20 / 80)


@pytest.mark.parametrize("roll", [15.0, -70.0, 180.0])
@pytest.mark.parametrize("scale", [0.3, 2.5])
def test_faces_look_alike_however_they_lie(roll: float, scale: float) -> None:
    aligned = shown(align_matrix(FIVE, 256), FIVE)
    moved = scale * rotated(FIVE, roll, (130, 150)) + [300.0, -40.0]
    matrix = align_matrix(moved, 256)
    np.testing.assert_allclose(shown(matrix, moved), aligned, atol=1e-9)
    linear = matrix[:, :2]
    gain = np.linalg.det(linear)
    assert gain > 0
    np.testing.assert_allclose(linear @ linear.T, gain * np.eye(2), atol=1e-9)  # no shear


def test_size_of_the_picture_scales_it() -> None:
    np.testing.assert_allclose(align_matrix(FIVE, 512), 4 * align_matrix(FIVE, 128))


def test_eyes_are_level_above_the_mouth() -> None:
    eye_right, eye_left, _, mouth_right, mouth_left = shown(align_matrix(FIVE, 1), FIVE)
    assert abs(eye_right[1] - eye_left[1]) < 0.02
    assert eye_right[0] < 0.5 < eye_left[0]
    assert mouth_right[1] > eye_right[1] + 0.2
    assert abs((eye_right + eye_left + mouth_right + mouth_left)[0] / 4 - 0.5) < 0.02


@pytest.mark.parametrize("narrowed", [0.8, 0.5, 0.2])
def test_turned_heads_keep_their_size(narrowed: float) -> None:
    five = five_points(aligned_mesh(256))
    front = align_matrix(five, 256)
    turned = five * [narrowed, 1.0] + [40.0, 0.0]
    scale = np.hypot(*align_matrix(turned, 256)[0, :2]) / np.hypot(*front[0, :2])
    assert 1.0 <= scale < 1.12  # eyes alone would make it 1 / narrowed


def test_points_on_one_spot_are_no_error() -> None:
    assert np.isfinite(align_matrix(np.full((5, 2), 7.0), 64)).all()


@pytest.mark.parametrize("size", [64, 300])
def test_upright_points_of_a_box_are_those_of_a_drawn_face(size: int) -> None:
    box = np.array(DRAWN_BOX) * size
    five = upright_points(box)
    assert np.abs(five - five_points(aligned_mesh(size))).max() < 0.025 * size
    np.testing.assert_allclose(align_matrix(five, size), np.eye(2, 3), atol=0.06 * size)
    moved = upright_points(box * 2 + np.array([10, 30, 10, 30]))
    np.testing.assert_allclose(moved, five * 2 + np.array([10, 30]))
    wide = upright_points((0, 0, 200, 100))
    assert np.ptp(wide[:, 0]) > 0.8 * np.ptp(wide[:, 1])
