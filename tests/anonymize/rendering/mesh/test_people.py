"""Who is chosen: by a key alone or by the context; men for men; children where a child is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dp3_lightning.anonymize.rendering.mesh.motion import TrackMotion
from dp3_lightning.anonymize.rendering.mesh.people import (
    DrawnFace,
    Person,
    PersonPainter,
    motion_values,
)
from dp3_lightning.faces.expression import EYE_LEFT, EYE_RIGHT, expression_signals, pose_angles
from dp3_lightning.generators.face_prior.latent_model import LOOK, MOTION, LatentModel
from tests.anonymize.rendering.mesh.mesh_fixtures import REFERENCE, motion_of, posed
from tests.face_prior_fixtures import SKIN, aligned_mesh, painted

MODEL = LatentModel.load()
MAN, YOUNG = MODEL.index("masculine", "young")
TONE = MODEL.index("skin_l", "skin_a", "skin_b")
BETWEEN = -MODEL.mean[MAN] / MODEL.deviation[MAN]  # of the sexes


class Painter(PersonPainter):
    """Draws what the model predicts, and one picture for all."""

    def __init__(self, picture: np.ndarray | None = None) -> None:
        space = SimpleNamespace(color=lambda u: u * 1.0)
        # A context is a latent: the encoder's guess.
        generator: Any = SimpleNamespace(model=MODEL, space=space, encode=lambda given: given)
        super().__init__(generator, mesh=SimpleNamespace())  # type: ignore[arg-type]
        self.picture = portrait() if picture is None else picture

    def draw(self, latent: np.ndarray, look: torch.Tensor | None = None) -> DrawnFace:
        predicted = MODEL.predict(latent)[: len(MOTION)]
        motion = MODEL.mean[: len(MOTION)] + MODEL.deviation[: len(MOTION)] * predicted
        self.latest = latent
        return DrawnFace(self.picture, aligned_mesh(256), motion, REFERENCE)

    def _look(self, face: DrawnFace) -> np.ndarray:
        seen = MODEL.predict(self.latest)[MODEL.index(*LOOK)]
        seen[3:5] = -1.0, 1.0  # neither glasses nor a fringe
        return np.asarray(seen)


def portrait(lip: tuple[int, int, int] | None = None, eyes: bool = True) -> np.ndarray:
    """A face with detailed eyes and, if wanted, something dark over its lip."""
    mesh = aligned_mesh(256)
    picture = painted(mesh, 256)
    rng = np.random.default_rng(0)
    for ring in (EYE_RIGHT, EYE_LEFT) if eyes else ():
        x, y = mesh[list(ring), :2].mean(0).astype(int)
        picture[y - 6 : y + 6, x - 12 : x + 12] = rng.integers(0, 256, (12, 24, 1))
    if lip is not None:
        rows = slice(int(mesh[2, 1]) + 1, int(mesh[0, 1]) + 2)
        picture[rows, int(mesh[61, 0]) : int(mesh[291, 0])] = lip
    return picture


def still(**angles: float) -> TrackMotion:
    motion = motion_of([posed(**angles)] * 6)
    assert motion is not None
    return motion


def random(seed: int, share: float = 1.0) -> np.ndarray:
    return share * np.random.default_rng(seed).normal(size=512)


def driven(guess: np.ndarray, **wanted: float) -> np.ndarray:
    """A guess of which the model predicts some attributes."""
    indices = MODEL.index(*wanted)
    response = MODEL.response[:, indices]
    error = np.array(list(wanted.values())) - MODEL.predict(guess)[indices]
    return guess + np.linalg.pinv(response.T) @ error


def chosen(guess: np.ndarray, draw: np.ndarray, by_key: bool = False, **options: Any) -> Person:
    picture = options.pop("picture", None)
    motion = options.pop("motion", still())
    return Painter(picture).choose(guess, motion, draw, by_key=by_key, **options)  # type: ignore[arg-type]


def predicted(person: Person) -> np.ndarray:
    return np.asarray(MODEL.predict(person.latent))


# ------------------------------------------------------------------------------------- keys


def test_a_key_gives_the_same_person_in_any_context_of_one_light() -> None:
    first = random(1, 0.6)
    second = random(2, 0.6)
    tone = dict(zip(("skin_l", "skin_a", "skin_b"), MODEL.predict(first)[TONE], strict=True))
    second = driven(second, **tone)
    np.testing.assert_allclose(MODEL.predict(first)[TONE], MODEL.predict(second)[TONE])
    keyed = [chosen(guess, random(3), by_key=True) for guess in (first, second)]
    np.testing.assert_allclose(keyed[0].latent, keyed[1].latent, atol=1e-8)
    assert torch.allclose(keyed[0].style, keyed[1].style)
    free = [chosen(guess, random(3)) for guess in (first, second)]
    assert np.abs(free[0].latent - free[1].latent).mean() > 0.2


def test_another_light_changes_the_tone_of_a_keyed_person_only() -> None:
    guess = random(1, 0.5)
    pale, dark = (
        chosen(driven(guess, skin_l=level), random(3), by_key=True) for level in (1.0, -1.5)
    )
    change = predicted(pale) - predicted(dark)
    assert change[TONE[0]] > 1
    assert np.sqrt((change[MODEL.identity] ** 2).mean()) < 0.1
    own = MODEL.predict(random(3))[MODEL.identity]  # of the draw, before anything is asked for
    assert np.corrcoef(own, predicted(pale)[MODEL.identity])[0, 1] > 0.85
    other = chosen(guess, random(4), by_key=True)
    assert np.sqrt(((predicted(other) - predicted(pale))[MODEL.identity] ** 2).mean()) > 0.5
    assert abs(change[MAN]) < 0.2


@pytest.mark.parametrize("side", [-1.5, 1.5])
def test_a_keyed_person_is_man_or_woman_as_the_key_says(side: float) -> None:
    draw = driven(random(5), masculine=BETWEEN + side)
    for context in (-1.5, 1.5):
        guess = driven(random(6, 0.5), masculine=BETWEEN + context)
        man = predicted(chosen(guess, draw, by_key=True))[MAN] - BETWEEN
        assert np.sign(man) == np.sign(side)
        assert abs(man) > 0.4


def test_identity_is_not_driven_for_keyed_people() -> None:
    guess, draw = random(1, 0.5), random(2)
    wanted = np.random.default_rng(8).normal(size=100)
    plain, asked = (
        chosen(guess, draw, by_key=True, identity=identity) for identity in (None, wanted)
    )
    np.testing.assert_array_equal(plain.latent, asked.latent)
    free = chosen(guess, draw, identity=wanted)
    reached = np.corrcoef(predicted(free)[MODEL.identity], wanted)[0, 1]
    assert reached > np.corrcoef(predicted(plain)[MODEL.identity], wanted)[0, 1] + 0.3


# ---------------------------------------------------------------------------------- contexts


@pytest.mark.parametrize("side", [-0.8, 0.8])
@pytest.mark.parametrize("seed", range(6))
def test_men_are_drawn_for_men_and_women_for_women(side: float, seed: int) -> None:
    guess = driven(random(10 + seed, 0.4), masculine=BETWEEN + side)
    man = predicted(chosen(guess, random(seed)))[MAN] - BETWEEN
    assert np.sign(man) == np.sign(side)
    assert 0.4 < abs(man) < 2.2  # clearly, and not a caricature


def test_where_the_context_does_not_say_the_draw_decides() -> None:
    sides = set()
    for seed in range(12):
        guess = driven(random(40, 0.4), masculine=BETWEEN + 0.1)
        sides.add(float(np.sign(predicted(chosen(guess, random(seed)))[MAN] - BETWEEN)))
    assert sides == {-1.0, 1.0}


@pytest.mark.parametrize(("age", "child"), [(-1.0, False), (0.5, False), (1.4, True), (2.0, True)])
@pytest.mark.parametrize("seed", range(4))
def test_children_are_drawn_only_where_the_context_shows_one(
    age: float, child: bool, seed: int
) -> None:
    guess = driven(random(20 + seed, 0.4), young=age)
    young = predicted(chosen(guess, random(seed)))[YOUNG]
    assert (young > 0.9) == child
    assert young < 0.4 or child


def test_keyed_people_are_grown_up() -> None:
    guess = driven(random(20, 0.4), young=2.0)
    for seed in range(4):
        assert predicted(chosen(guess, driven(random(seed), young=1.5), by_key=True))[YOUNG] < 0.4


def test_pose_and_expression_are_those_of_the_track() -> None:
    turned, straight = (
        chosen(random(1, 0.4), random(2), motion=still(yaw=yaw)) for yaw in (20.0, 0.0)
    )
    yaw = MODEL.index("yaw")
    gap = MODEL.deviation[yaw] * (predicted(turned) - predicted(straight))[yaw]
    assert gap[0] == pytest.approx(20, abs=5)
    rest = motion_values(pose_angles(np.eye(3)), expression_signals(REFERENCE))
    assert straight.face.motion[MOTION.index("mouth_open")] == pytest.approx(
        rest[MOTION.index("mouth_open")], abs=0.04
    )


# ------------------------------------------------------------------------------------ flaws


MOUSTACHE = tuple(int(0.6 * level) for level in SKIN)


@pytest.mark.parametrize(
    ("side", "lip", "eyes", "flawed"),
    [
        (-1.0, None, True, False),
        (-1.0, MOUSTACHE, True, True),
        (1.0, MOUSTACHE, True, False),
        (1.0, None, True, False),
        (1.0, None, False, True),
    ],
)
def test_women_with_a_moustache_and_faces_without_eyes_are_flawed(
    side: float, lip: tuple[int, int, int] | None, eyes: bool, flawed: bool
) -> None:
    guess = driven(random(10, 0.4), masculine=BETWEEN + side)
    assert chosen(guess, random(3), picture=portrait(lip, eyes)).flawed is flawed
