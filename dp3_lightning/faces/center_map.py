"""Decode CenterFace's output: a grid of cells, four pixels of the network's input apart.

Every cell carries a face score, the logarithm of the face's height and width, the offset of its
centre from the cell, and five landmarks relative to the box.
"""

from __future__ import annotations

import numpy as np

from dp3_lightning.faces.runtimes import NetworkOutputs
from dp3_lightning.structures import Detection, FloatArray

STRIDE = 4  # network pixels between two cells


def decode(
    outputs: NetworkOutputs,
    scale: tuple[float, float] = (1.0, 1.0),
    threshold: float = 0.3,
    nms_threshold: float = 0.3,
) -> list[Detection]:
    """Turn the four output maps of the network into detections.

    Args:
        outputs: heatmap ``(1, 1, h, w)`` in [0, 1], log size ``(1, 2, h, w)`` as (height, width),
            offset ``(1, 2, h, w)`` as (y, x) in cells, landmarks ``(1, 10, h, w)`` as five (y, x)
            relative to the box.
        scale: frame pixels per network pixel as (x, y).
        threshold: lowest score kept.
        nms_threshold: intersection over union above which the weaker of two boxes is dropped.

    Returns:
        Detections in frame pixels, best score first.

    Raises:
        ValueError: there are not four maps with 1, 2, 2 and 10 channels.
    """
    _check_outputs(outputs)
    heat, log_size, offset, marks = (np.asarray(output[0], dtype=np.float64) for output in outputs)
    row, column = np.nonzero(heat[0] >= threshold)
    score = heat[0, row, column]
    per_axis = np.array([scale[0], scale[1]])
    cell = np.stack([column, row], axis=1)
    centre = (cell + offset[::-1, row, column].T + 0.5) * STRIDE * per_axis
    size = np.exp(log_size[::-1, row, column].T) * STRIDE * per_axis
    origin = centre - size / 2
    boxes = np.concatenate([origin, origin + size], axis=1)
    yx = marks[:, row, column].T.reshape(-1, 5, 2)
    points = yx[..., ::-1] * size[:, None] + origin[:, None]
    kept = _suppress(boxes, score, nms_threshold)
    return [_detection(boxes[i], float(score[i]), points[i]) for i in kept]


def _detection(box: FloatArray, score: float, points: FloatArray) -> Detection:
    """Convert one row of the decoded arrays to plain Python numbers."""
    x0, y0, x1, y1 = (float(value) for value in box)
    landmarks = tuple((float(x), float(y)) for x, y in points)
    return Detection((x0, y0, x1, y1), min(score, 1.0), landmarks)


def _suppress(boxes: FloatArray, score: FloatArray, threshold: float) -> list[int]:
    """Suppress overlapping boxes greedily; return the kept indices, best score first."""
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    waiting = np.argsort(-score, kind="stable")
    kept: list[int] = []
    while waiting.size:
        best, waiting = int(waiting[0]), waiting[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[waiting, :2])
        high = np.minimum(boxes[best, 2:], boxes[waiting, 2:])
        shared = np.prod(np.clip(high - low, 0.0, None), axis=1)
        waiting = waiting[shared <= threshold * (area[best] + area[waiting] - shared)]
    return kept


def _check_outputs(outputs: NetworkOutputs) -> None:
    """Raise when the maps are not those of a CenterFace network."""
    channels = [output.shape[1] if output.ndim == 4 else None for output in outputs]
    if channels != [1, 2, 2, 10]:
        raise ValueError(
            f"Expected four network outputs (1, C, h, w) with C = 1, 2, 2, 10, got C = {channels}. "
            "Is `model` a CenterFace ONNX file?"
        )
