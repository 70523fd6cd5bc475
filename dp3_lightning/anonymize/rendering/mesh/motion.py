"""How every planned face moves: its mesh in every frame, smoothed, split into pose and expression.

This is all that rendering knows of a real face: deviations from the track's own neutral face, the
pose of the head, and the colour of the skin around the face, which stays visible.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from dp3_lightning.faces.expression import (
    STABLE,
    expression_signals,
    frontalise,
    place,
    pose_angles,
)
from dp3_lightning.structures import FloatArray

_POSE_SIGMA, _EXPRESSION_SIGMA, _COLOR_SIGMA = 1.0, 0.6, 20.0  # frames
_LONGEST_GAP = 5  # frames without a mesh that are bridged
_SHORTEST_RUN = 4  # frames; a drawn face that flashes up is worse than a blur
_MOST_YAW = 62.0  # degrees; beyond, mesh and drawing both end
_OPEN, _SMILE, _EYES = 0.03, 0.02, 0.012  # spreads around the neutral expression


@dataclass
class RawMotion:
    """What was measured on one track, one row per frame.

    Attributes:
        meshes: ``(n, 468, 3)`` pixels of the frame; anything where not ``trusted``.
        trusted: ``(n,)`` whether a mesh was found.
        skin: ``(n, 3)`` CIELAB of the skin around the face.
        coverage: ``(n,)`` share of the surroundings that is skin.
        chroma: ``(n,)`` strongest colours around the face; low in films without colour.
    """

    meshes: npt.NDArray[np.float32]
    trusted: npt.NDArray[np.bool_]
    skin: FloatArray
    coverage: FloatArray
    chroma: FloatArray

    @classmethod
    def empty(cls, n: int) -> RawMotion:
        """Return a record of ``n`` frames without anything in it."""
        return cls(
            np.zeros((n, 468, 3), np.float32),
            np.zeros(n, bool),
            np.zeros((n, 3)),
            np.zeros(n),
            np.full(n, np.nan),
        )


@dataclass
class TrackMotion:
    """Motion of one track, one row per frame from its start.

    Attributes:
        usable: ``(n,)`` bool: whether the face can be drawn.
        frontal: ``(n, 468, 3)`` float32 frontal meshes, smoothed.
        scale: ``(n,)`` pixels per distance of the outer eyes.
        rotation: ``(n, 3, 3)``.
        translation: ``(n, 3)`` pixels.
        neutral: ``(468, 3)`` the track's own neutral face.
        signals: ``(n, 11)``, see :data:`dp3_lightning.faces.expression.SIGNALS`.
        angles: ``(n, 3)`` yaw, pitch, roll in degrees.
        skin: ``(n, 3)`` CIELAB around the face, smoothed; NaN without any skin in the track.
        coverage: share of the surroundings that is skin, median.
        grey: whether the film has no colour.
        seen: ``(n,)`` bool: usable, and not bridged: worth a look at the frame.
    """

    usable: npt.NDArray[np.bool_]
    frontal: npt.NDArray[np.float32] = field(repr=False)
    scale: FloatArray = field(repr=False)
    rotation: FloatArray = field(repr=False)
    translation: FloatArray = field(repr=False)
    neutral: FloatArray = field(repr=False)
    signals: FloatArray = field(repr=False)
    angles: FloatArray = field(repr=False)
    skin: FloatArray = field(repr=False)
    coverage: float
    grey: bool
    seen: npt.NDArray[np.bool_]

    def runs(self) -> list[tuple[int, int]]:
        """Return the ranges ``(start, stop)`` of usable frames."""
        return _runs(self.usable)

    def place(self, frontal: FloatArray, at: int) -> FloatArray:
        """Put a frontal mesh where the head is in a frame; pixels, ``(468, 3)``."""
        return place(frontal, self.scale[at], self.rotation[at], self.translation[at])


def track_motion(raw: RawMotion, reference: FloatArray) -> TrackMotion | None:
    """Smooth a track's meshes and split them into pose, expression and neutral face.

    Args:
        raw: what was measured.
        reference: ``(468, 3)`` frontal mean mesh.

    Returns:
        The motion, or None when no frame can be used.
    """
    n = len(raw.trusted)
    trusted = raw.trusted.copy()
    if not trusted.any():
        return None
    known = np.flatnonzero(trusted)
    faces = frontalise(raw.meshes[known], reference)
    turned = np.abs(pose_angles(faces.rotation)[:, 0]) > _MOST_YAW
    trusted[known[turned]] = False
    known = known[~turned]
    usable = _bridged(trusted)
    for start, stop in _runs(usable):
        if stop - start < min(_SHORTEST_RUN, n):
            usable[start:stop] = False
    if not usable.any() or not len(known):
        return None
    keep = ~turned
    center_of = reference[list(STABLE)].mean(0)
    # The mean of the stable points is steadier than the origin of the reference.
    centers = faces.scale[:, None] * np.einsum("nij,j->ni", faces.rotation, center_of)
    centers = centers + faces.translation
    times = np.arange(n)
    frontal = _between(times, known, faces.points[keep])
    scale = _between(times, known, faces.scale[keep])
    rotation = _between(times, known, faces.rotation[keep])
    centers = _between(times, known, centers[keep])
    for start, stop in _runs(usable):
        part = slice(start, stop)
        frontal[part] = _smooth(frontal[part], _EXPRESSION_SIGMA)
        scale[part] = _smooth(scale[part], 2 * _POSE_SIGMA)
        rotation[part] = _smooth(rotation[part], _POSE_SIGMA)
        centers[part] = _smooth(centers[part], 0.7 * _POSE_SIGMA)
    left, _, right = np.linalg.svd(rotation)
    rotation = left @ right
    translation = centers - scale[:, None] * np.einsum("nij,j->ni", rotation, center_of)
    signals = expression_signals(frontal)
    neutral = _neutral(frontal, signals, usable)
    skin, coverage, grey = _colors(raw, usable)
    return TrackMotion(
        usable,
        frontal.astype(np.float32),
        scale,
        rotation,
        translation,
        neutral,
        signals,
        pose_angles(rotation),
        skin,
        coverage,
        grey,
        usable & trusted,
    )


def _runs(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _bridged(trusted: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Fill short gaps between trusted frames."""
    result = trusted.copy()
    for start, stop in _runs(~trusted):
        if start > 0 and stop < len(trusted) and stop - start <= _LONGEST_GAP:
            result[start:stop] = True
    return result


