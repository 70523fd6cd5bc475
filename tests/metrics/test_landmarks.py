"""Motion kept, on meshes whose motion is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dp3_lightning.faces.expression import STABLE, mean_mesh, place
from dp3_lightning.metrics import (
    MOTION_SIGNALS,
    column_correlations,
    frontal_correlation,
    landmark_correlation,
    motion_signals,
)
from dp3_lightning.structures import FloatArray

N = 48
# Points of MediaPipe's mesh, with what a signal is made of.
LOWER_LIP, CORNER, LOWER_LIDS = [14, 87, 317], [291], [145, 144, 153, 374, 373, 380]
BROWS = [105, 66, 63, 334, 296, 293]


def neutral() -> FloatArray:
    """A curved oval that stands for a face, seen from the front."""
    rng = np.random.default_rng(0)
    angle, radius = rng.uniform(0, 2 * np.pi, 468), np.sqrt(rng.uniform(0, 1, 468))
    points = np.stack([radius * np.cos(angle), 1.3 * radius * np.sin(angle), 0.5 * radius**2], 1)
    points[33], points[263] = (-0.5, -0.3, 0.2), (0.5, -0.3, 0.2)
    points[168], points[10], points[152] = (0, -0.3, 0), (0, -1.3, 0.5), (0, 1.3, 0.5)
    points[234], points[454] = (-1, 0, 0.5), (1, 0, 0.5)
    result: FloatArray = mean_mesh(points[None])
    return result


FACE = neutral()


def rotation(yaw: float, pitch: float, roll: float) -> FloatArray:
    """R_y(yaw) R_x(pitch) R_z(roll), degrees."""
    y, x, z = np.radians([yaw, pitch, roll])
    turn = np.array([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    nod = np.array([[1, 0, 0], [0, math.cos(x), -math.sin(x)], [0, math.sin(x), math.cos(x)]])
    tilt = np.array([[math.cos(z), -math.sin(z), 0], [math.sin(z), math.cos(z), 0], [0, 0, 1]])
    result: FloatArray = turn @ nod @ tilt
    return result


def wave(period: float) -> FloatArray:
    result: FloatArray = np.sin(2 * np.pi * np.arange(N) / period)
    return result


def talking(still: str = "") -> FloatArray:
    """Every signal moves in a rhythm of its own, but one."""
    beat = {name: wave(6.0 + 1.7 * i) for i, name in enumerate(MOTION_SIGNALS)}
    if still:
        beat[still] = np.zeros(N)
    meshes = []
    for i in range(N):
        face = FACE.copy()
        face[LOWER_LIP, 1] += 0.1 * (1 + beat["mouth opening"][i])
        face[CORNER, 0] += 0.08 * beat["mouth width"][i]
        face[LOWER_LIDS, 1] += 0.03 * beat["eye opening"][i]
        face[BROWS, 1] -= 0.06 * beat["brow height"][i]
        angles = [12 * beat[name][i] for name in ("yaw", "pitch", "roll")]
        meshes.append(place(face, 80.0, rotation(*angles), np.array([300.0 + i, 200.0, 0.0])))
    return np.array(meshes)


def kept(made: FloatArray) -> dict[str, float]:
    signals = [motion_signals(part, FACE) for part in (talking(), made)]
    return dict(zip(MOTION_SIGNALS, column_correlations(*signals).tolist(), strict=True))


def test_points_that_signals_are_made_of_do_not_turn_the_head() -> None:
    assert not set(STABLE) & {*LOWER_LIP, *CORNER, *LOWER_LIDS, *BROWS}


def test_signals_are_those_put_in() -> None:
    signals = dict(zip(MOTION_SIGNALS, motion_signals(talking(), FACE).T, strict=True))
    size = {"mouth opening": 0.1, "mouth width": 0.08, "eye opening": 0.03, "brow height": 0.06}
    for i, name in enumerate(MOTION_SIGNALS):
        expected = size.get(name, 12.0) * wave(6.0 + 1.7 * i)
        found = signals[name] - signals[name].mean()
        assert found == pytest.approx(expected - expected.mean(), abs=1e-6), name


def test_a_face_follows_itself_at_any_place_and_size() -> None:
    assert landmark_correlation(talking(), talking()) == pytest.approx(1)
    assert frontal_correlation(talking(), talking(), FACE) == pytest.approx(1)
    assert all(v == pytest.approx(1) for v in kept(3 * talking() + 50).values())


@pytest.mark.parametrize("still", MOTION_SIGNALS)
def test_what_does_not_move_shows_in_its_own_figure_only(still: str) -> None:
    found = kept(talking(still))
    assert abs(found.pop(still)) < 0.5  # rounding, or what the others' rhythms have in common
    assert min(found.values()) > 0.98


def test_a_mask_on_a_moving_head_has_no_expression() -> None:
    mask = []
    for i in range(N):
        angles = [12 * wave(6.0 + 1.7 * k)[i] for k in (4, 5, 6)]
        mask.append(place(FACE, 80.0, rotation(*angles), np.array([300.0 + i, 200.0, 0.0])))
    assert landmark_correlation(talking(), np.array(mask)) > 0.95
    assert frontal_correlation(talking(), np.array(mask), FACE) < 0.3


def test_a_head_that_turns_over_has_one_roll() -> None:
    """No jump of 360 degrees where the angle passes the half turn."""
    angles = np.linspace(150, 210, N)
    meshes = np.array([place(FACE, 80.0, rotation(0, 0, a), np.zeros(3)) for a in angles])
    roll = motion_signals(meshes, FACE)[:, 6]
    assert np.diff(roll) == pytest.approx(np.diff(angles), abs=1e-6)


def test_correlation_says_what_it_cannot_know() -> None:
    moving, still = np.sin(np.arange(20.0))[:, None], np.full((20, 1), 3.0)
    assert column_correlations(moving, still).tolist() == [0]
    assert np.isnan(column_correlations(still, moving)).all()
    assert column_correlations(moving, -2 * moving + 5) == pytest.approx(-1)
    assert np.isnan(column_correlations(moving[:7], moving[:7])).all()
    noise = np.random.default_rng(0).normal(size=(2, 30, 4))
    expected = [np.corrcoef(noise[0][:, i], noise[1][:, i])[0, 1] for i in range(4)]
    assert column_correlations(*noise) == pytest.approx(expected)
