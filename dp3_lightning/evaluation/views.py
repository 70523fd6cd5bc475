"""A camera that follows one face: what figures about faces are measured in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dp3_lightning.anonymize.plan import Plan
from dp3_lightning.faces.resample import cut_window
from dp3_lightning.faces.tracker import smooth_boxes
from dp3_lightning.structures import FloatArray, UInt8Array

VIEW = 160  # pixels of the square view
_AROUND = 1.4  # of the longer side of the box
_LEAST_FRAMES = 8


@dataclass(frozen=True)
class FaceView:
    """What is seen of one face; the window moves smoothly, so that its tremble is not measured.

    Attributes:
        person: label in the plan.
        first: index of the first frame.
        windows: per frame what is shown, ``(n, 4)`` in pixels of the frame.
        boxes: per frame the face in pixels of the view, ``(n, 4)``.
        pair_valid: ``(n - 1,)`` bool, False across cuts.
    """

    person: str
    first: int
    windows: FloatArray
    boxes: FloatArray
    pair_valid: Tensor

    def __len__(self) -> int:
        return len(self.boxes)

    def picture(self, frame: UInt8Array, index: int) -> Tensor:
        """Cut the view out of frame ``first + index``: ``(3, VIEW, VIEW)`` in [-1, 1]."""
        levels = cut_window(frame, self.windows[index].tolist(), (VIEW, VIEW))
        return torch.from_numpy(np.clip(levels, 0, 255) / np.float32(127.5) - 1).permute(2, 0, 1)

    def clip(self, frames: Sequence[UInt8Array]) -> Tensor:
        """Cut the view out of all frames of a video: ``(n, 3, VIEW, VIEW)`` in [-1, 1]."""
        found = [self.picture(frames[self.first + i], i) for i in range(len(self))]
        return torch.stack(found)

    def region(self, inset: float = 0.0) -> Tensor:
        """Where the face is, ``(n, 1, VIEW, VIEW)``.

        Args:
            inset: share of the box to leave out on every side; negative adds.
        """
        region = torch.zeros(len(self), 1, VIEW, VIEW)
        for mask, (x0, y0, x1, y1) in zip(region, self.boxes, strict=True):
            by_x, by_y = inset * (x1 - x0), inset * (y1 - y0)
            rows = slice(max(round(y0 + by_y), 0), max(round(y1 - by_y), 0))
            mask[0, rows, max(round(x0 + by_x), 0) : max(round(x1 - by_x), 0)] = 1
        return region


def face_views(plan: Plan, n_frames: int) -> list[FaceView]:
    """One view per track of at least eight frames.

    Args:
        plan: who is where.
        n_frames: frames to look at, from the first on.
    """
    views = []
    cuts = set(plan.cuts)
    for track in plan.tracks:
        length = min(track.stop, n_frames) - track.start
        if length < _LEAST_FRAMES:
            continue
        boxes = smooth_boxes(np.array(track.boxes[:length], dtype=np.float64), 9)
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        half = _AROUND / 2 * (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True)
        windows = np.concatenate([centers - half, centers + half], axis=1)
        corner = np.concatenate([windows[:, :2], windows[:, :2]], axis=1)
        steps = range(track.start + 1, track.start + length)
        pair_valid = torch.tensor([i not in cuts for i in steps], dtype=torch.bool)
        scaled = (boxes - corner) * VIEW / (2 * half)
        views.append(FaceView(track.person, track.start, windows, scaled, pair_valid))
    return views
