"""Poses in which a person is drawn at rest, and how frames are put together from them."""

from __future__ import annotations

import numpy as np
import pytest

from dp3_lightning.anonymize.rendering.mesh.motion import TrackMotion
from dp3_lightning.anonymize.rendering.mesh.people import DrawnFace, Person
from dp3_lightning.anonymize.rendering.mesh.role import Role, rest_poses
from dp3_lightning.anonymize.rendering.mesh.shape import fit_shape
from dp3_lightning.faces.expression import EYE_LEFT, EYE_RIGHT, SIGNALS, expression_signals
from dp3_lightning.generators.face_prior.latent_model import MOTION
from tests.anonymize.rendering.mesh.mesh_fixtures import (
    REFERENCE,
    FlatPainter,
    motion_of,
    posed,
)

YAW, PITCH, MOUTH = (MOTION.index(name) for name in ("yaw", "pitch", "mouth_open"))


class Asked(FlatPainter):
    """Remembers what it was asked to draw."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[np.ndarray] = []

    def express(self, person: Person, motion: np.ndarray, corrections: int = 1) -> DrawnFace:
        self.asked.append(motion)
        return super().express(person, motion, corrections)


def moved(meshes: list[np.ndarray]) -> TrackMotion:
    motion = motion_of(meshes)
    assert motion is not None
    return motion


def turning(yaws: np.ndarray, pitch: float = 0.0) -> TrackMotion:
    return moved([posed(yaw=float(yaw), pitch=pitch) for yaw in yaws])


def role_of(motion: TrackMotion, keys: list[int] | None = None) -> tuple[Role, Asked]:
    painter = Asked()
    shape = fit_shape(REFERENCE, motion.neutral)
    n = len(motion.usable)
    role = Role(
        0,
        motion,
        painter.choose(),
        shape,
        painter,  # type: ignore[arg-type]
        keys or [0, n - 1],
        rest_poses(motion),
        np.zeros((n, 3)),
    )
    return role, painter


def shares_of(role: Role, yaw: float) -> np.ndarray:
    role.motion.angles[0, 0] = yaw
    shares = np.zeros(len(role.poses))
    for number, share in role.rest_shares(0):
        shares[number] += share
    return shares


# ------------------------------------------------------------------------------ poses at rest


@pytest.mark.parametrize(
    ("low", "high", "n"), [(0, 0, 1), (-30, -10, 1), (-20, 20, 2), (-45, 45, 4), (5, 60, 2)]
)
def test_as_many_poses_as_the_turn_needs(low: float, high: float, n: int) -> None:
    poses = rest_poses(turning(np.linspace(low, high, 120)))
    assert poses.shape == (n, 2)
    assert (np.diff(poses[:, 0]) > 0).all()
    assert poses[:, 0].min() >= low - 1e-3
    assert poses[:, 0].max() <= high + 1e-3
    # No frame is further than half a step from a picture of its pose.
    every = np.linspace(low, high, 50)
    assert np.abs(every[:, None] - poses[:, 0]).min(1).max() <= 26 / 2 + 2


def test_one_pose_is_the_usual_one_and_a_glance_aside_changes_nothing() -> None:
    yaws = np.full(200, 12.0)
    yaws[100:105] = -50
    (pose,) = rest_poses(turning(yaws, pitch=7.0))
    np.testing.assert_allclose(pose, [12, 7], atol=0.1)


def test_poses_take_the_pitch_of_the_frames_near_them() -> None:
    meshes = [posed(yaw=t - 30.0, pitch=12.0 if t < 30 else -8.0) for t in range(61)]
    poses = rest_poses(moved(meshes))
    assert len(poses) >= 2
    assert poses[0, 1] == pytest.approx(12, abs=0.5)
    assert poses[-1, 1] == pytest.approx(-8, abs=0.5)


def test_poses_of_frames_that_are_not_drawn_do_not_count() -> None:
    motion = turning(np.linspace(-45, 45, 90))
    motion.usable[motion.angles[:, 0] < 25] = False
    poses = rest_poses(motion)
    assert len(poses) == 1
    assert 25 < poses[0, 0] < 45


# ------------------------------------------------------------------------------------ shares


def test_shares_are_whole_positive_and_without_a_jump() -> None:
    role, _ = role_of(turning(np.linspace(-45, 45, 90)))
    yaws = np.arange(-70, 70, 0.1)
    shares = np.array([shares_of(role, float(yaw)) for yaw in yaws])
    np.testing.assert_allclose(shares.sum(1), 1)
    assert (shares >= 0).all()
    assert np.abs(np.diff(shares, axis=0)).max() < 0.05
    assert (shares.max(0) == 1).all()  # every picture shows alone somewhere
    # Two at most, and neighbours.
    assert ((shares > 0).sum(1) <= 2).all()


def test_the_nearest_pose_shows_most_and_mostly_alone() -> None:
    role, _ = role_of(turning(np.linspace(-45, 45, 90)))
    yaws = np.arange(-70.0, 70.0)
    shares = np.array([shares_of(role, float(yaw)) for yaw in yaws])
    distance = np.abs(yaws[:, None] - role.poses[:, 0])
    np.testing.assert_array_equal(shares.argmax(1), distance.argmin(1))
    assert (shares.max(1) == 1).mean() > 0.6  # means of two are blurred
    for number, (yaw, _) in enumerate(role.poses):
        assert shares_of(role, float(yaw))[number] == 1


def test_pictures_at_rest_are_drawn_once_in_the_pose_and_at_rest() -> None:
    opened = REFERENCE.copy()
    opened[[14, 87, 317], 1] += 0.2
    yaws = np.linspace(-20, 20, 40)
    meshes = [
        posed(yaw=float(y), shape=opened if n % 4 == 0 else REFERENCE) for n, y in enumerate(yaws)
    ]
    role, painter = role_of(moved(meshes))
    for at in (*range(40), *range(40)):
        faces = role.rest_faces(at)
        assert sum(share for _, share in faces) == pytest.approx(1)
    assert len(role.poses) == 2
    assert len(painter.asked) == 2
    rest = expression_signals(REFERENCE)[SIGNALS.index("mouth_open")]
    for asked, pose in zip(sorted(painter.asked, key=lambda m: m[YAW]), role.poses, strict=True):
        np.testing.assert_allclose(asked[[YAW, PITCH]], pose)
        assert asked[MOUTH] == pytest.approx(rest)  # whatever the real mouth does


# ----------------------------------------------------------------------------- key pictures


def test_key_pictures_take_the_pose_of_the_picture_they_are_laid_into() -> None:
    role, _ = role_of(turning(np.linspace(-45, 45, 90)))
    for at in range(0, 90, 7):
        shares = dict(role.rest_shares(at))
        expected = sum(share * role.poses[n] for n, share in shares.items())
        np.testing.assert_allclose(role.wanted(at)[[YAW, PITCH]], expected)
    one, _ = role_of(turning(np.linspace(-9, 9, 30)))
    asked = np.array([one.wanted(at)[:2] for at in range(30)])
    assert np.ptp(asked, axis=0).max() == 0  # a small turn is left to the warp


def test_key_pictures_take_the_expression_of_the_frame() -> None:
    opened = REFERENCE.copy()
    opened[[14, 87, 317], 1] += 0.2
    motion = moved([posed()] * 12 + [posed(shape=opened)] * 12)
    role, _ = role_of(motion)
    change = role.wanted(18)[MOUTH] - role.wanted(4)[MOUTH]
    assert change == pytest.approx(0.2, abs=0.01)
    smaller = FlatPainter(REFERENCE * 1.25)  # shown smaller: its mouth must open further
    role.person, role.shape = smaller.choose(), fit_shape(smaller.shape, motion.neutral)
    assert role.shape.scale < 0.9
    further = role.wanted(18)[MOUTH] - role.wanted(4)[MOUTH]
    assert further == pytest.approx(0.2 / role.shape.scale, abs=0.01)


def eyes(factor: float) -> np.ndarray:
    """The mean face with its lids so far apart."""
    shape = REFERENCE.copy()
    for ring in (EYE_RIGHT, EYE_LEFT):
        lids = shape[list(ring), 1]
        shape[list(ring), 1] = lids.mean() + (lids - lids.mean()) * factor
    return shape


@pytest.mark.parametrize(("scale", "further"), [(40.0, True), (15.0, False)])
def test_lids_close_further_where_a_slit_would_show(scale: float, further: bool) -> None:
    def gap(frontal: np.ndarray) -> float:
        return float(expression_signals(frontal)[SIGNALS.index("eye_left")])

    closed = moved([posed(scale=scale)] * 12 + [posed(scale=scale, shape=eyes(0.5))] * 12)
    role, _ = role_of(closed)
    real = gap(closed.frontal[4].astype(np.float64)) - gap(closed.frontal[18].astype(np.float64))
    drawn = gap(role.frontal(4)) - gap(role.frontal(18))
    assert drawn / real == pytest.approx(1.6 if further else 1.0, abs=0.1)


def test_wide_eyes_are_not_exaggerated() -> None:
    wide = moved([posed()] * 20 + [posed(shape=eyes(1.5))] * 4 + [posed()] * 20)
    role, _ = role_of(wide)
    index = SIGNALS.index("eye_left")
    at = int(wide.signals[:, index].argmax())
    if wide.signals[at, index] <= expression_signals(wide.neutral)[index] + 0.005:
        pytest.fail("the eyes were to be wider than at rest")
    change = role.frontal(at) - role.shape.points
    np.testing.assert_allclose(change, wide.frontal[at] - wide.neutral, atol=1e-6)
