"""Colour and sharpness of faces, recompression, and strips of pictures for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dp3_lightning.anonymize.picture_job import write_picture
from dp3_lightning.evaluation.views import FaceView
from dp3_lightning.faces.appearance import face_color, fill_outline, lab_of, scaled_outline
from dp3_lightning.faces.resample import cut_window
from dp3_lightning.metrics.appearance import color_difference, tone_group
from dp3_lightning.structures import FloatArray, UInt8Array

__all__ = [
    "Look", "color_difference", "laplacian_variance", "look_of", "look_values", "recompressed",
    "tone_group", "write_strip",
]  # fmt: skip

STRIP_SIDE = 192  # pixels
QUALITY = 60  # of JPEG: what a video loses anyway
_INSIDE = 0.9  # of the outline: its edge is the seam, not the face


@dataclass(frozen=True)
class Look:
    """How a face looks in one frame.

    Attributes:
        skin: ``(3,)`` CIELAB.
        details: variance of the Laplacian inside the outline, of levels in [0, 255].
    """

    skin: FloatArray
    details: float


def look_of(frame: UInt8Array, mesh: FloatArray) -> Look:
    """Measure skin and details of a face.

    Args:
        frame: ``(H, W, 3)`` uint8 RGB.
        mesh: ``(468, 3)`` in its pixels.
    """
    margin = 0.25 * float(np.ptp(mesh[:, :2], axis=0).max())
    low = np.maximum(np.floor(mesh[:, :2].min(axis=0) - margin), 0).astype(int)
    high = np.ceil(mesh[:, :2].max(axis=0) + margin).astype(int)
    part = np.ascontiguousarray(frame[low[1] : max(high[1], 1), low[0] : max(high[0], 1)])
    points = np.asarray(mesh[:, :2], np.float64) - low
    return Look(face_color(lab_of(part), points), laplacian_variance(part, points))


def laplacian_variance(picture: UInt8Array, points: FloatArray) -> float:
    """Variance of the Laplacian of a face's grey levels; NaN where none of it is in the picture."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    inside = fill_outline(grey.shape[:2], scaled_outline(points, _INSIDE) - 0.5) > 0
    return float(cv2.Laplacian(grey, cv2.CV_32F)[inside].var()) if inside.any() else float("nan")


def look_values(real: Sequence[Look], made: Sequence[Look]) -> dict[str, float]:
    """Compare how a face looks in the original and drawn, over the frames of a track.

    Returns:
        Medians: ``skin`` difference of colours and ``skin lightness`` (drawn less original),
        ``lightness`` of the original, ``sharpness`` (details of the drawn face as a share of the
        original's); NaN without frames.
    """
    pairs = list(zip(real, made, strict=True))
    rows = np.array(
        [
            (
                color_difference(a.skin, b.skin),
                b.skin[0] - a.skin[0],
                a.skin[0],
                b.details / max(a.details, 1e-9),
            )
            for a, b in pairs
        ]
    ).reshape(len(pairs), 4)
    medians = np.nanmedian(rows, axis=0) if pairs else np.full(4, np.nan)
    names = ("skin", "skin lightness", "lightness", "sharpness")
    return dict(zip(names, medians.tolist(), strict=True))


def recompressed(frame: UInt8Array, quality: int = QUALITY) -> UInt8Array:
    """Compress a frame as JPEG and read it back."""
    _, data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    read = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert read is not None  # OpenCV wrote it a moment ago
    return np.ascontiguousarray(read[..., ::-1])


def write_strip(
    path: Path, view: FaceView, pairs: Sequence[tuple[int, UInt8Array, UInt8Array]]
) -> None:
    """Write a face as it is, above how it is drawn.

    Args:
        path: picture to write.
        view: where the face is.
        pairs: place in the track, original and output frame.
    """

    def row(frames: Sequence[UInt8Array]) -> FloatArray:
        size = (STRIP_SIDE, STRIP_SIDE)
        places = [view.windows[at].tolist() for at, _, _ in pairs]
        return np.hstack([cut_window(f, p, size) for f, p in zip(frames, places, strict=True)])

    rows = [row([real for _, real, _ in pairs]), row([made for _, _, made in pairs])]
    write_picture(path, np.clip(np.rint(np.vstack(rows)), 0, 255).astype(np.uint8))
