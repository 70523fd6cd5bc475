"""Follow one face with a smooth window, in which its figures are measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dp3_lightning.anonymize.planning.plan import Plan
from dp3_lightning.faces.resample import cut_window
from dp3_lightning.faces.tracker import smooth_boxes
from dp3_lightning.structures import FloatArray, UInt8Array

VIEW = 160  # pixels of the square view
_AROUND = 1.4  # of the longer side of the box
_LEAST_FRAMES = 8
_BORDER = 2  # pixels at the frame's border that interpolation and differences reach


@dataclass(frozen=True)
class FaceView:
    """View one face in a window that moves smoothly, so that jitter is not measured.

    Attributes:
        person: label in the plan.
        first: index of the first frame.
        windows: per frame what is shown, ``(n, 4)`` in pixels of the frame.
        boxes: per frame the face in pixels of the view, ``(n, 4)``.
        pair_valid: ``(n - 1,)`` bool, False across cuts.
        frame_size: ``(height, width)`` of the video, pixels.
    """

    person: str
    first: int
    windows: FloatArray
    boxes: FloatArray
    pair_valid: Tensor
    frame_size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.boxes)

    def picture(self, frame: UInt8Array, index: int) -> Tensor:
        """Cut the view out of frame ``first + index``: ``(3, VIEW, VIEW)`` in [-1, 1]."""
        levels = cut_window(frame, self.windows[index].tolist(), (VIEW, VIEW))
        return torch.from_numpy(np.clip(levels, 0, 255) / np.float32(127.5) - 1).permute(2, 0, 1)

    def region(self, inset: float = 0.0) -> Tensor:
        """Mark the face where the frame shows it, ``(n, 1, VIEW, VIEW)``.

        Outside the frame a view is black in output and original alike; that must not count.

        Args:
            inset: share of the box to leave out on every side; negative adds.
        """
        region = torch.zeros(len(self), 1, VIEW, VIEW)
        grown = self.boxes + inset * np.concatenate([self._sides(), -self._sides()], axis=1)
        low = np.maximum(grown[:, :2].round(), self._frame[:, :2]).astype(int)
        high = np.minimum(grown[:, 2:].round(), self._frame[:, 2:]).astype(int)
        for mask, (x0, y0), (x1, y1) in zip(region, low, high, strict=True):
            mask[0, y0 : max(y1, y0), x0 : max(x1, x0)] = 1
        return region

    def _sides(self) -> FloatArray:
        sides: FloatArray = self.boxes[:, 2:] - self.boxes[:, :2]
        return sides

    @property
    def _frame(self) -> FloatArray:
        """Return the frame in pixels of the views, ``(n, 4)``, without its mixed border pixels."""
        scale = VIEW / (self.windows[:, 2:] - self.windows[:, :2])
        size = np.array(self.frame_size[::-1], dtype=np.float64)
        low, high = -self.windows[:, :2] * scale, (size - self.windows[:, :2]) * scale
        low = np.where(low > 0, np.ceil(low) + _BORDER, 0)
        high = np.where(high < VIEW, np.floor(high) - _BORDER, VIEW)
        return np.concatenate([low, high], axis=1).clip(0, VIEW)


def face_views(plan: Plan, n_frames: int) -> list[FaceView]:
    """Return one view per track of at least eight frames.

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
        views.append(FaceView(track.person, track.start, windows, scaled, pair_valid, plan.size))
    return views
