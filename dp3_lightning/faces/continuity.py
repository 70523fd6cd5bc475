"""Whether a frame continues the one before: cuts, and sudden changes of a part of the picture.

A part that changes at once, in a picture that is coded by its difference to others, is a sign of
damage that the decoder did not notice: VP8, VP9 and HEVC have no other.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dp3_lightning.structures import FloatArray, UInt8Array

# Mean change of hue, saturation and value (levels of 0..255) from frame to frame that counts as a
# cut: the score and the default threshold of PySceneDetect's ContentDetector. That package needs
# the opencv-python wheel, which overwrites our headless one, so the few lines stand here.
CUT_THRESHOLD = 27.0
_WIDTH = 128  # of the small pictures that are compared
_CELL = 8  # pixels of a small picture
# A jump: this change in levels, this many times the change before, in so many cells. In 800 frames
# of sample clips there are two; 60 damaged bytes make one in most VP9 and in half of HEVC videos.
_JUMP, _TIMES_BEFORE, _LEAST_BEFORE, _CELLS = 20.0, 4.0, 4.0, 2


@dataclass
class Look:
    """One frame, as far as comparing it with the next needs it.

    Attributes:
        index: of the frame.
        small: the frame, 128 pixels wide.
        shape: of the frame.
        changes: mean change per cell from the frame before, levels; None: not known.
    """

    index: int
    small: UInt8Array
    shape: tuple[int, ...]
    changes: FloatArray | None = None

    @classmethod
    def at(cls, index: int, frame: UInt8Array) -> Look:
        """Look at a frame ``(H, W, 3)`` uint8 RGB."""
        height = max(1, round(frame.shape[0] * _WIDTH / frame.shape[1]))
        small = cv2.resize(frame, (_WIDTH, height), interpolation=cv2.INTER_AREA)
        return cls(index, small, frame.shape)

    def follows(self, before: Look | None) -> bool:
        """Whether this frame stands right behind the other and has its size; compares them."""
        if before is None or (before.index, before.shape) != (self.index - 1, self.shape):
            return False
        change = cv2.absdiff(self.small, before.small).mean(axis=2, dtype=np.float32)
        height, width = change.shape
        size = (max(1, width // _CELL), max(1, height // _CELL))
        self.changes = cv2.resize(change, size, interpolation=cv2.INTER_AREA)
        return True

    def jump_since(self, before: Look) -> tuple[float, float, float, float] | None:
        """Return the part that changed at once, ``(x0, y0, x1, y1)`` in pixels, or None."""
        if self.changes is None or before.changes is None:
            return None
        usual = cv2.dilate(before.changes, np.ones((3, 3), np.uint8))
        usual = np.maximum(usual, _LEAST_BEFORE)
        rows, columns = np.nonzero((self.changes > _JUMP) & (self.changes > _TIMES_BEFORE * usual))
        if len(rows) < _CELLS:
            return None
        down, across = (side / n for side, n in zip(self.shape, self.changes.shape, strict=False))
        return (
            float(columns.min() * across),
            float(rows.min() * down),
            float((columns.max() + 1) * across),
            float((rows.max() + 1) * down),
        )


def content_change(frame: UInt8Array, before: UInt8Array) -> float:
    """Return the mean absolute difference in hue, saturation and value of two small RGB frames."""
    hsv = [cv2.cvtColor(f, cv2.COLOR_RGB2HSV).astype(np.int16) for f in (frame, before)]
    return float(np.abs(hsv[0] - hsv[1]).mean())
