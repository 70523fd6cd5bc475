"""Let a drawn face's skin go on over its rim, in place of the hair and background drawn there."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from dp3_lightning.faces.expression import (
    BROW_LEFT,
    BROW_RIGHT,
    EYE_LEFT,
    EYE_RIGHT,
    NOSE,
    OVAL,
)
from dp3_lightning.structures import FloatArray, UInt8Array

Float32Array = npt.NDArray[np.float32]

_INNER, _OUTER = 0.80, 0.97  # of the outline: where replacing starts, and where it is complete
_KEPT = 0.88  # of the outline: up to where all that is skin is kept
_SPREAD = np.array([17.0, 8.0, 9.0], np.float32)  # CIELAB, of one person's skin
_SHADE = 12.0  # CIELAB lightness below the median from which skin is not spread
_WORK_SIDE = 128  # pixels; the fill is smooth, so a small copy will do
_LEVELS = 6
_FEATURES = ((EYE_RIGHT + BROW_RIGHT, 1.3), (EYE_LEFT + BROW_LEFT, 1.3), (NOSE, 1.35))


def extend_skin(picture: UInt8Array, mesh: FloatArray) -> UInt8Array:
    """Replace what is not skin near and beyond a drawn face's outline by a smooth fill of its skin.

    The inner face, with eyes and mouth, stays as it is.

    Args:
        picture: ``(S, S, 3)`` uint8 RGB.
        mesh: ``(468, 3)`` in its pixels.

    Returns:
        ``(S, S, 3)`` uint8 RGB.
    """
    side = picture.shape[0]
    scale = _WORK_SIDE / side
    small = cv2.resize(picture, (_WORK_SIDE, _WORK_SIDE), interpolation=cv2.INTER_AREA)
    outline = mesh[list(OVAL), :2] * scale
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    inner = _polygon(outline, 0.7)
    color = np.median(lab[inner > 0], axis=0) if inner.any() else np.median(lab, axis=(0, 1))
    distance = ((lab - color) / _SPREAD) ** 2
    likeness = np.exp(-0.5 * np.maximum(distance.sum(2) - 1, 0)).astype(np.float32)
    face = _polygon(outline, _OUTER).astype(np.float32)
    # Pixels that are half hair would darken the fill.
    light = np.clip((lab[..., 0] - color[0] + _SHADE) / _SHADE, 0, 1)
    fill = _diffused(small.astype(np.float32), likeness**2 * face * light)
    points = mesh[:, :2] * scale
    ramp: Float32Array = np.maximum.reduce([_ramp(outline), _forehead(points), _temples(points)])
    # Fades before the outline: an edge of this small mask would show as steps in a large picture.
    kept = 1 - _ramp(outline, _KEPT, _OUTER)
    replaced = ramp * (1 - likeness * kept)
    fill = cv2.resize(fill, (side, side), interpolation=cv2.INTER_LINEAR)
    replaced = cv2.resize(replaced, (side, side), interpolation=cv2.INTER_LINEAR)[..., None]
    mixed = picture + replaced * (fill - picture)
    extended: UInt8Array = np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)
    return extended


def _polygon(outline: FloatArray, factor: float) -> UInt8Array:
    center = outline.mean(0)
    points = center + (outline - center) * factor - 0.5
    mask = np.zeros((_WORK_SIDE, _WORK_SIDE), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 1, cv2.LINE_8, 4)
    return mask


def _ramp(outline: FloatArray, inner: float = _INNER, outer: float = _OUTER) -> Float32Array:
    """0 inside the inner face, 1 from the outline on, smooth between."""
    steps = np.linspace(inner, outer, 6)
    inside = np.mean([_polygon(outline, float(step)) for step in steps], axis=0)
    ramp: Float32Array = cv2.GaussianBlur(1 - inside.astype(np.float32), (0, 0), 1.5)
    return ramp


def _forehead(points: FloatArray) -> Float32Array:
    """1 above the brows, where what is not skin is hair, 0 below."""
    up = points[10] - points[168]
    brows = points[[105, 334]].mean(0) + 0.12 * up
    rows, columns = np.mgrid[0:_WORK_SIDE, 0:_WORK_SIDE] + 0.5
    height: FloatArray = ((columns - brows[0]) * up[0] + (rows - brows[1]) * up[1]) / float(up @ up)
    return np.asarray(np.clip(height / 0.12, 0, 1), np.float32)


def _temples(points: FloatArray) -> Float32Array:
    """1 beside eyes, nose and mouth above the mouth, where what is not skin is hair."""
    features = np.zeros((_WORK_SIDE, _WORK_SIDE), np.uint8)
    for feature, growth in _FEATURES:
        around = points[list(feature)]
        hull = cv2.convexHull(around.astype(np.float32))[:, 0]
        hull = hull.mean(0) + (hull - hull.mean(0)) * growth - 0.5
        cv2.fillPoly(features, [np.round(hull * 16).astype(np.int32)], 1, cv2.LINE_8, 4)
    features = cv2.dilate(features, np.ones((9, 9), np.uint8))  # wider than the blur below
    down = points[152] - points[10]
    rows, columns = np.mgrid[0:_WORK_SIDE, 0:_WORK_SIDE] + 0.5
    nose = points[2]
    below = ((columns - nose[0]) * down[0] + (rows - nose[1]) * down[1]) / float(down @ down)
    beside = (1 - features) * np.clip(-below / 0.04, 0, 1)  # a beard stays
    return np.asarray(cv2.GaussianBlur(beside.astype(np.float32), (0, 0), 1.5), np.float32)


def _diffused(levels: Float32Array, weight: Float32Array) -> Float32Array:
    """Spread weighted colours over the whole picture, the nearest counting most."""
    total = np.dstack([levels * weight[..., None], weight])
    result = np.zeros_like(total)
    for level in range(_LEVELS):
        sigma = 2.0 * 1.8**level
        share = 0.02**level  # a wider blur counts only where narrower ones reach nothing
        result += share * cv2.GaussianBlur(total, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(result[..., :3] / np.maximum(result[..., 3:], 1e-12), np.float32)
