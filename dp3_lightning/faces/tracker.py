"""Follow faces through consecutive frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from dp3_lightning.structures import Detection, FloatArray, Track


def pairwise_iou(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the intersection over union of ``(N, 4)`` and ``(M, 4)`` boxes as ``(N, M)``.

    >>> pairwise_iou(np.array([[0.0, 0, 2, 2]]), np.array([[0.0, 0, 2, 2], [0, 0, 2, 4]])).tolist()
    [[1.0, 0.5]]
    """
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    area_first = (first[:, 2:] - first[:, :2]).prod(axis=1)
    area_second = (second[:, 2:] - second[:, :2]).prod(axis=1)
    union = area_first[:, None] + area_second[None, :] - shared
    iou: FloatArray = shared / np.maximum(union, 1e-9)
    return iou


class _OpenTrack:
    def __init__(self, frame: int, box: FloatArray) -> None:
        self.frames, self.boxes = [frame], [box]

    def close(self) -> Track:
        """Fill the gaps by linear interpolation."""
        frames = np.array(self.frames)
        wanted = np.arange(frames[0], frames[-1] + 1)
        boxes = np.stack(self.boxes)
        filled = np.stack([np.interp(wanted, frames, boxes[:, k]) for k in range(4)], axis=1)
        return Track(start=int(frames[0]), boxes=filled, detected=np.isin(wanted, frames))


def link_detections(
    detections: Sequence[Sequence[Detection]],
    breaks: Sequence[int] = (),
    min_iou: float = 0.3,
    max_gap: int = 5,
) -> list[Track]:
    """Join the detections of consecutive frames into tracks.

    Each frame's boxes are assigned to the live tracks with the largest total overlap. A track
    survives up to ``max_gap`` frames without a detection; they are interpolated.

    Args:
        detections: one list per frame.
        breaks: indices of frames that start something new (after a cut or a lost frame); every
            track ends before them.
        min_iou: least overlap of a detection with the track's last box.
        max_gap: largest number of missing frames inside a track.

    Returns:
        Tracks in the order of their first frame.
    """
    starts = set(breaks)
    live: list[_OpenTrack] = []
    done: list[_OpenTrack] = []
    for frame, found in enumerate(detections):
        if frame in starts:
            done, live = done + live, []
        expired = [t for t in live if frame - t.frames[-1] - 1 > max_gap]
        done, live = done + expired, [t for t in live if t not in expired]
        boxes = np.array([d.box for d in found], dtype=np.float64).reshape(-1, 4)
        unused = set(range(len(boxes)))
        if live and len(boxes):
            overlap = pairwise_iou(np.stack([t.boxes[-1] for t in live]), boxes)
            for row, column in zip(*linear_sum_assignment(-overlap), strict=True):
                if overlap[row, column] >= min_iou:
                    live[row].frames.append(frame)
                    live[row].boxes.append(boxes[column])
                    unused.discard(int(column))
        live += [_OpenTrack(frame, boxes[i]) for i in sorted(unused)]
    return sorted((t.close() for t in done + live), key=lambda t: t.start)


def smooth_boxes(boxes: FloatArray, window: int = 9) -> FloatArray:
    """Smooth ``(n, 4)`` boxes without lag: a centred triangular average, shorter at the ends."""
    n = len(boxes)
    half = min(window // 2, n - 1)
    kernel = (half + 1 - np.abs(np.arange(-half, half + 1))).astype(np.float64)
    weight = np.convolve(np.ones(n), kernel, mode="full")[half : half + n]
    columns = [np.convolve(boxes[:, k], kernel, mode="full")[half : half + n] for k in range(4)]
    return np.stack(columns, axis=1) / weight[:, None]
