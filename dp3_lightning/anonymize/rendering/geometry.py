"""Compute crops and holes of a track, in fractions of a pixel, for all its frames at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dp3_lightning.faces.crop import ExpansionRule
from dp3_lightning.faces.resample import float_window
from dp3_lightning.faces.tracker import smooth_boxes
from dp3_lightning.generators import GeneratorAdapter
from dp3_lightning.structures import FloatArray, Window

_WINDOW_SMOOTHING = 15  # frames; the window may lag where the box must not


@dataclass(frozen=True)
class TrackGeometry:
    """Hold the crop windows and holes of one track.

    Attributes:
        boxes: ``(n, 4)`` what must be covered, pixels of the frame.
        bands: ``(n,)`` width in pixels of the band around the box in which drawn and real pixels
            are blended; the real ones there are not the face's.
        windows: ``(n, 4)`` what the generator sees.
        holes: per frame the pixels of the crop that it draws: the box, as in its training. (A hole
            grown by the band as well made drawn faces measurably less sharp.)
    """

    boxes: FloatArray
    bands: FloatArray
    windows: FloatArray
    holes: list[Window]


def rule_of(generator: GeneratorAdapter) -> ExpansionRule:
    """Return how boxes grow for a generator: DeepPrivacy2's rule by the size of its pictures."""
    return "fdf128" if generator.image_size[0] < 256 else "fdf256"


def track_geometry(
    boxes: Sequence[Sequence[float]],
    frame_size: Sequence[int],
    crop_size: Sequence[int],
    rule: ExpansionRule,
    feather: float,
) -> TrackGeometry:
    """Compute the crops of a track.

    Args:
        boxes: one ``(x0, y0, x1, y1)`` per frame, pixels of the frame.
        frame_size: ``(height, width)`` in pixels.
        crop_size: ``(height, width)`` of the generator's input.
        rule: how a box grows to the window.
        feather: width of the blending band, of the longer side of the box.
    """
    covered = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    centers = (covered[:, :2] + covered[:, 2:]) / 2
    sides = (covered[:, 2:] - covered[:, :2]).max(axis=1)
    smooth = smooth_boxes(
        np.concatenate([centers, np.stack([sides, sides], axis=1)], axis=1), _WINDOW_SMOOTHING
    )
    bands = feather * smooth[:, 2]
    windows = np.empty_like(covered)
    for i, (x, y, side, _) in enumerate(smooth):
        half = side / 2
        window = float_window((x - half, y - half, x + half, y + half), frame_size, rule)
        windows[i] = _containing(window, covered[i], bands[i])
    holes = [_in_crop(box, window, crop_size) for box, window in zip(covered, windows, strict=True)]
    return TrackGeometry(covered, bands, windows, holes)


def _grown(box: FloatArray, by: float) -> FloatArray:
    grown: FloatArray = box + np.array([-by, -by, by, by])
    return grown


def _containing(window: Sequence[float], box: FloatArray, band: float) -> FloatArray:
    """Grow a square window, about its centre, until it holds the box and its band."""
    need = _grown(box, band)
    center = np.array([window[0] + window[2], window[1] + window[3]]) / 2
    half = max((window[2] - window[0]) / 2, *(center - need[:2]), *(need[2:] - center))
    return np.concatenate([center - half, center + half])


def _in_crop(box: FloatArray, window: FloatArray, size: Sequence[int]) -> Window:
    """Round a box outwards to pixels of the crop."""
    height, width = int(size[0]), int(size[1])
    scale = np.array([width, height]) / (window[2:] - window[:2])
    low = np.floor((box[:2] - window[:2]) * scale - 1e-6).astype(int)
    high = np.ceil((box[2:] - window[:2]) * scale + 1e-6).astype(int)
    x0, y0 = min(max(low[0], 0), width - 1), min(max(low[1], 0), height - 1)
    x1, y1 = max(min(high[0], width), x0 + 1), max(min(high[1], height), y0 + 1)
    return int(x0), int(y0), int(x1), int(y1)
