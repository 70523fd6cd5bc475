"""Separate pose and expression of a face mesh: pure geometry on MediaPipe's 468 points.

"Right" and "left" are the person's own; the right eye lies left in the picture. Axes: x to the
right, y down, z away from the camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dp3_lightning.structures import FloatArray

# fmt: off
OVAL = (  # outline of the face, in order, from the forehead over the left cheek
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)
# Rings, in order, from the right corner over the lower lip.
LIPS_OUTER = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
)
LIPS_INNER = (
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
)
# Rings, in order, from the outer corner over the lower lid.
EYE_RIGHT = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
EYE_LEFT = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
EYES = EYE_RIGHT + EYE_LEFT
# Upper edge from the temple inwards, then the lower edge likewise.
BROW_RIGHT = (70, 63, 105, 66, 107, 46, 53, 52, 65, 55)
BROW_LEFT = (300, 293, 334, 296, 336, 276, 283, 282, 295, 285)
BROWS = BROW_RIGHT + BROW_LEFT
NOSE = (
    168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 98, 97, 326, 327, 48, 278, 115, 344, 129, 358,
)
STABLE = (  # corners of the eyes, nose, temples, forehead: hardly moved by any expression
    33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 98, 327, 127, 356, 234, 454, 10, 151, 9, 21, 251,
)
# fmt: on

_POINTS = 468
_ROUNDS = 3  # of Procrustes; one more moves 43 meshes of nine people by 1e-12
_OUTER_EYES, _BRIDGE, _SIDES, _MIDLINE = (33, 263), 168, (234, 454), (10, 152)

# Name: axis, points, points whose mean is subtracted from that of the former.
_X, _Y = 0, 1
_DIFFERENCES: dict[str, tuple[int, tuple[int, ...], tuple[int, ...]]] = {
    "mouth_open": (_Y, (14, 87, 317), (13, 82, 312)),
    "mouth_width": (_X, (291,), (61,)),
    "corner_lift": (_Y, (0, 13, 14, 17), (61, 291)),
    "lip_up": (_Y, (13,), (2,)),
    "eye_right": (_Y, (145, 144, 153), (159, 160, 158)),
    "eye_left": (_Y, (374, 373, 380), (386, 387, 385)),
    "brow_right": (_Y, (33, 133), (105, 66, 63)),
    "brow_left": (_Y, (263, 362), (334, 296, 293)),
    "brow_inner": (_X, (336,), (107,)),
    "jaw": (_Y, (152,), (1,)),
    "mouth_x": (_X, (13, 14), (168,)),
}
SIGNALS = tuple(_DIFFERENCES)

Points = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Frontal:
    """Hold meshes turned to the front, and their original pose; see :func:`place`.

    Attributes:
        points: ``(..., 468, 3)`` float64 in the frame and unit of the reference mesh.
        scale: ``(...)`` pixels per unit of the reference.
        rotation: ``(..., 3, 3)`` from the reference to the picture.
        translation: ``(..., 3)`` in pixels.
    """

    points: FloatArray
    scale: FloatArray
    rotation: FloatArray
    translation: FloatArray


def frontalise(points: Points, reference: Points) -> Frontal:
    """Turn meshes to the front by the similarity that best fits their stable points.

    Args:
        points: ``(..., 468, 3)`` in pixels, for example ``(T, 468, 3)`` of a track.
        reference: ``(468, 3)`` frontal mesh with outer eyes 1 apart, see :func:`mean_mesh`.

    Returns:
        The meshes in the frame of the reference. Shape and expression are left in them.

    Raises:
        ValueError: a mesh has another shape, is not finite, or is a single point.
    """
    points = _checked("points", points)
    reference = _checked("reference", reference)
    if reference.ndim != 2:
        raise ValueError(f"Expected `reference` of shape (468, 3), got {reference.shape}.")
    stable = list(STABLE)
    there, here = points[..., stable, :], reference[stable]
    there_mean, here_mean = there.mean(axis=-2), here.mean(axis=0)
    there, here = there - there_mean[..., None, :], here - here_mean
    spread = (here**2).sum()
    if spread == 0.0 or ((there**2).sum(axis=(-2, -1)) == 0.0).any():
        raise ValueError("Expected `points` and `reference` to be faces, got a single point.")
    # Umeyama (1991). The sign keeps mirrored meshes from being answered by a reflection.
    left, weights, right = np.linalg.svd(np.swapaxes(there, -1, -2) @ here)
    signs = np.ones_like(weights)
    signs[..., 2] = np.sign(np.linalg.det(left @ right))
    rotation = (left * signs[..., None, :]) @ right
    scale = np.asarray((weights * signs).sum(axis=-1) / spread)
    translation = there_mean - scale[..., None] * (rotation @ here_mean)
    turned = (points - translation[..., None, :]) @ rotation / scale[..., None, None]
    return Frontal(turned, scale, rotation, translation)


def place(
    frontal_points: Points, scale: npt.ArrayLike, rotation: Points, translation: Points
) -> FloatArray:
    """Put frontal meshes into the picture; the inverse of :func:`frontalise`.

    Args:
        frontal_points: ``(..., N, 3)`` in the frame of the reference.
        scale: ``(...)`` pixels per unit of the reference.
        rotation: ``(..., 3, 3)`` from the reference to the picture.
        translation: ``(..., 3)`` in pixels.

    Returns:
        ``(..., N, 3)`` float64 in pixels; leading axes broadcast.
    """
    turned = np.asarray(frontal_points, np.float64) @ np.swapaxes(rotation, -1, -2)
    placed: FloatArray = (
        np.asarray(scale, np.float64)[..., None, None] * turned + translation[..., None, :]
    )
    return placed


def pose_angles(rotation: Points) -> FloatArray:
    """Split rotations ``(..., 3, 3)`` into yaw, pitch and roll ``(..., 3)`` in degrees.

    ``rotation = R_y(yaw) R_x(pitch) R_z(roll)``. Yaw > 0: the nose points to the left of the
    picture; pitch > 0: it points down; roll > 0: the head is tilted clockwise as seen.

    >>> quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    >>> float(pose_angles(quarter)[2])  # roll
    90.0
    """
    yaw = np.arctan2(rotation[..., 0, 2], rotation[..., 2, 2])
    pitch = np.arcsin(np.clip(-rotation[..., 1, 2], -1.0, 1.0))
    roll = np.arctan2(rotation[..., 1, 0], rotation[..., 1, 1])
    angles: FloatArray = np.degrees(np.stack([yaw, pitch, roll], axis=-1))
    return angles


def expression_signals(frontal_points: Points) -> FloatArray:
    """Measure the expression of frontal meshes.

    Args:
        frontal_points: ``(..., 468, 3)`` from :func:`frontalise`.

    Returns:
        ``(..., 11)`` float64 in outer eye distances, in the order of :data:`SIGNALS`:
        ``mouth_open``, ``eye_right``, ``eye_left``: gap between the inner edges of lips or lids;
        ``mouth_width``: corner to corner; ``corner_lift``: corners above the middle of the lips;
        ``lip_up``: nose to upper lip, less when that is raised; ``brow_right``, ``brow_left``:
        brow above the corners of the eye; ``brow_inner``: gap between the brows; ``jaw``: tip of
        the nose to chin; ``mouth_x``: middle of the mouth, to the right of the nose's bridge.

    Raises:
        ValueError: a mesh has another shape or is not finite.
    """
    points = _checked("frontal_points", frontal_points)
    values = [
        points[..., list(plus), axis].mean(axis=-1) - points[..., list(minus), axis].mean(axis=-1)
        for axis, plus, minus in _DIFFERENCES.values()
    ]
    return np.stack(values, axis=-1)


def five_points(points: Points) -> FloatArray:
    """Return eyes, nose and mouth corners of a mesh, ``(5, 2)``, ordered as detectors order them.

    Args:
        points: ``(468, 2+)`` in pixels.
    """
    eyes = [points[[33, 133], :2].mean(0), points[[362, 263], :2].mean(0)]
    five: FloatArray = np.array([*eyes, points[1, :2], points[61, :2], points[291, :2]])
    return five


def mean_mesh(meshes: Points) -> FloatArray:
    """Average meshes ``(N, 468, 3)`` of any pose and size into one frontal mesh ``(468, 3)``.

    The mean looks straight ahead: both sides of the face are at one depth, and so are forehead and
    chin. Its outer eyes are 1 apart, the bridge of its nose is the origin.

    Raises:
        ValueError: there is none, or one has another shape or is not finite.
    """
    meshes = _checked("meshes", meshes)
    if meshes.ndim != 3 or len(meshes) == 0:
        raise ValueError(f"Expected `meshes` of shape (N, 468, 3), got {meshes.shape}.")
    mean: FloatArray = _straightened(meshes).mean(axis=0)
    for _ in range(_ROUNDS):
        mean = _straightened(frontalise(meshes, mean).points.mean(axis=0))
    return mean


def _straightened(meshes: FloatArray) -> FloatArray:
    """Turn every mesh so that it looks straight ahead by its own outline; scale by its eyes."""

    def unit(vectors: FloatArray) -> FloatArray:
        normed: FloatArray = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
        return normed

    def between(pair: tuple[int, int]) -> FloatArray:
        difference: FloatArray = meshes[..., pair[1], :] - meshes[..., pair[0], :]
        return difference

    x = unit(between(_SIDES))
    down = between(_MIDLINE)
    y = unit(down - (down * x).sum(axis=-1, keepdims=True) * x)
    axes = np.stack([x, y, np.cross(x, y)], axis=-1)
    distance = np.linalg.norm(between(_OUTER_EYES), axis=-1)[..., None, None]
    turned: FloatArray = (meshes - meshes[..., [_BRIDGE], :]) @ axes / distance
    return turned


def _checked(label: str, points: Points) -> FloatArray:
    """Return meshes as float64, or raise unless they are finite and ``(..., 468, 3)``."""
    array = np.asarray(points, dtype=np.float64)
    if array.shape[-2:] != (_POINTS, 3):
        raise ValueError(f"Expected `{label}` of shape (..., {_POINTS}, 3), got {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError(f"Expected `{label}` to be finite, got nan or inf.")
    return array
