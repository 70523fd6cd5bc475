"""How closely a face in one video moves as it does in another: meshes and expressions over time."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dp3_lightning.assets import asset_path
from dp3_lightning.faces.expression import SIGNALS, expression_signals, frontalise, pose_angles
from dp3_lightning.faces.resample import cut_window
from dp3_lightning.metrics.landmarks import column_correlations as correlations
from dp3_lightning.metrics.landmarks import frontal_correlation, landmark_correlation
from dp3_lightning.structures import FloatArray, UInt8Array

__all__ = [
    "FIVE", "LEAST_CEILING", "SEVEN", "FivePoints", "agreement", "correlations", "five_signals",
    "frontal_correlation", "is_judged", "landmark_correlation", "seven_signals", "telling_frames",
]  # fmt: skip

SEVEN = ("mouth_open", "mouth_width", "corner_lift", "eyes", "brows", "yaw", "pitch")
FIVE = ("roll", "eye distance", "nose across", "nose down")  # of dlib's five points
LEAST_CEILING = 0.9  # a signal that recompression alone disturbs more says nothing

_SIDE = 480  # pixels; dlib's landmarks are whole pixels, so faces are enlarged for it
_BOX_SHARE, _BOX_CENTER = 0.95, 0.54  # of a detector's box: the square that dlib expects


def seven_signals(meshes: FloatArray, reference: FloatArray) -> FloatArray:
    """Measure :data:`SEVEN` on meshes ``(n, 468, 3)``: ``(n, 7)``, eye distances and degrees."""
    faces = frontalise(meshes, reference)
    column = dict(zip(SIGNALS, expression_signals(faces.points).T, strict=True))
    angles = pose_angles(faces.rotation)
    column["eyes"] = (column["eye_right"] + column["eye_left"]) / 2
    column["brows"] = (column["brow_right"] + column["brow_left"]) / 2
    column |= {"yaw": angles[:, 0], "pitch": angles[:, 1]}
    return np.column_stack([column[name] for name in SEVEN])


def five_signals(points: FloatArray) -> FloatArray:
    """Measure :data:`FIVE` on dlib's points ``(n, 5, 2)``: ``(n, 4)``.

    Roll in degrees, eye distance in pixels, and the nose from the middle of the eyes, along and
    across their line, in eye distances.
    """
    left, right, nose = points[:, 2:4].mean(axis=1), points[:, 0:2].mean(axis=1), points[:, 4]
    across = right - left
    distance = np.maximum(np.linalg.norm(across, axis=1), 1e-9)
    to_nose = nose - (left + right) / 2
    along = (to_nose * across).sum(axis=1) / distance**2
    down = (to_nose[:, 1] * across[:, 0] - to_nose[:, 0] * across[:, 1]) / distance**2
    roll = np.degrees(np.arctan2(across[:, 1], across[:, 0]))
    return np.column_stack([roll, distance, along, down])


def agreement(
    names: Sequence[str], label: str, real: FloatArray, other: FloatArray, ceiling: FloatArray
) -> dict[str, float]:
    """Correlate signals ``(n, c)`` of another video with the real ones, beside the best there is.

    Args:
        names: of the columns.
        label: what the mean is called.
        real: of the original.
        other: of the drawn face.
        ceiling: of the original, recompressed: what measuring alone costs.

    Returns:
        Per signal its correlation and ``ceiling``; ``spread``, the standard deviation of the real
        one; ``gain``, that of the other as a share of it; ``error``, how far the other strays from
        it but for a constant (RMS). The means of the first two; the mean over judged signals
        (:func:`is_judged`) as a share of the ceiling's.
    """
    found, best = correlations(real, other), correlations(real, ceiling)
    spread, moved = real.std(axis=0), other.std(axis=0)
    parts = {
        "": found,
        " ceiling": best,
        " spread": spread,
        " gain": moved / np.maximum(spread, 1e-12),
        " error": (other - real).std(axis=0),
    }
    values = {
        f"{n}{part}": float(row[i]) for i, n in enumerate(names) for part, row in parts.items()
    }
    values |= {label: float(found.mean()), f"{label} ceiling": float(best.mean())}
    judged = best >= LEAST_CEILING
    share = float(found[judged].mean() / best[judged].mean()) if judged.any() else math.nan
    return {**values, f"{label} of ceiling": share}


def is_judged(values: dict[str, float], name: str) -> bool:
    """Whether a signal can be measured well enough in this clip to say how it is followed."""
    return values[f"{name} ceiling"] >= LEAST_CEILING


def telling_frames(signals: FloatArray, n: int) -> list[int]:
    """Choose the frames that differ most, in order: ``n`` rows of ``(m, c)``, or all."""
    scaled = (signals - np.median(signals, axis=0)) / np.maximum(signals.std(axis=0), 1e-9)
    chosen = [int((scaled**2).sum(axis=1).argmax())]
    while len(chosen) < min(n, len(signals)):
        gaps = np.stack([((scaled - scaled[k]) ** 2).sum(axis=1) for k in chosen]).min(axis=0)
        gaps[chosen] = -1
        chosen.append(int(gaps.argmax()))
    return sorted(chosen)


class FivePoints:
    """dlib's five landmarks, which no part of the drawing uses; none without dlib."""

    def __init__(self) -> None:
        self.is_there = importlib.util.find_spec("dlib") is not None
        self._predictor: Any = None

    def __call__(self, frame: UInt8Array, box: Sequence[float]) -> FloatArray:
        """Find the points of the face in a box, ``(5, 2)`` in pixels of the frame; else NaN."""
        if not self.is_there or not np.isfinite(box).all():
            return np.full((5, 2), np.nan)
        import dlib

        if self._predictor is None:
            self._predictor = dlib.shape_predictor(str(asset_path("dlib_shape_predictor_5")))
        x0, y0, x1, y1 = (float(v) for v in box)
        side = _BOX_SHARE * (x1 - x0 + y1 - y0) / 2
        middle = np.array([(x0 + x1) / 2, y0 + _BOX_CENTER * (y1 - y0)])
        low, high = middle - side, middle + side
        levels = cut_window(frame, [*low, *high], (_SIDE, _SIDE))
        picture = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
        quarter = _SIDE // 4
        found = self._predictor(picture, dlib.rectangle(quarter, quarter, *[3 * quarter] * 2))
        points = np.array([(point.x, point.y) for point in found.parts()], np.float64)
        placed: FloatArray = low + (points + 0.5) * (2 * side / _SIDE)
        return placed
