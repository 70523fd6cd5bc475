"""Measure the warping error of whole frames, most of which is untouched background."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path

import cv2
import torch
from torch import Tensor

from dp3_lightning.metrics import warping_errors
from dp3_lightning.optical_flow import FlowEstimator
from dp3_lightning.structures import UInt8Array
from dp3_lightning.video import VideoReader

_SIDE = 320  # longest side in pixels that frames are shrunk to
_CHUNK = 32  # frames held at a time


def whole_frame_excess(
    original: Path, output: Path, cuts: Collection[int], flow: FlowEstimator
) -> float:
    """Return the warping error of a video beyond its original's, x1e-4, frames shrunk to 320 px.

    Args:
        original: the source.
        output: its anonymized copy, with as many frames.
        cuts: frames that do not continue the one before.
        flow: optical flow.

    Returns:
        Mean over pairs of frames; NaN without any.
    """
    total, pairs = 0.0, 0
    with VideoReader(original) as real, VideoReader(output) as made:
        for start in range(0, len(real) - 1, _CHUNK):
            stop = min(start + _CHUNK + 1, len(real))
            clips = [
                torch.stack([_shrunk(reader.frame(i)) for i in range(start, stop)])
                for reader in (made, real)
            ]
            valid = torch.tensor([i not in cuts for i in range(start + 1, stop)])
            everywhere = torch.ones_like(clips[1][:, :1])
            found = warping_errors(clips[0], clips[1], everywhere, flow, valid).excess
            if math.isfinite(found):
                total += found * int(valid.sum())
                pairs += int(valid.sum())
    return 1e4 * total / pairs if pairs else math.nan


def _shrunk(frame: UInt8Array) -> Tensor:
    height, width = frame.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(round(width * scale), 8), max(round(height * scale), 8))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small).permute(2, 0, 1).float() / 127.5 - 1
