"""Cut a window out of a decoded picture before its colours are converted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane

from dp3_lightning.structures import Window


def subsampling(pixel_format: VideoFormat) -> tuple[int, int] | None:
    """Luma samples per chroma sample ``(across, down)`` of planar YUV; None for other formats."""
    components = pixel_format.components
    planar = len(components) == 3 and [c.plane for c in components] == [0, 1, 2]
    if pixel_format.is_rgb or not planar or components[0].bits not in (8, 10, 12, 14, 16):
        return None
    return 16 // pixel_format.chroma_width(16), 16 // pixel_format.chroma_height(16)


def copy_window(frame: VideoFrame, window: Window) -> VideoFrame | None:
    """Copy a window of a planar YUV picture.

    The copy says nothing about where its chroma samples lie. The decoders of H.264 and HEVC say
    "left", after which FFmpeg's nearest-neighbour scaling takes the chroma of every odd column
    from its right neighbour, which is no longer the inverse of averaging on the way out.

    Args:
        frame: decoded picture.
        window: ``(x0, y0, x1, y1)`` in the picture; x0 and y0 divisible by the subsampling.

    Returns:
        A picture with the window at its top left, grown to whole chroma samples (the rest is
        undefined: a scaler would stretch half a sample), or None when it is not planar YUV.
    """
    steps = subsampling(frame.format)
    if steps is None or any(plane.line_size <= 0 for plane in frame.planes):
        return None
    x0, y0, x1, y1 = window
    width, height = (
        -(-side // step) * step for side, step in zip((x1 - x0, y1 - y0), steps, strict=True)
    )
    copy = VideoFrame(width, height, frame.format.name)
    n_bytes = 1 if frame.format.components[0].bits == 8 else 2
    for number, (source, target) in enumerate(zip(frame.planes, copy.planes, strict=True)):
        across, down = steps if number else (1, 1)
        top, left = y0 // down, x0 // across
        n_rows = min(target.height, source.height - top)
        n_columns = min(target.width, source.width - left)
        rows_of(target)[:n_rows, : n_columns * n_bytes] = rows_of(source)[
            top : top + n_rows, left * n_bytes : (left + n_columns) * n_bytes
        ]
    return copy


def rows_of(plane: VideoPlane) -> npt.NDArray[np.uint8]:
    """Bytes of a plane, ``(height, line size)`` uint8, sharing its memory; padding included."""
    rows: npt.NDArray[np.uint8] = np.frombuffer(plane, np.uint8)  # type: ignore[call-overload]
    return rows[: plane.height * plane.line_size].reshape(plane.height, plane.line_size)
