"""Match sharpness and grain of a drawn face to the film: read from what stays visible only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from dp3_lightning.anonymize.rendering.mesh.blend import Cover
from dp3_lightning.randomness import stable_hash
from dp3_lightning.structures import UInt8Array

Float32Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_EDGE = 6.0  # levels a pixel from which a gradient is an edge
_WINDOW = 0.045  # of half the face's height: one edge in it is measured
_LEAST_EDGES = 12
_REACH = 0.75  # of half the face's height: how far around the face the film is looked at
_STEPS = (-0.4, -0.2, 0.0, 0.35, 0.5, 0.65, 0.8, 1.0, 1.25, 1.5, 1.8, 2.2, 2.7)
_TOWARDS = 0.6  # of the way from the drawn face's edges to the film's, as faces are not hair
_UNSHARP_SIGMA = 1.1  # pixels
_LEAST_GRAIN, _MOST_GRAIN = 1.2, 12.0  # levels; less is what compression leaves
# Pixels of blur before edges of grainy films are measured: at no grain, for each level, at most.
_CALM, _CALM_FROM = (0.9, 0.25, 2.4), 1.5  # below lies what compression leaves
_FLAT = 3.0  # levels a pixel below which a neighbourhood is flat


@dataclass(frozen=True)
class FilmTexture:
    """How a drawn face is softened, sharpened and grained.

    Attributes:
        step: pixels of Gaussian blur if positive; amount of unsharp masking if negative.
        grain: standard deviation of the noise to add, in levels.
    """

    step: float = 0.0
    grain: float = 0.0

    def apply(self, drawn: Float32Array, frame: int) -> Float32Array:
        """Change ``(h, w, 3)`` levels; grain differs from frame to frame, repeatably."""
        changed = stepped(drawn, self.step)
        if self.grain > 0:
            random = np.random.default_rng(stable_hash("grain", frame))
            noise = random.normal(0, self.grain, (*changed.shape[:2], 1))
            changed = changed + noise.astype(np.float32)
        return np.clip(changed, 0, 255)


def stepped(drawn: Float32Array, step: float) -> Float32Array:
    """Soften (``step`` > 0, pixels) or sharpen (``step`` < 0, amount) levels."""
    if step == 0:
        return drawn
    if step > 0:
        soft: Float32Array = cv2.GaussianBlur(drawn, (0, 0), step)
        return soft
    soft = cv2.GaussianBlur(drawn, (0, 0), _UNSHARP_SIGMA)
    return drawn - np.float32(step) * (drawn - soft)


def edge_width(grey: Float32Array, mask: Mask, window: float, calm: float = 0.0) -> float:
    """Measure how wide edges are: gradient over Laplacian at the strongest edge of every window.

    Args:
        grey: ``(h, w)`` levels in [0, 255].
        mask: pixels that may be looked at.
        window: side of a window in pixels.
        calm: pixels of Gaussian blur before, so that grain is not taken for edges.

    Returns:
        Median of Gaussian widths, in pixels, as far as 3x3 filters tell; NaN with few edges.
    """
    side = 5 + 2 * int(np.ceil(2 * calm))
    inner = cv2.erode(mask.astype(np.uint8), np.ones((side, side), np.uint8)).astype(np.float32)
    if calm > 0:
        grey = cv2.GaussianBlur(grey, (0, 0), calm).astype(np.float32)
    # Levels outside the mask are replaced: their edges must not reach in.
    gradient = inner * np.hypot(
        cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=1 / 8),
        cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=1 / 8),
    )
    curvature = inner * np.abs(cv2.Laplacian(grey, cv2.CV_32F))
    kernel = np.ones((max(3, int(window) | 1),) * 2, np.uint8)
    strongest, sharpest = cv2.dilate(gradient, kernel), cv2.dilate(curvature, kernel)
    at = (gradient == strongest) & (gradient > _EDGE)
    if int(at.sum()) < _LEAST_EDGES:
        return float("nan")
    return float(np.median(gradient[at] / np.maximum(sharpest[at], 1e-3))) / 1.65


def grain_of(grey: Float32Array, mask: Mask) -> float:
    """Estimate the noise of flat parts, standard deviation in levels (Immerkaer, 1996).

    Args:
        grey: ``(h, w)`` levels in [0, 255].
        mask: pixels that may be looked at.
    """
    inner = cv2.erode(mask.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    smooth = cv2.GaussianBlur(grey, (0, 0), 2.0)
    slope = np.hypot(
        cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8),
        cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8),
    )
    flat = inner & (slope < _FLAT)
    if int(flat.sum()) < 64:
        return 0.0
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    residue = np.abs(cv2.filter2D(grey, cv2.CV_32F, kernel)[flat])
    return float(np.median(residue)) / 0.6745 / 6.0


def fit_film_texture(views: Sequence[tuple[UInt8Array, Float32Array, Cover]]) -> FilmTexture:
    """Choose how drawn faces are softened, sharpened and grained to look like the film.

    Args:
        views: part of a frame, the drawn face moved into it, and what is covered.
    """
    film, made, grains = [], [], []
    for real, drawn, place in views:
        reach = _REACH * place.half_height
        around = (place.distance < -1) & (place.distance > -reach) & (place.alpha == 0)
        inside = place.distance > 0.08 * place.half_height
        window = _WINDOW * place.half_height
        # The hole is filled before filters run, so that none of it is looked at.
        grey = cv2.cvtColor(real, cv2.COLOR_RGB2GRAY).astype(np.float32)
        grey[place.alpha > 0] = float(np.median(grey[around])) if around.any() else 0.0
        levels = cv2.cvtColor(np.clip(drawn, 0, 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)
        own = levels.astype(np.float32)
        film.append((grey, around, window))
        made.append((own, inside, window))
        grains.append((grain_of(grey, around), grain_of(own, inside)))
    if not len(film):
        return FilmTexture()
    theirs, ours = np.median(np.array(grains), axis=0)
    grain = float(np.sqrt(max(theirs**2 - ours**2, 0.0)))
    calm = min(_CALM[0] + _CALM[1] * float(theirs), _CALM[2]) if theirs > _CALM_FROM else 0.0
    step = _fitted_step(film, made, grain if calm else 0.0, calm)
    return FilmTexture(step, min(grain, _MOST_GRAIN) if grain > _LEAST_GRAIN else 0.0)


def _fitted_step(
    film: Sequence[tuple[Float32Array, Mask, float]],
    made: Sequence[tuple[Float32Array, Mask, float]],
    grain: float,
    calm: float,
) -> float:
    """Choose the step that brings the width of drawn edges near to that of the film's.

    Args:
        film: levels, where they may be looked at, and the side of a window.
        made: the same of drawn faces.
        grain: added to drawn faces before their edges are measured, as it makes edges seem sharper.
        calm: see :func:`edge_width`; the same for both, so that they can be compared.
    """
    wanted = np.array([edge_width(*view, calm) for view in film])
    if not np.isfinite(wanted).any():
        return 0.0
    own = []
    for levels, mask, window in made:
        noise = np.random.default_rng(0).normal(0, grain, levels.shape).astype(np.float32)
        own.append([edge_width(stepped(levels, s) + noise, mask, window, calm) for s in _STEPS])
    reached = np.array(
        [np.nanmedian(w) if np.isfinite(w).any() else np.nan for w in np.array(own).T]
    )
    if not np.isfinite(reached).any():
        return 0.0
    goal, own_width = float(np.nanmedian(wanted)), float(reached[_STEPS.index(0.0)])
    if np.isfinite(own_width):
        goal = own_width ** (1 - _TOWARDS) * goal**_TOWARDS
    return _STEPS[int(np.nanargmin(np.abs(np.log(reached / goal))))]
