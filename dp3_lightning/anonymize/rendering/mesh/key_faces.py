"""Choose the frames in which a face is drawn anew: when its texture must change."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import percentile_filter

from dp3_lightning.anonymize.rendering.mesh.motion import TrackMotion
from dp3_lightning.faces.expression import SIGNALS
from dp3_lightning.structures import FloatArray

# Change that weighs 1: in outer eye distances, and degrees of yaw and pitch.
_WEIGHTS = {"mouth_open": 0.05, "mouth_width": 0.07, "corner_lift": 0.03}
_EYES, _BROWS = 0.012, 0.03
_ANGLES = np.array([9.0, 6.0])
_WORTH = 0.3  # squared change that is worth a drawing
_BLINK, _OPENED = 0.74, 0.9  # of the eyes' usual opening
_BLINK_REACH, _BLINK_WINDOW = 6, 61  # frames
_LEAST_SCALE = 22.0  # pixels between the outer eyes below which nobody sees a blink


def key_frames(motion: TrackMotion, start: int, stop: int, every: int) -> list[int]:
    """Return the frames of a run in which the face is drawn, the first and the last among them.

    Args:
        motion: of the track.
        start: first frame of the run, from the track's start.
        stop: frame after the last.
        every: mean distance of keys, in frames; where much changes they lie closer.
    """
    if every == 1:
        return list(range(start, stop))
    n = stop - start
    signals = motion.signals[start:stop]
    column = {name: signals[:, SIGNALS.index(name)] for name in SIGNALS}
    eyes = (column["eye_right"] + column["eye_left"]) / 2
    brows = (column["brow_right"] + column["brow_left"]) / 2
    features = np.column_stack(
        [
            *(column[name] / weight for name, weight in _WEIGHTS.items()),
            eyes / _EYES,
            brows / _BROWS,
            motion.angles[start:stop, :2] / _ANGLES,
        ]
    )
    seen = float(np.median(motion.scale[start:stop])) > _LEAST_SCALE
    keys = {*range(0, n, max(2 * every, 1)), n - 1, *(_blinks(eyes) if seen else ())}
    budget = int(np.ceil(n / every)) + 1 + len(keys)
    while len(keys) < budget:
        ordered = sorted(keys)
        between = np.column_stack(
            [np.interp(np.arange(n), ordered, line[ordered]) for line in features.T]
        )
        change = ((features - between) ** 2).sum(1)
        worst = int(change.argmax())
        if change[worst] < _WORTH:
            break
        keys.add(worst)
    return [start + key for key in sorted(keys)]


def _blinks(eyes: FloatArray) -> set[int]:
    """Start, shut and end of every blink."""
    usual = percentile_filter(eyes, 75, size=_BLINK_WINDOW, mode="nearest")
    found: set[int] = set()
    at = 1
    while at < len(eyes) - 1:
        lowest = eyes[at] == eyes[max(0, at - 4) : at + 5].min()
        if not (lowest and eyes[at] < _BLINK * usual[at]):
            at += 1
            continue
        first = last = at
        while first > 0 and at - first < _BLINK_REACH and eyes[first] < _OPENED * usual[first]:
            first -= 1
        while (
            last < len(eyes) - 1 and last - at < _BLINK_REACH and eyes[last] < _OPENED * usual[last]
        ):
            last += 1
        found |= {first, at, last}
        at = last + 1
    return found
