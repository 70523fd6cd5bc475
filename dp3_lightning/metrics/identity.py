"""Does a drawn face stay one person, from frame to frame and over a track?

Takes embeddings and knows no recogniser.
"""

from __future__ import annotations

import math

import numpy as np

from dp3_lightning.structures import FloatArray


def identity_flicker(
    first: FloatArray, second: FloatArray, original: tuple[FloatArray, FloatArray] | None = None
) -> float:
    """Measure how much identity changes from one frame to the next: the mean of 1 - cosine.

    Divided by the original's where that is given, so that 1 flickers as the source does.

    >>> identity_flicker(np.eye(2), np.eye(2)[::-1])
    1.0

    Args:
        first: ``(n, D)`` embeddings of one track's output.
        second: ``(n, D)`` of the frames that follow those.
        original: the same two of the original.

    Returns:
        At least 0; NaN without rows, or where the original does not change at all.

    Raises:
        ValueError: shapes that do not belong together, or embeddings that are not finite.
    """
    values = []
    for rows, following in ((first, second), *([] if original is None else [original])):
        if rows.shape != following.shape or not np.isfinite([rows, following]).all():
            raise ValueError(
                f"Expected finite embeddings of pairs of frames, got {rows.shape} and "
                f"{following.shape}."
            )
        if not len(rows):
            return math.nan
        lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(following, axis=1)
        cosines = (rows * following).sum(axis=1) / np.maximum(lengths, 1e-12)
        values.append(float((1 - cosines).mean()))
    if original is None:
        return values[0]
    return values[0] / values[1] if values[1] > 0 else math.nan


def identity_stability(
    embeddings: FloatArray, original: FloatArray | None = None
) -> tuple[float, float]:
    """How alike a track's frames are to a recogniser: neighbours (TL-ID) and all pairs (TG-ID).

    Mean cosine; divided by the original track's where that is given, so that 1 is as stable as the
    source (Tzaban et al., "Stitch it in Time", 2022). For a pseudonym: does it stay one person?

    >>> identity_stability(np.array([[1.0, 0], [1, 0], [0, 1]]))
    (0.5, 0.3333333333333333)

    Args:
        embeddings: ``(T, D)`` of one track's output.
        original: ``(T, D)`` of the same frames of the original.

    Returns:
        ``(local, global)``; NaN where the original's frames have nothing in common.

    Raises:
        ValueError: fewer than two frames, or embeddings that are not finite.
    """
    values = []
    for rows in (embeddings, original):
        if rows is None:
            values.append((1.0, 1.0))
            continue
        if len(rows) < 2 or not np.isfinite(rows).all():
            raise ValueError(f"Expected at least two frames of finite embeddings, got {len(rows)}.")
        unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        cosines = unit @ unit.T
        pairs = cosines[np.triu_indices(len(rows), k=1)]
        values.append((float(np.diag(cosines, k=1).mean()), float(pairs.mean())))
    local, whole = (made / real if real else math.nan for made, real in zip(*values, strict=True))
    return local, whole
