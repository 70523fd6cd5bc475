from __future__ import annotations

import numpy as np
import pytest

from dp3_lightning.anonymize.rendering.mesh.shape import fit_shape
from dp3_lightning.faces.expression import EYES, LIPS_OUTER, NOSE, OVAL
from tests.anonymize.rendering.mesh.mesh_fixtures import REFERENCE

WIDER = {
    "wider": REFERENCE * [1.35, 1.0, 1.0],
    "longer": REFERENCE * [1.0, 1.3, 1.0],
    "larger": REFERENCE * 1.7,
    "narrower": REFERENCE * [0.8, 1.0, 1.0],
    "smaller": REFERENCE * 0.6,
}


def with_jaw(width: float) -> np.ndarray:
    """The mean face with another width of the lower half of its outline."""
    shape = REFERENCE.copy()
    low = shape[:, 1] > 0.3
    shape[low, 0] *= 1 + (width - 1) * np.clip((shape[low, 1] - 0.3) / 0.3, 0, 1)
    return shape


def center_of(points: np.ndarray) -> np.ndarray:
    outline = points[list(OVAL), :2]
    return (outline.max(0) + outline.min(0)) / 2


def reach(points: np.ndarray, center: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """How far an outline reaches from a centre, by the angle."""
    outline = points[list(OVAL), :2] - center
    known = np.arctan2(outline[:, 1], outline[:, 0])
    return np.interp(angles, *_by_angle(known, np.hypot(*outline.T)), period=2 * np.pi)


def _by_angle(known: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(known)
    return known[order], values[order]


def test_equal_faces_come_back_unchanged() -> None:
    fitted = fit_shape(REFERENCE, REFERENCE)
    assert fitted.scale == pytest.approx(1)
    np.testing.assert_allclose(fitted.points, REFERENCE, atol=1e-12)


@pytest.mark.parametrize(("factor", "scale"), [(1.05, 1 / 1.05), (0.95, 1 / 0.95)])
def test_size_is_that_of_the_real_face(factor: float, scale: float) -> None:
    fitted = fit_shape(REFERENCE * factor, REFERENCE)
    assert fitted.scale == pytest.approx(scale)
    np.testing.assert_allclose(fitted.points, REFERENCE, atol=1e-9)


@pytest.mark.parametrize(("factor", "scale"), [(2.0, 0.82), (0.5, 1.12)])
def test_scales_have_limits(factor: float, scale: float) -> None:
    assert fit_shape(REFERENCE * factor, REFERENCE).scale == pytest.approx(scale)


@pytest.mark.parametrize("drawn", [*WIDER.values(), with_jaw(1.3), with_jaw(0.8)])
def test_the_outline_is_centred_and_stays_in_the_real_one(drawn: np.ndarray) -> None:
    real = REFERENCE + np.array([0.05, -0.04, 0.0])
    fitted = fit_shape(drawn, real)
    assert np.isfinite(fitted.points).all()
    np.testing.assert_allclose(center_of(fitted.points), center_of(real), atol=0.03)
    middle, angles = real[list(OVAL), :2].mean(0), np.linspace(-np.pi, np.pi, 90)
    assert (reach(fitted.points, middle, angles) / reach(real, middle, angles)).max() < 1.045


@pytest.mark.parametrize("drawn", [with_jaw(1.35), REFERENCE * [1.2, 1.0, 1.0]])
def test_features_keep_the_drawn_proportions(drawn: np.ndarray) -> None:
    fitted = fit_shape(drawn, REFERENCE)
    features = [*EYES, *LIPS_OUTER, *NOSE]
    plain = drawn[features, :2] * fitted.scale
    moved = fitted.points[features, :2]
    shift = (moved - plain).mean(0)
    assert np.abs(moved - plain - shift).max() < 0.003  # of the distance of the outer eyes
    outline = drawn[list(OVAL), :2] * fitted.scale + shift
    assert np.abs(fitted.points[list(OVAL), :2] - outline).max() > 0.03  # it was pulled in


def test_faces_that_are_narrower_are_only_scaled_and_moved() -> None:
    drawn = REFERENCE * [0.9, 1.0, 1.0]
    fitted = fit_shape(drawn, REFERENCE)
    plain = drawn * fitted.scale
    difference = fitted.points - plain
    # Longer by the scale at forehead and chin at most.
    assert np.abs(difference - difference.mean(0))[[*EYES, *LIPS_OUTER]].max() < 0.003


def test_arguments_are_left_as_they_are() -> None:
    drawn, real = with_jaw(1.3), REFERENCE.copy()
    fit_shape(drawn, real)
    np.testing.assert_array_equal(drawn, with_jaw(1.3))
    np.testing.assert_array_equal(real, REFERENCE)
