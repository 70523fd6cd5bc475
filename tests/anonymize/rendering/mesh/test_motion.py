from __future__ import annotations

import numpy as np
import pytest

from dp3_lightning.anonymize.rendering.mesh.motion import TrackMotion
from dp3_lightning.faces.expression import SIGNALS, expression_signals
from tests.anonymize.rendering.mesh.mesh_fixtures import REFERENCE, motion_of, posed

MOUTH = SIGNALS.index("mouth_open")


def with_mouth(opening: float) -> np.ndarray:
    """The mean face with its lower lip further down, in outer eye distances."""
    shape = REFERENCE.copy()
    shape[[14, 87, 317], 1] += opening
    return shape


def found(meshes: list[np.ndarray], trusted: np.ndarray | None = None) -> TrackMotion:
    motion = motion_of(meshes, trusted)
    assert motion is not None
    return motion


def trusted_but(n: int, *gaps: range) -> np.ndarray:
    trusted = np.ones(n, bool)
    for gap in gaps:
        trusted[gap] = False
    return trusted


@pytest.mark.parametrize("angles", [(0, 0, 0), (50, 0, 0), (0, -25, 0), (20, 15, 120)])
def test_a_rigid_head_has_no_expression_and_the_right_angles(angles: tuple[float, ...]) -> None:
    yaw, pitch, roll = angles
    meshes = [
        posed((100 + 3 * t, 110 - t), 40 + t, yaw=yaw, pitch=pitch, roll=roll) for t in range(9)
    ]
    motion = found(meshes)
    assert motion.usable.all()
    assert np.abs(motion.frontal - REFERENCE).max() < 1e-5
    assert np.abs(motion.neutral - REFERENCE).max() < 1e-5
    np.testing.assert_allclose(motion.angles, [angles] * 9, atol=1e-3)
    np.testing.assert_allclose(motion.scale[3:6], [43, 44, 45], atol=0.1)
    # Away from the ends, where a straight path is bent, it lies where it was.
    assert np.abs(motion.place(motion.frontal[4], 4) - meshes[4]).max() < 0.2


@pytest.mark.parametrize(("gap", "bridged"), [(1, True), (5, True), (6, False)])
def test_short_gaps_are_bridged(gap: int, bridged: bool) -> None:
    meshes = [posed((100 + 4 * t, 110)) for t in range(26)]
    hidden = range(10, 10 + gap)
    truth = np.array(meshes)
    for t in hidden:
        meshes[t] = np.zeros((468, 3))
    motion = found(meshes, trusted_but(26, hidden))
    assert motion.usable[hidden].all() == bridged
    assert motion.usable[hidden].any() == bridged
    assert motion.usable[:10].all()
    assert motion.usable[10 + gap :].all()
    if bridged:
        for t in hidden:
            assert np.abs(motion.place(motion.frontal[t], t) - truth[t]).max() < 0.3


def test_gaps_at_the_ends_are_not_bridged() -> None:
    motion = found([posed()] * 12, trusted_but(12, range(2), range(10, 12)))
    assert motion.usable.tolist() == [False] * 2 + [True] * 8 + [False] * 2
    assert motion.runs() == [(2, 10)]


@pytest.mark.parametrize(("length", "kept"), [(3, False), (4, True)])
def test_faces_that_flash_up_are_dropped(length: int, kept: bool) -> None:
    trusted = np.zeros(30, bool)
    trusted[:12] = trusted[20 : 20 + length] = True
    motion = found([posed()] * 30, trusted)
    assert motion.runs() == [(0, 12), *([(20, 20 + length)] if kept else [])]


def test_heads_that_turn_too_far_are_not_usable() -> None:
    yaws = [0] * 8 + [61] * 8 + [64] * 8 + [0] * 8 + [-64] * 8
    motion = found([posed(yaw=yaw) for yaw in yaws])
    assert motion.runs() == [(0, 16), (24, 32)]
    # What was seen of the face beyond goes into nothing.
    broken = [posed(yaw=yaw, shape=with_mouth(0.3 * (abs(yaw) > 62))) for yaw in yaws]
    np.testing.assert_array_equal(found(broken).frontal, motion.frontal)


def test_the_neutral_face_is_that_with_the_mouth_closed() -> None:
    openings = [0.25 if t % 10 < 6 else 0.0 for t in range(60)]
    motion = found([posed(shape=with_mouth(opening)) for opening in openings])
    closed = expression_signals(REFERENCE)[MOUTH]
    assert expression_signals(motion.neutral)[MOUTH] == pytest.approx(closed, abs=0.02)
    assert motion.signals[:, MOUTH].max() > closed + 0.2


def test_smoothing_lags_nothing() -> None:
    # A turn and a word that come and go alike in both directions of time.
    pulse = np.exp(-0.5 * ((np.arange(31) - 15) / 2.5) ** 2)
    meshes = [
        posed((160 + 20 * p, 110), yaw=30 * p, shape=with_mouth(0.2 * p)) for p in pulse.tolist()
    ]
    motion = found(meshes)
    for values in (motion.angles[:, 0], motion.signals[:, MOUTH], motion.translation[:, 0]):
        assert values.argmax() == 15
        np.testing.assert_allclose(values, values[::-1], atol=1e-4)
    assert motion.angles[15, 0] > 27  # and flattens little


def test_smoothing_takes_the_jitter_out() -> None:
    rng = np.random.default_rng(0)
    meshes = [posed() + np.array([*rng.normal(0, 0.7, 2), 0]) for _ in range(60)]
    motion = found(meshes)
    still = np.array([motion.place(motion.frontal[t], t) for t in range(60)])
    jitter = np.diff(still[:, 1, :2], axis=0).std()
    assert jitter < 0.6 * np.diff(np.array(meshes)[:, 1, :2], axis=0).std()


def test_gaps_are_not_smoothed_over() -> None:
    # Before and after a long gap the head is elsewhere: neither pulls at the other.
    meshes = [posed((80, 110))] * 10 + [posed((240, 110))] * 20
    motion = found(meshes, trusted_but(30, range(10, 20)))
    assert abs(motion.place(motion.frontal[9], 9) - meshes[0]).max() < 0.01
    assert abs(motion.place(motion.frontal[20], 20) - meshes[-1]).max() < 0.01


def test_nothing_trusted_or_everybody_turned_away_is_nothing() -> None:
    assert motion_of([posed()] * 6, np.zeros(6, bool)) is None
    assert motion_of([posed(yaw=75)] * 6) is None
    assert motion_of([posed(yaw=-80)]) is None
    assert motion_of([posed()] * 9, np.arange(9) % 9 < 3) is None  # only a flash


def test_one_frame_is_enough_for_a_picture() -> None:
    mesh = posed(yaw=30, roll=10)
    motion = found([mesh])
    assert motion.runs() == [(0, 1)]
    np.testing.assert_allclose(motion.angles, [[30, 0, 10]], atol=1e-3)
    assert np.abs(motion.place(motion.frontal[0], 0) - mesh).max() < 1e-3
    np.testing.assert_allclose(motion.neutral, REFERENCE, atol=1e-5)
