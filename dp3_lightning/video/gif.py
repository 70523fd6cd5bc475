"""Animated GIF: 256 colours per frame, times in hundredths of a second."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from dp3_lightning.runtime.files import replaced
from dp3_lightning.structures import UInt8Array
from dp3_lightning.video.decoding import path_for_ffmpeg
from dp3_lightning.video.reader import VideoReader

_COLORS = 256


def write_gif(path: Path, stretches: Sequence[Path], times: Sequence[Fraction]) -> Path:
    """Write lossless stretches of video as one GIF, which appears when it is complete.

    Args:
        path: target.
        stretches: video files, in order.
        times: presentation time of every frame in seconds; rounded to 0.01 s, at least one apart.
    """
    marks = [round((time - times[0]) * 100) for time in times]
    for i in range(1, len(marks)):
        marks[i] = max(marks[i], marks[i - 1] + 1)
    last = marks[-1] - marks[-2] if len(marks) > 1 else 10
    options = {"fflags": "+bitexact", "final_delay": str(last)}
    with (
        replaced(path) as partial,
        av.open(path_for_ffmpeg(partial), "w", options=options) as container,
    ):
        _write(container, _pictures(stretches), marks)
    return path


def _write(
    container: OutputContainer, pictures: Iterator[UInt8Array], marks: Sequence[int]
) -> None:
    stream: VideoStream | None = None
    count = 0
    for count, picture in enumerate(pictures, start=1):
        if count > len(marks):
            raise ValueError(f"Expected one time per picture, got {len(marks)} and more pictures.")
        if stream is None:
            stream = container.add_stream("gif", rate=100)
            stream.height, stream.width = picture.shape[:2]
            stream.pix_fmt = "pal8"
            stream.time_base = stream.codec_context.time_base = Fraction(1, 100)
        # A palette per picture. FFmpeg, unlike Pillow, keeps pictures that repeat.
        reduced = Image.fromarray(picture).quantize(_COLORS, dither=Image.Dither.FLOYDSTEINBERG)
        palette = np.zeros((_COLORS, 4), np.uint8)
        colors = np.array(reduced.getpalette("RGB"), np.uint8).reshape(-1, 3)
        palette[: len(colors), 1:] = colors
        palette[:, 0] = 255
        pair: Any = (np.asarray(reduced), palette)  # as PyAV takes it, though its types deny it
        frame = VideoFrame.from_ndarray(pair, format="pal8")
        frame.pts, frame.time_base = marks[count - 1], Fraction(1, 100)
        container.mux(stream.encode(frame))
    if stream is None or count != len(marks):
        raise ValueError(f"Expected one time per picture, got {len(marks)} for {count} pictures.")
    container.mux(stream.encode(None))


def _pictures(stretches: Sequence[Path]) -> Iterator[UInt8Array]:
    for stretch in stretches:
        with VideoReader(stretch) as reader:
            yield from reader
