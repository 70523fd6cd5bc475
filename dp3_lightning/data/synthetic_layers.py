"""Define the layers of synthetic clips: poses, outlines and colours in surface coordinates.

See :mod:`dp3_lightning.data.synthetic` for their use. Points are complex numbers ``x + iy`` (y
down), in half face heights for the head and the hand, in pixels for the background. A colour
depends on the surface point alone, shading included, so it is constant along the flow.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dp3_lightning.structures import FloatArray

Mask = npt.NDArray[np.bool_]
Points = npt.NDArray[np.complex128]
Pose = tuple[complex, complex]  # (turn, shift): image = turn * surface + shift

_MOUTH = 0.47  # y of the lips on the face, which is the ellipse of half height 1
_FINGERS = ((-0.30, 0.78), (-0.11, 0.95), (0.09, 0.92), (0.28, 0.74), (0.50, 0.30))  # tips (x, up)


def poses(
    seed: int, scene: int, time: float, size: tuple[int, int], motion: float
) -> tuple[Pose, Pose, Pose]:
    """Return poses of background, head and hand; `time` in frames, 0 in the middle of the clip."""
    height, width = size
    side = min(size)
    rng = np.random.default_rng((seed, scene, 0))
    home = complex(width * rng.uniform(0.42, 0.58), height * rng.uniform(0.5, 0.56))
    scale = side * rng.uniform(0.29, 0.33)
    rate = 2 * np.pi / rng.uniform(16, 26, 4)  # x, y, turn, zoom
    phase = rng.uniform(0, 2 * np.pi, 4)
    swing = motion * np.sin(rate * time + phase)
    head_shift = home + side * complex(0.07 * swing[0], 0.045 * swing[1])
    head_turn = scale * np.exp(0.05 * swing[3] + 0.11j * swing[2])
    pan = motion * side * 0.008 * time * np.exp(1j * rng.uniform(0, 2 * np.pi))
    across = rng.choice([-1.0, 1.0])
    # The hand crosses in a straight line at 4 % of the smaller side per frame.
    hand_shift = home + side * complex(0.04 * across * time, 0.14 + 0.01 * time)
    hand_turn = scale * 0.75 * np.exp(1j * (0.25 * across + 0.02 * time))
    return (
        (1 + 0j, complex(pan)),
        (complex(head_turn), head_shift),
        (complex(hand_turn), hand_shift),
    )


class FaceLook:
    """Draw colours and proportions of one identity; all positions in half face heights."""

    def __init__(self, identity: int) -> None:
        rng = np.random.default_rng((identity, 7))
        self.aspect = rng.uniform(0.72, 0.84)  # half width of the face
        tone = rng.uniform(0, 1)
        self.skin = (1 - tone) * np.array([0.93, 0.76, 0.66]) + tone * np.array([0.45, 0.29, 0.20])
        palette = [(0.08, 0.06, 0.05), (0.35, 0.2, 0.1), (0.8, 0.62, 0.3), (0.55, 0.22, 0.1)]
        palette.append((0.6, 0.6, 0.62))
        self.hair = np.array(palette[rng.integers(len(palette))]) * rng.uniform(0.85, 1.15)
        self.iris = np.array(
            [(0.25, 0.15, 0.08), (0.2, 0.4, 0.6), (0.25, 0.42, 0.25)][rng.integers(3)]
        )
        self.lips = self.skin * np.array([0.85, 0.55, 0.55])
        self.hair_size = complex(self.aspect * rng.uniform(1.12, 1.22), rng.uniform(0.95, 1.25))
        self.hairline = rng.uniform(-0.68, -0.5)
        self.eye = complex(rng.uniform(0.29, 0.35), rng.uniform(-0.2, -0.1))
        self.eye_size = rng.uniform(0.12, 0.155)
        self.brow = rng.uniform(-0.2, 0.3)  # arch
        self.nose = complex(rng.uniform(0.09, 0.14), rng.uniform(0.15, 0.22))
        self.mouth = rng.uniform(0.24, 0.34)
        self.marks = rng.uniform(0, 2 * np.pi, 4)

    def covers(self, points: Points) -> Mask:
        """Return whether points lie in the outline of face and hair."""
        hair: Mask = _ellipse(points, -0.22j, self.hair_size) < 1
        face: Mask = _ellipse(points, 0j, complex(self.aspect, 1)) < 1
        return hair | face

    def speak(self, points: Points, opening: float) -> Points:
        """Move the lower lip and jaw: closed form, vertical, the identity outside the face."""
        inside = np.clip(1 - _ellipse(points, 0j, complex(self.aspect, 1)) ** 2, 0, 1) ** 2
        width = np.exp(-((points.real / 0.42) ** 2))
        lower = _step(points.imag - _MOUTH, 0.07) - 0.25  # the upper lip rises a little
        moved: Points = points + 1j * opening * inside * width * lower
        return moved

    def unspeak(self, points: Points, opening: float) -> Points:
        """Invert `speak`: d(moved)/dy stays in (0.3, 2.3), so a step of 0.7 contracts."""
        guess = points
        for _ in range(100):
            error = points - self.speak(guess, opening)
            guess = guess + 0.7 * error
            if np.abs(error.imag).max(initial=0.0) < 1e-9:
                break
        return guess

    def colours(self, points: Points) -> FloatArray:
        """Return colours of face and hair, ``(..., 3)`` in [0, 1], smooth except at the outline."""
        x, y = points.real, points.imag
        light = 1.0 + 0.16 * x - 0.22 * _ellipse(points, -0.1j, complex(self.aspect, 1)) ** 2
        for k, phase in enumerate(self.marks):  # pores and marks: something for flow to hold on to
            light = light + 0.035 * np.sin(
                (9 + 5 * k) * (x * np.cos(phase) + y * np.sin(phase)) + k
            )
        picture = self.skin * np.ones((*points.shape, 1))
        for side in (-1, 1):
            picture = self._eye_and_nose(picture, points, side)
        mouth, wide = points - 1j * _MOUTH, self.mouth
        picture = _paint(picture, mouth, complex(wide, 0.11), self.lips)
        picture = _paint(picture, mouth, complex(wide * 0.85, 0.04), self.lips * 0.2)
        picture = _paint(picture, mouth + 0.017j, complex(wide * 0.6, 0.014), np.full(3, 0.85))
        strand = 0.85 + 0.15 * np.sin(14 * np.angle(points + 0.3j) + 3 * np.abs(points))
        outside = _ellipse(points, 0j, complex(self.aspect, 1)) - 1
        bald = _step(y - self.hairline - 0.35 * x**2, 0.03) * _step(-outside, 0.02)
        # Below the hair ellipse the border of the face is skin, not hair.
        hairy = (1 - bald) * _step(1.02 - _ellipse(points, -0.22j, self.hair_size), 0.02)
        face = picture * light[..., None]
        mixed = face + hairy[..., None] * (self.hair * strand[..., None] - face)
        clipped: FloatArray = np.clip(mixed, 0.0, 1.0)
        return clipped

    def _eye_and_nose(self, picture: FloatArray, points: Points, side: int) -> FloatArray:
        """Paint the features of one side: -1 left, 1 right in the picture."""
        eye, size = points - complex(side * self.eye.real, self.eye.imag), self.eye_size
        brow = eye + 0.26j - 0.5j * self.brow * np.abs(eye.real)
        picture = _paint(picture, brow, complex(size * 1.35, 0.045), self.hair * 0.8, 0.3)
        picture = _paint(picture, eye, complex(size * 1.2, size * 0.75), self.skin * 0.7)
        picture = _paint(picture, eye, complex(size, size * 0.55), np.full(3, 0.95))
        picture = _paint(picture, eye, size * (0.5 + 0.5j), self.iris)
        picture = _paint(picture, eye, size * (0.25 + 0.25j), np.full(3, 0.03))
        nostril = points - complex(side * self.nose.real * 0.6, self.nose.imag)
        picture = _paint(picture, nostril, 0.04 + 0.025j, self.skin * 0.45, 0.3)
        bridge = points - complex(side * self.nose.real * 0.8, self.nose.imag - 0.2)
        return _paint(picture, bridge, 0.035 + 0.22j, self.skin * 0.85, 0.5)


def _step(value: FloatArray, width: float) -> FloatArray:
    """Step smoothly from 0 to 1 around 0."""
    step: FloatArray = 0.5 + 0.5 * np.tanh(value / (2 * width))
    return step


def _ellipse(points: Points, centre: complex, size: complex) -> FloatArray:
    """Return the radius of points in units of an axis-parallel ellipse: 1 on its border."""
    offset = points - centre
    radius: FloatArray = np.hypot(offset.real / size.real, offset.imag / size.imag)
    return radius


def _paint(
    picture: FloatArray, points: Points, size: complex, colour: FloatArray, soft: float = 0.08
) -> FloatArray:
    """Blend an ellipse around 0 into the picture; `soft` is its edge in radii."""
    alpha = _step(1 - _ellipse(points, 0j, size), soft)[..., None]
    return picture + alpha * (colour - picture)


def hand_covers(points: Points) -> Mask:
    """Cover a palm, five fingers and a wrist, in hand units."""
    covered: Mask = _ellipse(points, 0.05j, 0.38 + 0.42j) < 1
    covered |= (np.abs(points.real) < 0.24) & (points.imag > 0.2) & (points.imag < 2.4)
    for x, up in _FINGERS:
        tip = complex(x * 1.25, -up)
        along = np.clip((points * tip.conjugate()).real / abs(tip) ** 2, 0, 1)
        covered |= np.abs(points - along * tip) < 0.1
    return covered


def hand_colours(points: Points) -> FloatArray:
    """Return the colours of the hand, ``(..., 3)`` in [0, 1]."""
    x, y = points.real, points.imag
    shade = 0.8 + 0.1 * np.sin(11 * x + 2 * np.sin(4 * y)) + 0.08 * np.sin(9 * y + 5 * x)
    colours: FloatArray = np.clip(shade[..., None] * np.array([0.86, 0.62, 0.5]), 0.0, 1.0)
    return colours


def background_waves(seed: int, scene: int, side: int) -> FloatArray:
    """Draw parameters of a texture, rows (kx, ky, phase, r, g, b), scaled with the image."""
    rng = np.random.default_rng((seed, scene, 1))
    length = side / 96 * np.geomspace(9, 70, 9)
    angle, phase = rng.uniform(0, 2 * np.pi, (2, 9))
    wave = 2 * np.pi / length * np.exp(1j * angle)
    colour = rng.uniform(-0.1, 0.1, (9, 1)) + rng.uniform(-0.03, 0.03, (9, 3))
    rows: FloatArray = np.column_stack([wave.real, wave.imag, phase, colour])
    return rows


def waves(points: Points, rows: FloatArray) -> FloatArray:
    """Add up sinusoids that bend each other, ``(..., 3)`` in [0, 1]."""
    picture = np.full((*points.shape, 3), 0.5)
    bend = np.zeros(points.shape)
    for kx, ky, phase, *colour in rows[::-1]:  # long waves first: they bend the short ones
        value = np.sin(kx * points.real + ky * points.imag + phase + bend)
        bend = 0.6 * value
        picture += value[..., None] * np.array(colour)
    return np.clip(picture, 0.0, 1.0)
