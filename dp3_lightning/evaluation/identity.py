"""Measure whom a recogniser takes the drawn face for, frame by frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dp3_lightning.evaluation.views import VIEW, FaceView
from dp3_lightning.faces.embedder import FaceEmbedder
from dp3_lightning.metrics import identity_flicker, identity_stability
from dp3_lightning.structures import FloatArray, UInt8Array

_EMBEDDED = 24  # frames of a track, spread


@dataclass(frozen=True)
class TrackEmbeddings:
    """Hold the embeddings of one track; rows belong to the same frames.

    Attributes:
        real: original face, ``(n, D)``.
        made: drawn face, ``(n, D)``.
        context: original with the face blacked out, ``(n, D)``: the share of hair, neck and scene,
            which no anonymizer of faces can take away.
    """

    real: FloatArray
    made: FloatArray
    context: FloatArray

    def __len__(self) -> int:
        return len(self.real)


def embedded_frames(n_frames: int) -> set[int]:
    """Return which frames of a track are embedded: at most 24, spread over it."""
    count = min(_EMBEDDED, n_frames)
    return set(np.linspace(0, n_frames - 1, count).astype(int).tolist())


def embed_frame(
    pair: tuple[UInt8Array, UInt8Array], view: FaceView, index: int, embedder: FaceEmbedder
) -> list[FloatArray] | None:
    """Embed the real face, the drawn one, and the frame with the face blacked out.

    Args:
        pair: original and output frame.
        view: where the face is.
        index: of the frame, in the view.
        embedder: recogniser.

    Returns:
        Three embeddings ``(D,)``; None where one of them is missing or not finite.
    """
    box = _frame_box(view, index)
    hidden = pair[0].copy()
    x0, y0, x1, y1 = (max(round(v), 0) for v in box)
    hidden[y0:y1, x0:x1] = 0
    found = [embedder(frame, box) for frame in (*pair, hidden)]
    known = [row for row in found if row is not None and np.isfinite(row).all()]
    return known if len(known) == len(found) else None


def embed_pair(
    pair: tuple[UInt8Array, UInt8Array], view: FaceView, index: int, embedder: FaceEmbedder
) -> tuple[FloatArray, FloatArray] | None:
    """Embed the real face and the drawn one; see :func:`embed_frame`."""
    real, made = (embedder(frame, _frame_box(view, index)) for frame in pair)
    if real is None or made is None or not np.isfinite([real, made]).all():
        return None
    return real, made


def _frame_box(view: FaceView, index: int) -> list[float]:
    scale = (view.windows[index][2] - view.windows[index][0]) / VIEW
    box: list[float] = (view.boxes[index] * scale + np.tile(view.windows[index][:2], 2)).tolist()
    return box


def flicker_figure(pairs: Sequence[tuple[tuple[FloatArray, ...], tuple[FloatArray, ...]]]) -> float:
    """Return the flicker of identity, of the original's; NaN without pairs of frames.

    Args:
        pairs: embeddings ``(real, made)`` of a frame and of the one after it.
    """
    if not pairs:
        return math.nan
    real, made = (
        (np.array([a[k] for a, _ in pairs]), np.array([b[k] for _, b in pairs])) for k in (0, 1)
    )
    return identity_flicker(*made, original=real)


def track_embeddings(rows: Sequence[Sequence[FloatArray]]) -> TrackEmbeddings:
    """Stack the results of :func:`embed_frame`; may be empty."""
    columns = zip(*rows, strict=True) if rows else ([], [], [])
    return TrackEmbeddings(*(np.array(list(column)) for column in columns))


def identity_figures(track: TrackEmbeddings, threshold: float) -> dict[str, float]:
    """Return the figures of one track; NaN with fewer than two frames.

    Args:
        track: embeddings of a track.
        threshold: distance below which two faces count as one person.
    """
    names = ("identity distance", "identity distance, least", "recognised", "TL-ID", "TG-ID")
    if len(track) < 2:
        return dict.fromkeys(names, math.nan)
    gaps = np.linalg.norm(track.real - track.made, axis=1)
    values = (gaps.mean(), gaps.min(), (gaps < threshold).mean())
    stability = identity_stability(track.made, track.real)
    return dict(zip(names, (*map(float, values), *stability), strict=True))
