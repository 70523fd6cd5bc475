"""Define the records that packages exchange, with shapes, ranges and units stated once.

Conventions used everywhere in this package:

* clips: ``(B, T, 3, H, W)`` float32 in [-1, 1], RGB; frames on disk and in detectors: uint8 RGB;
* ``keep_mask``: ``(B, T, 1, H, W)``, 1 = keep the real pixel, 0 = generate. This is DeepPrivacy2's
  polarity; many inpainting codes use the opposite;
* ``condition = keep_mask * clip``; a pixel that must be generated is 0 (mid grey) in it;
* latent ``z``: ``(B, z_dim)``, one per clip, because a person keeps one pseudonym;
* flow: ``(N, 2, H, W)`` in pixels, channel 0 = dx (right), channel 1 = dy (down);
* boxes: ``(x0, y0, x1, y1)`` float, pixels, x1/y1 exclusive;
* time: seconds, as :class:`fractions.Fraction` where it must be exact.

Keys of the batch that :class:`dp3_lightning.data.VideoClipDataModule` yields:

| key                      | shape             | meaning |
|--------------------------|-------------------|---|
| ``clip``                 | (B, T, 3, H, W)   | real frames in [-1, 1] |
| ``keep_mask``            | (B, T, 1, H, W)   | 1 keep, 0 generate |
| ``box``                  | (B, T, 4)         | hole, xyxy in pixels of the crop |
| ``frame_index``          | (B, T)            | index of each frame in its video |
| ``sample_index``         | (B,)              | index of the clip: keys randomness in training |
| ``track_key``            | (B,) int64        | hash of video and face track: keys the pseudonym |
| ``other_faces``          | (B, T, 1, H, W)   | uint8, 1 on further detected faces (real pixels) |
| ``frame_rate``           | (B,)              | frames per second of the video |
| ``landmarks``            | (B, T, 5, 2)      | eyes, nose, mouth corners, pixels of the crop |
| ``source``               | list of B strings | video file name |
| ``pair_valid``           | (B, T-1) bool     | False where frame t does not continue frame t-1 |
| ``flow_to_previous``     | (B, T-1, 2, H, W) | displacement from t to t-1, on the grid of t |
| ``flow_from_previous``   | (B, T-1, 2, H, W) | displacement from t-1 to t, on the grid of t-1 |
| ``flow_to_first``        | (B, T-1, 2, H, W) | displacement from t to 0, on the grid of t |
| ``flow_from_first``      | (B, T-1, 2, H, W) | displacement from 0 to t, on the grid of 0 |

``landmarks`` exists only when asked for. Entry ``i`` of the last five belongs to frame
``t = i + 1``. The flow keys exist only when flow was asked for; they are measured on the real
frames after crop and flip, in pixels of the crop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

UInt8Array = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float64]
Window = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, x1/y1 exclusive

# Batch keys of further generator inputs; the real clip is deliberately not among them.
EXTRA_INPUTS = ("keypoints", "embedding", "E_mask", "landmarks")


class Regenerate(Protocol):
    """Draw the clips of a step again."""

    def __call__(
        self,
        z: Tensor | None,
        frames: slice,
        clip: Tensor | None = None,
        keep_mask: Tensor | None = None,
    ) -> Tensor:
        """Return the composite of the selected frames, ``(B, t, 3, H, W)``, with gradient.

        Args:
            z: ``(B, z_dim)``; None: the latents of the step.
            frames: which frames of the clips.
            clip: ``(B, t, 3, H, W)`` in place of those frames, for example moved.
            keep_mask: ``(B, t, 1, H, W)`` in place of theirs.
        """
        ...


@dataclass(frozen=True)
class GeneratorStep:
    """Hold all that an additive loss may see; built once per generator update.

    Attributes:
        real: real frames, ``(B, T, 3, H, W)`` in [-1, 1].
        fake: composite ``keep_mask * real + (1 - keep_mask) * raw`` in float32, same shape, with
            gradient to the generator. Not clamped, so values may lie slightly outside [-1, 1].
        keep_mask: ``(B, T, 1, H, W)``, 1 keep, 0 generate.
        batch: the whole batch, see the module docstring for its keys.
        generator_step: number of generator updates made so far (0 for the first).
        z: latents of the clips, ``(B, z_dim)``; None when the module has none.
        generate: draws frames of the clips once more, see :class:`Regenerate`; None when not
            available.
        seed: seed of the run, for counter-based randomness.
    """

    real: Tensor
    fake: Tensor
    keep_mask: Tensor
    batch: Mapping[str, Any]
    generator_step: int
    z: Tensor | None = None
    generate: Regenerate | None = None
    seed: int = 0


@dataclass(frozen=True)
class Detection:
    """Describe one face detected in one frame.

    Attributes:
        box: ``(x0, y0, x1, y1)`` in pixels of the frame, float, x1/y1 exclusive; may leave it.
        score: confidence in [0, 1].
        landmarks: five ``(x, y)`` points in pixels (left eye, right eye, nose, left and right mouth
            corner as seen in the picture), or None when the detector gives none.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: tuple[tuple[float, float], ...] | None = None


class FaceDetector(Protocol):
    """Detect faces in frames.

    ``name`` goes into cache keys: two detectors that may answer differently need different names.
    """

    name: str

    def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
        """Detect faces in ``(H, W, 3)`` uint8 RGB frames; one list of detections per frame."""
        ...


@dataclass
class Track:
    """Follow one face through consecutive frames of one video.

    Attributes:
        start: index of the first frame.
        boxes: ``(n, 4)`` float64, one box per frame from ``start`` on, without gaps.
        detected: ``(n,)`` bool, False where the box was interpolated between detections.
    """

    start: int
    boxes: FloatArray
    detected: npt.NDArray[np.bool_] = field(repr=False)

    @property
    def stop(self) -> int:
        """Return the index after the last frame."""
        return self.start + len(self.boxes)