def _between(times: np.ndarray, known: np.ndarray, values: FloatArray) -> FloatArray:
    """Interpolate rows linearly over time."""
    at = np.clip(np.searchsorted(known, times), 1, max(len(known) - 1, 1))
    low, high = known[at - 1], known[np.minimum(at, len(known) - 1)]
    share = np.clip((times - low) / np.maximum(high - low, 1), 0, 1)
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    first, last = values[at - 1], values[np.minimum(at, len(known) - 1)]
    between: FloatArray = (1 - share) * first + share * last
    return between


def _smooth(values: FloatArray, sigma: float) -> FloatArray:
    smooth: FloatArray = gaussian_filter1d(values, sigma, axis=0, mode="nearest")
    return smooth


def _neutral(frontal: FloatArray, signals: FloatArray, usable: np.ndarray) -> FloatArray:
    """Average the frames in which the mouth is closed, the eyes are open and nobody smiles."""
    points, values = frontal[usable], signals[usable]
    mouth, lift = values[:, 0], values[:, 2]
    eyes = values[:, 4:6].mean(1)
    distance = (
        ((mouth - np.percentile(mouth, 10)) / _OPEN) ** 2
        + ((lift - np.clip(np.median(lift), -0.01, 0.03)) / _SMILE) ** 2
        + ((eyes - np.percentile(eyes, 85)) / _EYES) ** 2
    )
    weights = np.exp(-0.5 * (distance - distance.min())) + 1e-6
    neutral: FloatArray = np.einsum("n,nij->ij", weights / weights.sum(), points)
    return neutral


_LEAST_COVERAGE = 0.06
_GREY_CHROMA = 20.0


def _colors(raw: RawMotion, usable: np.ndarray) -> tuple[FloatArray, float, bool]:
    n = len(usable)
    measured = raw.trusted & np.isfinite(raw.chroma)
    if not measured.any():
        return np.full((n, 3), np.nan), 0.0, False
    grey = bool(np.median(raw.chroma[measured]) < _GREY_CHROMA)
    coverage = float(np.median(raw.coverage[measured]))
    good = np.flatnonzero(measured & (raw.coverage > _LEAST_COVERAGE))
    if not len(good):
        return np.full((n, 3), np.nan), coverage, grey
    skin = _between(np.arange(n), good, raw.skin[good])
    return _smooth(skin, _COLOR_SIGMA), coverage, grey
