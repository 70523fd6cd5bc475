"""Change only mouth and eyes of a drawn face: the rest keeps one texture per person.

A face prior draws a slightly other person with every expression. So skin, nose, brows and hairline
come from one picture of the person at rest and are moved by the mesh; the expression's own picture
shows where texture must change: lips and what lies between them, lids and eyes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from dp3_lightning.anonymize.rendering.mesh.people import DrawnFace
from dp3_lightning.faces.expression import EYE_LEFT, EYE_RIGHT, LIPS_INNER, LIPS_OUTER
from dp3_lightning.structures import FloatArray

# Distances from the lips' and lids' points, in outer eye distances: whole, and faded out.
_LIPS, _LIDS = (0.05, 0.24), (0.045, 0.13)
_SEEN_AT = 96  # pixels: side of the pictures whose colours are compared
_BLUR = 1.6  # pixels of those
_REACH = 9.0  # pixels of those that a difference of colour spreads


@cache
def _distances_key() -> tuple[tuple[int, ...], tuple[int, ...]]:
    return (*LIPS_OUTER, *LIPS_INNER), (*EYE_RIGHT, *EYE_LEFT)


def patch_weights(reference: FloatArray) -> FloatArray:
    """Say how much of an expression's picture every point of the mesh shows.

    Args:
        reference: ``(468, 3)`` frontal mean mesh, outer eyes 1 apart.

    Returns:
        ``(468,)`` in [0, 1]: 1 at lips and lids, 0 where the person's resting picture is shown.
    """
    weights = np.zeros(len(reference))
    lips, lids = _distances_key()
    for points, (whole, gone) in ((lips, _LIPS), (lids, _LIDS)):
        apart = reference[:, None, :2] - reference[None, list(points), :2]
        nearest = np.sqrt((apart**2).sum(2)).min(1)
        share = np.clip((gone - nearest) / (gone - whole), 0, 1)
        weights = np.maximum(weights, share * share * (3 - 2 * share))
    # Between the lips nothing of the resting picture may show.
    return weights


def matched(face: DrawnFace, rest: DrawnFace, weights: FloatArray) -> DrawnFace:
    """Fit the colours of an expression's picture to the resting one where they will meet.

    Args:
        face: with an expression.
        rest: the same person at rest; its picture may have another pose.
        weights: see :func:`patch_weights`.
    """
    meeting = np.flatnonzero((weights > 0.02) & (weights < 0.7))
    side = face.picture.shape[0]
    ours, theirs = (_colors_at(f, meeting) for f in (face, rest))
    scale = _SEEN_AT / side
    splat = np.zeros((_SEEN_AT, _SEEN_AT, 4), np.float32)
    places = np.clip((face.mesh[meeting, :2] * scale).astype(int), 0, _SEEN_AT - 1)
    difference = np.column_stack([theirs - ours, np.ones(len(meeting))])
    np.add.at(splat, (places[:, 1], places[:, 0]), difference)
    near = cv2.GaussianBlur(splat, (0, 0), _REACH / 3)
    wide = cv2.GaussianBlur(splat, (0, 0), _REACH)
    field = (near[..., :3] + 0.2 * wide[..., :3]) / (near[..., 3:] + 0.2 * wide[..., 3:] + 1e-5)
    full = cv2.resize(field, (side, side), interpolation=cv2.INTER_LINEAR)
    picture = np.clip(np.rint(face.picture + full), 0, 255).astype(np.uint8)
    return replace(face, picture=picture)


def _colors_at(face: DrawnFace, which: npt.NDArray[np.intp]) -> FloatArray:
    small = cv2.resize(face.picture, (_SEEN_AT, _SEEN_AT), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small.astype(np.float32), (0, 0), _BLUR)
    at = face.mesh[which, :2] * (_SEEN_AT / face.picture.shape[0]) - 0.5
    found = cv2.remap(
        small, at[None].astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    colors: FloatArray = found[0].astype(np.float64)
    return colors
