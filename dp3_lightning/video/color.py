"""Between decoded pictures and RGB arrays: colour matrix, value range, bit depth.

The conversions are chosen so that 4:2:0 video survives the way to RGB and back: chroma is repeated
when read and averaged when written, which are exact opposites. FFmpeg's faster default is up to
3 levels off and 0.7 levels too dark on average.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from dp3_lightning.structures import UInt8Array

# Only flags that FFmpeg defines; PyAV takes their sum.
_READ = int(Interpolation.POINT | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND)
_WRITE = int(Interpolation.AREA | Interpolation.ACCURATE_RND)

_HD_HEIGHT = 720  # untagged video: players assume BT.709 from here on and BT.601 below
_MATRICES = {  # number in the stream (ITU-T H.273) -> swscale's number
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}


def matrix_of(frame: VideoFrame) -> Colorspace:
    """Colour matrix of a decoded frame: its tag, else BT.709 for HD sizes and BT.601 below."""
    untagged = Colorspace.ITU709 if frame.height >= _HD_HEIGHT else Colorspace.ITU601
    return _MATRICES.get(int(frame.colorspace), untagged)


def picture_to_rgb(
    reformatter: VideoReformatter, frame: VideoFrame, size: tuple[int, int], rotation: int
) -> UInt8Array:
    """Convert a decoded frame to RGB.

    High dynamic range (PQ, HLG) is not tone-mapped: code values are taken as they are.

    Args:
        reformatter: kept by the caller, so that its tables are built once.
        frame: decoded frame, any pixel format and bit depth.
        size: ``(height, width)`` before rotation; a frame of another size is scaled to it.
        rotation: counter-clockwise rotation in degrees, a multiple of 90.

    Returns:
        ``(H, W, 3)`` uint8 RGB, contiguous, owned by the caller.
    """
    full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
    rgb = reformatter.reformat(
        frame,
        width=size[1],
        height=size[0],
        format="rgb24",
        src_colorspace=matrix_of(frame),
        src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=_READ,
        threads=1,
    ).to_ndarray()
    return np.ascontiguousarray(np.rot90(cast(UInt8Array, rgb), rotation // 90))


def rgb_to_picture(reformatter: VideoReformatter, image: UInt8Array, pix_fmt: str) -> VideoFrame:
    """Convert an RGB image to a frame for an encoder; YUV formats become BT.709, limited range.

    Args:
        reformatter: kept by the caller.
        image: ``(H, W, 3)`` uint8 RGB.
        pix_fmt: FFmpeg's name of the encoder's pixel format.
    """
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    if pix_fmt == "rgb24":
        return frame
    return reformatter.reformat(
        frame,
        format=pix_fmt,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=_WRITE,
        threads=1,
    )
