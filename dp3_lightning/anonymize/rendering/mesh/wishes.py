"""What a drawn person is asked to look like: pose and expression at rest, tone, sex, age."""

from __future__ import annotations

import numpy as np

from dp3_lightning.anonymize.rendering.mesh.motion import TrackMotion
from dp3_lightning.faces.expression import SIGNALS, expression_signals
from dp3_lightning.generators.face_prior.latent_model import (
    EXPRESSION,
    MASCULINE,
    MOTION,
    YOUNG,
    LatentModel,
)
from dp3_lightning.structures import FloatArray

_MOST_YAW, _MOST_PITCH = 30.0, 15.0  # degrees that are drawn; the warp turns further
_BEARDED = -0.5
_BARE_EYES, BARE_FOREHEAD = -1.0, 1.0  # wanted glasses and forehead, in deviations
_OF_NEUTRAL = 0.4  # share of the track's own resting brows and mouth width
# Regressions of the cheeks' CIELAB on 485 CelebA faces in varied light: on what the encoder expects
# alone (factor, constant), and together with the skin around (factors of both, constant).
_ALONE = np.array([[0.88, 0.46, 0.83], [7.8, 7.0, 6.2]])
_WITH_SKIN = np.array([[0.58, 0.26, 0.38], [0.40, 0.50, 0.70], [4.0, 3.8, -0.8]])
_ENOUGH_SKIN = 0.25  # share of the surroundings
_SKIN_LOW, _SKIN_HIGH = np.array([15.0, 2.0, 4.0]), np.array([86.0, 30.0, 36.0])
_DARKEST, _LIGHTEST = -3.2, 2.6  # deviations of the tone
_UNSURE, _CLEARLY, _MOST_CLEARLY = 0.15, 0.8, 1.8  # deviations along the direction to men
_CHILD, _CHILDLIKE, _GROWN_UP = 1.0, 1.5, 0.0  # deviations of a child's proportions
TONE = ("skin_l", "skin_a", "skin_b")


def motion_values(angles: FloatArray, signals: FloatArray) -> FloatArray:
    """Pick pose and expression in the order of ``MOTION``, ``(..., 10)``."""
    expression = [SIGNALS.index(name) for name in EXPRESSION]
    values: FloatArray = np.concatenate([angles[..., :2], signals[..., expression]], axis=-1)
    return values


def drawable(motion: FloatArray) -> FloatArray:
    """Limit the pose to what the network draws well."""
    limited = motion.copy()
    yaw, pitch = MOTION.index("yaw"), MOTION.index("pitch")
    limited[yaw] = np.clip(motion[yaw], -_MOST_YAW, _MOST_YAW)
    limited[pitch] = np.clip(motion[pitch], -_MOST_PITCH, _MOST_PITCH)
    return limited


def resting_motion(model: LatentModel, motion: TrackMotion) -> FloatArray:
    """Return pose and expression of a track's person at rest, see ``MOTION``."""
    own = expression_signals(motion.neutral)
    rest = model.rest.copy()
    for name in EXPRESSION:
        index = SIGNALS.index(name)
        share = 1.0 if name in ("mouth_open", "corner_lift") else _OF_NEUTRAL
        rest[index] = share * own[index] + (1 - share) * rest[index]
    angles = np.median(motion.angles[motion.usable], axis=0)
    return drawable(motion_values(angles, rest))


def skin_tone(model: LatentModel, guess: FloatArray, motion: TrackMotion) -> FloatArray:
    """Return the wanted tone ``(3,)`` in deviations, from the guess and the visible skin around.

    Args:
        model: of latents.
        guess: ``(512,)`` latent that the context suggests.
        motion: of the track; lends the colour of the skin around the face.
    """
    indices = model.index(*TONE)
    mean, deviation = model.mean[indices], model.deviation[indices]
    expected = mean + deviation * model.predict(guess)[indices]
    tone = _ALONE[0] * expected + _ALONE[1]
    seen = motion.skin[motion.usable]
    if np.isfinite(seen).all() and not motion.grey:
        around = np.median(seen, axis=0)
        fitted = _WITH_SKIN[0] * expected + _WITH_SKIN[1] * around + _WITH_SKIN[2]
        tone = tone + min(1.0, motion.coverage / _ENOUGH_SKIN) * (fitted - tone)
    wanted = (np.clip(tone, _SKIN_LOW, _SKIN_HIGH) - mean) / deviation
    limited: FloatArray = np.clip(wanted, _DARKEST, _LIGHTEST)
    return limited


def is_man(model: LatentModel, predicted: FloatArray) -> bool:
    """Say on which side of the line between the sexes somebody is."""
    return bool(predicted[model.index(MASCULINE)[0]] > _between(model))


def _between(model: LatentModel) -> float:
    index = model.index(MASCULINE)[0]
    return -float(model.mean[index] / model.deviation[index])


def wanted_look(
    model: LatentModel, predicted: FloatArray, expected: FloatArray | None
) -> dict[int, float]:
    """Return attributes that everybody is asked for: clear ones, which do not flip when moved.

    Args:
        model: of latents.
        predicted: attributes of the random person.
        expected: attributes that the context suggests; None: who it is must not depend on it.

    Returns:
        Index of the attribute to its wanted value in deviations.
    """
    glasses, forehead, beard, lips = model.index("glasses", "forehead", "beard", "lips")
    masculine, young = model.index(MASCULINE, YOUNG)
    between = _between(model)
    side = float(predicted[masculine]) - between
    distance = min(max(abs(side), _CLEARLY), _MOST_CLEARLY)
    if expected is not None and abs(expected[masculine] - between) > _UNSURE:
        side = float(expected[masculine]) - between  # as hair and clothes say
    is_child = expected is not None and expected[young] > _CHILD
    bearded = predicted[beard] < _BEARDED and side > 0
    age = float(predicted[young])
    return {
        glasses: _BARE_EYES,
        forehead: BARE_FOREHEAD,
        # Clearly bearded (a dark chin) or clearly not: what lies between flips with a smile.
        beard: min(float(predicted[beard]), -1.0) if bearded else 0.4,
        lips: float(np.clip(predicted[lips], -1.5, 0.2 if side > 0 else 0.8)),
        masculine: between + float(np.copysign(distance, side)),
        young: max(age, _CHILDLIKE) if is_child else min(age, _GROWN_UP),
    }
