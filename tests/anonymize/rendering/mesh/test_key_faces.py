from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dp3_lightning.anonymize.rendering.mesh.key_faces import key_frames
from dp3_lightning.anonymize.rendering.mesh.motion import TrackMotion
from dp3_lightning.faces.expression import SIGNALS
from tests.anonymize.rendering.mesh.mesh_fixtures import motion_of, posed

EYES = [SIGNALS.index("eye_right"), SIGNALS.index("eye_left")]
MOUTH = SIGNALS.index("mouth_open")


def still(n: int, scale: float = 60.0) -> TrackMotion:
    motion = motion_of([posed(scale=scale)] * n)
    assert motion is not None
    return motion


def talking(n: int, opening: float, start: int = 0) -> TrackMotion:
    motion = still(n)
    motion.signals[start:, MOUTH] += opening * (np.arange(n - start) // 3 % 2)
    return motion


def blinking(at: int, n: int = 80, scale: float = 60.0) -> TrackMotion:
    """Lids that shut within two frames and open within three."""
    motion = still(n, scale)
    opening = np.ones(n)
    opening[at - 2 : at + 4] = [0.95, 0.5, 0.1, 0.35, 0.7, 0.95]
    motion.signals[:, EYES] *= opening[:, None]
    return motion


@pytest.mark.parametrize(("start", "stop"), [(0, 40), (7, 31), (5, 6), (5, 7), (3, 8)])
def test_first_and_last_frame_of_a_run_are_drawn(start: int, stop: int) -> None:
    keys = key_frames(talking(40, 0.2), start, stop, 16)
    assert keys[0] == start
    assert keys[-1] == stop - 1
    assert keys == sorted(set(keys))


def test_a_blink_is_drawn_at_its_start_shut_and_end() -> None:
    keys = key_frames(blinking(41), 0, 80, 16)
    assert {39, 41, 44} <= set(keys)
    # A run that starts elsewhere has its keys at the same frames.
    assert {39, 41, 44} <= set(key_frames(blinking(41), 9, 77, 16))


def test_nobody_sees_the_blink_of_a_tiny_face() -> None:
    # Budgets so small that only what a blink needs would be drawn.
    tiny = key_frames(blinking(41, scale=20.0), 0, 80, 80)
    large = key_frames(blinking(41, scale=60.0), 0, 80, 80)
    assert {39, 41, 44} <= set(large)
    assert len(tiny) < len(large)
    assert not {39, 44} & set(tiny)


def test_eyes_that_are_narrow_all_the_time_do_not_blink() -> None:
    narrow = still(60)
    narrow.signals[:, EYES] *= 0.5
    assert key_frames(narrow, 0, 60, 16) == key_frames(still(60), 0, 60, 16)


def test_a_still_face_is_drawn_rarely() -> None:
    assert key_frames(still(200), 0, 200, 16) == [*range(0, 200, 32), 199]


@pytest.mark.parametrize("every", [4, 16])
def test_more_motion_is_drawn_more_often_within_the_budget(every: int) -> None:
    n = 200
    counts = [len(key_frames(talking(n, opening), 0, n, every)) for opening in (0, 0.05, 0.3)]
    assert counts[0] < counts[1] <= counts[2]
    assert counts[2] <= 2 * n / every + 4


def test_keys_lie_where_the_face_moves() -> None:
    keys = np.array(key_frames(talking(160, 0.3, start=100), 0, 160, 16))
    assert (keys >= 98).mean() > 0.6


def test_turning_heads_are_drawn_anew() -> None:
    motion = still(120)
    turned = dataclasses.replace(motion, angles=motion.angles.copy())
    turned.angles[60:90, 0] += 25
    keys = key_frames(turned, 0, 120, 16)
    assert {59, 60} <= set(keys)
    assert {89, 90} <= set(keys)


def test_every_frame_of_a_moving_face_is_drawn_when_asked() -> None:
    motion = talking(50, 0.2)
    motion.signals[:, MOUTH] += 0.2 * np.random.default_rng(0).random(50)
    motion.angles[:, 0] += 30 * np.random.default_rng(1).random(50)
    assert key_frames(motion, 0, 50, 1) == list(range(50))


def test_every_frame_of_a_still_face_is_drawn_when_asked() -> None:
    assert key_frames(still(30), 4, 21, 1) == list(range(4, 21))
