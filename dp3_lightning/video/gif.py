"""Animated GIF: 256 colours per frame, times in hundredths of a second."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from dp3_lightning.video.reader import VideoReader

_COLORS = 256


def write_gif(path: Path, stretches: Sequence[Path], times: Sequence[Fraction]) -> Path:
    """Write lossless stretches of video as one GIF, which appears when it is complete.

    Args:
        path: target.
        stretches: video files, in order.
        times: presentation time of every frame in seconds; rounded to 0.01 s, at least one apart.
    """
    marks = [round(time * 100) for time in times]
    last = max(1, marks[-1] - marks[-2]) if len(marks) > 1 else 10
    lengths = [max(1, b - a) * 10 for a, b in pairwise(marks)] + [last * 10]
    pictures = _pictures(stretches)
    partial = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.partial.gif")
    try:
        first = next(pictures)
        first.save(
            partial, save_all=True, append_images=pictures, duration=lengths, loop=0,
            disposal=1, optimize=False,
        )  # fmt: skip
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _pictures(stretches: Sequence[Path]) -> Iterator[Image.Image]:
    for stretch in stretches:
        with VideoReader(stretch) as reader:
            for frame in reader:
                picture = Image.fromarray(np.ascontiguousarray(frame))
                yield picture.quantize(_COLORS, dither=Image.Dither.FLOYDSTEINBERG)
