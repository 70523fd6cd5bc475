"""Utility: is a face still found where the original has one? Average precision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dp3_lightning.structures import Detection, FloatArray


def overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """Measure intersection over union of two boxes ``(x0, y0, x1, y1)``.

    >>> overlap((0, 0, 2, 2), (1, 0, 3, 2))
    0.3333333333333333
    """
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (first, second))
    return shared / (areas - shared) if areas > shared else 0.0


def average_precision(
    truth: Sequence[Sequence[Detection]],
    found: Sequence[Sequence[Detection]],
    least_overlap: float = 0.5,
) -> float:
    """Measure how well a detector finds the true faces: the area under precision over recall.

    Every detection, by falling score, is matched to the free true face of its frame that it
    overlaps most (Everingham et al. 2010, all points; precision made falling).

    >>> face = Detection((0, 0, 9, 9), 0.9)
    >>> average_precision([[face], [face]], [[face], []])
    0.5

    Args:
        truth: per frame the true faces; their scores do not count.
        found: per frame what was found.
        least_overlap: intersection over union from which a face counts as found.

    Returns:
        In [0, 1]; NaN without any true face.

    Raises:
        ValueError: unequal numbers of frames.
    """
    if len(truth) != len(found):
        raise ValueError(f"Expected equally many frames, got {len(truth)} and {len(found)}.")
    total = sum(map(len, truth))
    if not total:
        return float("nan")
    free = [list(faces) for faces in truth]
    ranked = sorted(
        ((face.score, frame, face) for frame, faces in enumerate(found) for face in faces),
        key=lambda entry: -entry[0],
    )
    hits = np.zeros(len(ranked))
    for place, (_, frame, face) in enumerate(ranked):
        gaps = [overlap(face.box, real.box) for real in free[frame]]
        if gaps and max(gaps) >= least_overlap:
            free[frame].pop(int(np.argmax(gaps)))
            hits[place] = 1
    return _area(hits, total)


def _area(hits: FloatArray, total: int) -> float:
    if not len(hits):
        return 0.0
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float((falling * hits).sum() / total)
