"""Measure how a face looks, by its mesh: skin, glasses, hair on the forehead, beard, lips.

Colours are CIELAB (L in [0, 100], a and b about [-100, 100]); points are ``(468, 2+)`` in pixels.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from dp3_lightning.faces.expression import EYE_LEFT, EYE_RIGHT, OVAL
from dp3_lightning.structures import FloatArray, UInt8Array

_CHEEKS = (50, 280, 101, 330, 205, 425, 117, 346, 118, 347, 36, 266, 151, 9, 108, 337, 187, 411)
_FOREHEAD = (10, 109, 338, 67, 297, 103, 332, 54, 284, 151, 108, 337)
_UPPER_LIP = (164, 165, 391, 167, 393, 92, 322)
_CHIN = (18, 200, 199, 175, 83, 313, 32, 262, 201, 421, 164, 165, 391, 167, 393)
_LIPS = (37, 267, 84, 314, 0, 17, 40, 270, 181, 405)
_EYE_CORNERS = (33, 263)
_PATCH = (64, 40)  # pixels; the eyes in it are 36 apart
SKIN_HUE, _SKIN_HUE_SPREAD = 52.0, 18.0  # degrees, in the plane of a and b

APPEARANCE = (
    "skin_l",
    "skin_a",
    "skin_b",
    "glasses",
    "forehead",
    "beard",
    "lips",
)


Points = npt.NDArray[np.floating]


def lab_of(picture: UInt8Array) -> FloatArray:
    """Convert ``(H, W, 3)`` uint8 RGB to CIELAB, float32.

    >>> lab_of(np.full((1, 1, 3), 255, np.uint8)).round().tolist()  # white
    [[[100.0, 0.0, 0.0]]]
    """
    lab: FloatArray = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return lab


def appearance(picture: UInt8Array, points: Points) -> FloatArray:
    """Measure the values named in :data:`APPEARANCE`.

    Args:
        picture: ``(H, W, 3)`` uint8 RGB.
        points: mesh of the face in it.

    Returns:
        ``(7,)``: the skin's CIELAB, the logarithm of how much like glasses the eyes look, the share
        of the upper forehead that has the skin's colour, how much lighter the chin is than the
        cheeks (below 0: a beard), and how far the lips are from the skin in colour.
    """
    lab = lab_of(picture)
    skin = face_color(lab, points)
    return np.array(
        [
            *skin,
            np.log(glasses_score(picture, points) + 0.1),
            _bare_forehead(lab, points, skin),
            float(np.median(_samples(lab, points, _CHIN, 1)[:, 0]) - skin[0]),
            float(np.hypot(*(_samples(lab, points, _LIPS, 0)[:, 1:].mean(0) - skin[1:]))),
        ]
    )


def face_color(lab: Points, points: Points) -> FloatArray:
    """Return the median CIELAB of cheeks and brow, ``(3,)``."""
    radius = max(1, int(0.03 * abs(points[152, 1] - points[10, 1])))
    color: FloatArray = np.median(_samples(lab, points, _CHEEKS, radius), axis=0)
    return color


def skin_likeness(lab: Points) -> FloatArray:
    """Return in [0, 1] how far colours ``(..., 3)`` may be skin, of whatever tone."""
    hue = np.degrees(np.arctan2(lab[..., 2], lab[..., 1]))
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    likeness: FloatArray = (
        np.exp(-0.5 * ((hue - SKIN_HUE) / _SKIN_HUE_SPREAD) ** 2)
        * np.clip((chroma - 7) / 7, 0, 1)
        * np.clip((lab[..., 0] - 10) / 10, 0, 1)
    )
    return likeness


def scaled_outline(points: Points, factor: float) -> FloatArray:
    """Return the outline of a face scaled about its centre, ``(36, 2)``."""
    outline = points[list(OVAL), :2]
    center = outline.mean(0)
    scaled: FloatArray = center + (outline - center) * factor
    return scaled


def fill_outline(size: tuple[int, int], outline: FloatArray, value: int = 1) -> UInt8Array:
    """Return a mask ``size`` (height, width) with the inside of a polygon set to ``value``.

    >>> square = np.array([[1.0, 1.0], [3.0, 1.0], [3.0, 3.0], [1.0, 3.0]])
    >>> int(fill_outline((5, 5), square).sum())
    9
    """
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], value, cv2.LINE_8, 4)
    return mask


def glasses_score(picture: UInt8Array, points: Points) -> float:
    """Measure edges across the bridge of the nose and under the eyes, as glasses make them."""
    a, b = points[_EYE_CORNERS[0], :2], points[_EYE_CORNERS[1], :2]
    d = b - a
    scale, angle = 36 / max(float(np.hypot(*d)), 1e-6), float(np.arctan2(d[1], d[0]))
    rotation = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    shift = np.array([_PATCH[0] / 2, 16.0]) - rotation @ ((a + b) / 2)
    matrix = np.column_stack([rotation, shift])
    patch = cv2.warpAffine(picture, matrix, _PATCH, borderMode=cv2.BORDER_REPLICATE)
    grey = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY).astype(np.float32)
    edges = np.abs(cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=3))
    contrast = grey[8:34].std() + 8
    bridge = np.sort(edges[8:24, 29:35], axis=0)[-3:].mean()
    below = [*range(14, 26), *range(38, 50)]
    under = np.sort(edges[21:34][:, below], axis=0)[-2:].mean()
    return float((bridge + under) / contrast)


def eye_detail(picture: UInt8Array, points: Points) -> float:
    """Measure how much detail the eyes show; little behind sunglasses.

    Args:
        picture: ``(H, W, 3)`` uint8 RGB; the value is for faces that fill 256 pixels.
        points: mesh of the face in it.

    Returns:
        Mean absolute Laplacian of the lightness.
    """
    lightness = np.ascontiguousarray(lab_of(picture)[..., 0])
    mask = np.zeros(picture.shape[:2], np.uint8)
    for ring in (EYE_RIGHT, EYE_LEFT):
        eye = points[list(ring), :2]
        mask |= fill_outline(picture.shape[:2], eye.mean(0) + (eye - eye.mean(0)) * 1.3)
    edges = np.abs(cv2.Laplacian(lightness, cv2.CV_32F))
    return float(edges[mask > 0].mean()) if mask.any() else 0.0


def upper_lip(picture: UInt8Array, points: Points) -> float:
    """Return how much lighter the skin above the lips is than the cheeks; moustaches are darker.

    Args:
        picture: ``(H, W, 3)`` uint8 RGB.
        points: mesh of the face in it.
    """
    lab = lab_of(picture)
    radius = max(1, int(0.012 * abs(points[152, 1] - points[10, 1])))
    seen = np.median(_samples(lab, points, _UPPER_LIP, radius)[:, 0])
    return float(seen - face_color(lab, points)[0])


def _bare_forehead(lab: Points, points: Points, skin: Points) -> float:
    pulled = points.copy()
    pulled[list(_FOREHEAD), :2] += 0.07 * (points[9, :2] - points[list(_FOREHEAD), :2])
    seen = _samples(lab, pulled, _FOREHEAD, 1)
    distance = ((seen - skin) / np.array([16, 7, 8])) ** 2
    return float(np.exp(-0.5 * distance.sum(1)).mean())


def _samples(lab: Points, points: Points, which: tuple[int, ...], radius: int) -> FloatArray:
    """Return median colours around points, ``(n, 3)``; points outside are moved to the border."""
    height, width = lab.shape[:2]
    found = []
    for x, y in points[list(which), :2]:
        column = int(np.clip(round(float(x)), 0, width - 1))
        row = int(np.clip(round(float(y)), 0, height - 1))
        window = lab[
            max(row - radius, 0) : row + radius + 1, max(column - radius, 0) : column + radius + 1
        ]
        found.append(np.median(window.reshape(-1, 3), axis=0))
    return np.array(found)
