"""Lay a drawn face over a frame: where it covers, how it fades out, and how its colours fit.

Colours are fitted to pixels outside the mask only, which stay visible in the output.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial import Delaunay

from dp3_lightning.faces.appearance import fill_outline, scaled_outline, skin_likeness
from dp3_lightning.generators.face_prior.latent_model import LatentModel
from dp3_lightning.structures import FloatArray, UInt8Array, Window

Float32Array = npt.NDArray[np.float32]
Points = npt.NDArray[np.floating]

_MARGIN = 0.34  # of the outline's longer side: what a region holds around it
_GROWTH = 1.03  # of the real face's outline: meshes waver
_BESIDE = np.array([-4.0, -3.0, 0.0])  # CIELAB of neck and ears beside that of cheeks
_NEAR = np.array([14.0, 9.0, 10.0])
_FADE, _FADE_TOP = 0.07, 0.17  # of half the face's height
_BAND = 0.20  # of half the face's height: skin within it is what colours fit to
_LIT = 0.7  # quantile of lightness that stands for skin in light
_MOST_SHIFT = np.array([[-30.0, -14.0, -18.0], [22.0, 14.0, 18.0]])
_MOST_FIELD = 7.0  # CIELAB
_FIELD_SIGMA = 0.24  # of half the face's height
_LEAST_PIXELS = 8.0


@dataclass(frozen=True)
class Layer:
    """A drawn face in its place.

    Attributes:
        region: ``(x0, y0, x1, y1)`` whole pixels of the frame.
        color: ``(h, w, 3)`` float32 in [0, 255].
        alpha: ``(h, w)`` float32 in [0, 1]; 1 wherever the real face is.
    """

    region: Window
    color: Float32Array
    alpha: Float32Array

    def lay_over(self, frame: UInt8Array) -> None:
        """Mix the layer into a frame, in place."""
        x0, y0, x1, y1 = self.region
        part = frame[y0:y1, x0:x1]
        alpha = self.alpha[..., None]
        part[:] = np.rint(alpha * self.color + (1 - alpha) * part).astype(np.uint8)


@dataclass(frozen=True)
class Cover:
    """Which pixels of a region a drawn face covers.

    Attributes:
        region: ``(x0, y0, x1, y1)`` in the frame.
        alpha: ``(h, w)`` float32.
        distance: ``(h, w)`` float32, pixels inside (> 0) or outside (< 0) the covered outline.
        half_height: of the face, in pixels.
    """

    region: Window
    alpha: Float32Array
    distance: Float32Array
    half_height: float

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        x0, y0, x1, y1 = self.region
        return y1 - y0, x1 - x0

    @property
    def corner(self) -> FloatArray:
        """Upper left corner in the frame."""
        return np.array(self.region[:2], np.float64)


def cover(real: FloatArray, drawn: FloatArray, frame_size: tuple[int, int]) -> Cover | None:
    """Choose what a drawn face covers: all that the real face's mesh covers, and its own.

    When a head is turned, nose, lips and the far eye reach beyond the face's outline.

    Args:
        real: ``(468, 3)`` mesh of the real face, pixels of the frame.
        drawn: ``(468, 3)`` mesh that the drawn face is moved to.
        frame_size: ``(height, width)``.

    Returns:
        None when the face lies outside the frame.
    """
    # Enlarged about its centre, the outline of a turned head leaves out pixels of its own rim.
    outlines = [
        scaled_outline(real, _GROWTH),
        scaled_outline(real, 1.0),
        scaled_outline(drawn, 1.0),
    ]
    every = np.concatenate([*outlines, real[:, :2], drawn[:, :2]])
    low, high = every.min(0), every.max(0)
    margin = _MARGIN * float((high - low).max())
    x0, y0 = np.maximum(np.floor(low - margin), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(high + margin), [frame_size[1], frame_size[0]]).astype(int)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return None
    size = (int(y1 - y0), int(x1 - x0))
    mask = np.zeros(size, np.uint8)
    for outline in outlines:
        mask |= fill_outline(size, outline - [x0, y0] - 0.5)
    own = _silhouette(size, real[:, :2] - [x0, y0] - 0.5)
    reach = (_GROWTH - 1) * 0.5 * float(np.ptp(real[:, :2], axis=0).max())
    side = 2 * int(np.ceil(reach)) + 1
    mask |= cv2.dilate(own, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    mask |= _silhouette(size, drawn[:, :2] - [x0, y0] - 0.5)
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    distance -= cv2.distanceTransform(1 - mask, cv2.DIST_L2, 3)
    up = (drawn[10] - drawn[168])[:2]
    length = max(float(np.linalg.norm(up)), 1e-6)
    half = max(0.5 * float(np.linalg.norm(drawn[152] - drawn[10])), 1.0)
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32)
    height = (columns + (x0 - drawn[168, 0])) * (up[0] / length**2)
    height += (rows + (y0 - drawn[168, 1])) * (up[1] / length**2)
    top = np.clip((height - 0.3) / 0.4, 0, 1)
    fade = np.maximum((_FADE + (_FADE_TOP - _FADE) * top) * half, 1.2)
    alpha = np.clip(1 + distance / fade, 0, 1)
    alpha = (alpha * alpha * (3 - 2 * alpha)).astype(np.float32)
    alpha[mask > 0] = 1.0
    return Cover((int(x0), int(y0), int(x1), int(y1)), alpha, distance.astype(np.float32), half)


@cache
def _triangles() -> npt.NDArray[np.int32]:
    """Triangles that the mesh of any face is made of, ``(n, 3)``."""
    triangles: npt.NDArray[np.int32] = Delaunay(LatentModel.load().reference[:, :2]).simplices
    return triangles


def _silhouette(size: tuple[int, int], points: FloatArray) -> npt.NDArray[np.uint8]:
    """Return a mask of all that a mesh covers; its points are pixel centres."""
    mask = np.zeros(size, np.uint8)
    # Far outside, fixed point numbers would overflow; there nothing is covered anyway.
    corners = np.clip(np.round(points * 16), -(2**24), 2**24).astype(np.int32)[_triangles()]
    for triangle in corners:
        cv2.fillConvexPoly(mask, triangle, 1, cv2.LINE_8, 4)
    return mask


def to_lab(levels: Float32Array) -> Float32Array:
    """Convert ``(h, w, 3)`` RGB in [0, 255] to CIELAB."""
    lab: Float32Array = cv2.cvtColor(
        np.clip(levels, 0, 255) * np.float32(1 / 255), cv2.COLOR_RGB2LAB
    )
    return lab


@dataclass(frozen=True)
class Seam:
    """How the skin just outside a drawn face differs from the drawn skin.

    Attributes:
        shift: ``(3,)`` CIELAB, real minus drawn, of the skin in light.
        weight: in [0, 1], by how much skin there is to judge by.
    """

    shift: FloatArray
    weight: float


def measure_seam(real: Float32Array, drawn: Float32Array, place: Cover, grey: bool) -> Seam:
    """Compare the visible skin around a face with the drawn skin beside it.

    Args:
        real: ``(h, w, 3)`` CIELAB of the frame; only pixels outside the mask are looked at.
        drawn: ``(h, w, 3)`` CIELAB of the warped face.
        place: what is covered.
        grey: the film has no colour.
    """
    band = _band(place)
    ours, theirs = drawn[band], real[band]
    if not len(ours):
        return Seam(np.zeros(3), 0.0)
    likely = np.clip((theirs[:, 0] - 20) / 20, 0, 1) if grey else skin_likeness(theirs)
    # Brown hair and shaded necks look like skin too: only what is near the drawn skin counts.
    expected = np.median(ours, axis=0) + _BESIDE
    near = np.exp(-0.5 * (((theirs - expected) / _NEAR) ** 2).sum(1))
    likely = likely * near * (theirs[:, 0] > 12)
    if float(likely.sum()) < _LEAST_PIXELS:
        return Seam(np.zeros(3), 0.0)
    level = _quantile(theirs[:, 0], likely, _LIT)
    drawn_level = float(np.quantile(ours[:, 0], _LIT))
    lit = likely * np.exp(-0.5 * ((theirs[:, 0] - level) / 8) ** 2)
    drawn_lit = np.exp(-0.5 * ((ours[:, 0] - drawn_level) / 8) ** 2)
    colors = [
        _quantile(theirs[:, c], lit, 0.5) - _quantile(ours[:, c], drawn_lit, 0.5) for c in (1, 2)
    ]
    shift = np.clip(np.array([level - drawn_level, *colors]), *_MOST_SHIFT)
    weight = min(1.0, float(likely.sum()) / max(len(ours), 1) / 0.15)
    return Seam(shift, weight)


def fitted_colors(
    real: Float32Array,
    drawn: Float32Array,
    place: Cover,
    shift: FloatArray,
    tone: FloatArray | None,
) -> Float32Array:
    """Fit the colours of a warped face to its surroundings.

    Args:
        real: ``(h, w, 3)`` CIELAB of the frame; only pixels outside the mask are looked at.
        drawn: ``(h, w, 3)`` CIELAB of the warped face.
        place: what is covered.
        shift: ``(3,)`` added everywhere, steady in time.
        tone: ``(2,)`` a and b of a film without colour; None for one with.

    Returns:
        ``(h, w, 3)`` float32 RGB in [0, 255].
    """
    if tone is not None:
        deep = place.distance > 0.25 * place.half_height
        middle = np.median(drawn[deep if deep.any() else place.alpha > 0], axis=0)
        drawn = drawn.copy()
        drawn[..., 1:] = (drawn[..., 1:] - middle[1:]) * 0.3 + tone
        shift = shift * np.array([1.0, 0.0, 0.0])
    moved = drawn + shift.astype(np.float32)
    moved += _field(real, moved, place, grey=tone is not None)
    moved[..., 0] = np.clip(moved[..., 0], 0, 100)
    rgb: Float32Array = cv2.cvtColor(moved, cv2.COLOR_LAB2RGB)
    return np.clip(rgb * 255, 0, 255)


def _band(place: Cover) -> npt.NDArray[np.bool_]:
    """Pixels just outside the mask."""
    width = max(_BAND * place.half_height, 3.0)
    band: npt.NDArray[np.bool_] = (place.distance < -0.5) & (place.distance > -width)
    return band


def _field(real: Float32Array, drawn: Float32Array, place: Cover, grey: bool) -> Float32Array:
    """Smooth differences of colour along the border: shade on one side, light on the other."""
    height, width = place.size
    step = max(1, int(place.half_height / 16))
    small = (max(width // step, 2), max(height // step, 2))
    # Weighted before shrinking, so that nothing inside the mask is looked at.
    band = _band(place).astype(np.float32)
    sums = [np.dstack([(real - drawn) * band[..., None], band]), real * band[..., None]]
    sums = [cv2.resize(part, small, interpolation=cv2.INTER_AREA) for part in sums]
    share = sums[0][..., 3]
    difference = sums[0][..., :3] / np.maximum(share, 1e-4)[..., None]
    color = sums[1] / np.maximum(share, 1e-4)[..., None]
    weight = share if grey else share * skin_likeness(color)
    weight = weight * np.exp(-0.5 * ((difference / np.array([9.0, 6.0, 6.0])) ** 2).sum(2))
    sigma = max(_FIELD_SIGMA * place.half_height / step, 0.5)
    spread = np.dstack([difference * weight[..., None], weight]).astype(np.float32)
    spread = cv2.GaussianBlur(spread, (0, 0), sigma)
    field = spread[..., :3] / (spread[..., 3:] + 0.02)
    field = np.clip(field, -_MOST_FIELD, _MOST_FIELD)
    if grey:
        field[..., 1:] = 0
    smooth: Float32Array = cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR)
    return smooth


def _quantile(values: Points, weights: Points, q: float) -> float:
    order = np.argsort(values)
    sums = np.cumsum(weights[order])
    return float(values[order][min(int(np.searchsorted(sums, sums[-1] * q)), len(values) - 1)])
