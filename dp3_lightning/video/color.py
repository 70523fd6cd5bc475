"""Between decoded pictures and RGB arrays: colour matrix, value range, bit depth.

The conversions are chosen so that 4:2:0 video survives the way to RGB and back: chroma is repeated
when read and averaged when written, which are exact opposites. FFmpeg's faster default is up to
3 levels off and 0.7 levels too dark on average. It costs several times as much per pixel, so a
caller who needs a part of the picture should ask for that part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    Interpolation,
    VideoReformatter,
)

from dp3_lightning.structures import UInt8Array, Window
from dp3_lightning.video.planes import copy_window, rows_of

# Only flags that FFmpeg defines; PyAV takes their sum.
_READ = int(Interpolation.POINT | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND)
_WRITE = int(Interpolation.AREA | Interpolation.ACCURATE_RND)

_ALIGN = 8  # windows start at multiples: above any chroma subsampling
_HD_HEIGHT = 720  # untagged video: players assume BT.709 from here on and BT.601 below
_MATRICES: dict[int, Colorspace] = {  # number in the stream (ITU-T H.273) -> swscale's number
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}


@dataclass(frozen=True)
class ColorTags:
    """What a stream says about its colours, as numbers of ITU-T H.273; 2 is "not said".

    Attributes:
        matrix: from YUV to RGB.
        primaries: colours of the primaries.
        transfer: from code values to light.
        full_range: luma from 0 to 255 instead of 16 to 235.
    """

    matrix: int = int(Colorspace.ITU709)
    primaries: int = int(ColorPrimaries.BT709)
    transfer: int = int(ColorTrc.BT709)
    full_range: bool = False

    @property
    def high_dynamic_range(self) -> bool:
        """Whether code values are PQ or HLG."""
        return self.transfer in (16, 18)

    def for_yuv(self) -> ColorTags:
        """The same where we can write YUV by it, else (RGB, rare matrices) BT.709."""
        return self if self.matrix in _MATRICES or self.matrix == 2 else ColorTags()


BT709 = ColorTags()


def matrix_of(tag: int, height: int) -> Colorspace:
    """Colour matrix by its tag, else BT.709 for HD sizes and BT.601 below."""
    untagged = Colorspace.ITU709 if height >= _HD_HEIGHT else Colorspace.ITU601
    return _MATRICES.get(tag, untagged)


def tags_of(frame: VideoFrame) -> ColorTags:
    """What a decoded frame says about its colours."""
    full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
    return ColorTags(int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc), full)


def picture_to_rgb(
    reformatter: VideoReformatter,
    frame: VideoFrame,
    size: tuple[int, int],
    rotation: int = 0,
    window: Window | None = None,
) -> UInt8Array:
    """Convert a decoded frame, or a window of it, to RGB.

    High dynamic range (PQ, HLG) is not tone-mapped: code values are taken as they are.

    Args:
        reformatter: kept by the caller, so that its tables are built once.
        frame: decoded frame, any pixel format and bit depth.
        size: ``(height, width)`` before rotation; a frame of another size is scaled to it.
        rotation: counter-clockwise rotation in degrees, a multiple of 90.
        window: ``(x0, y0, x1, y1)`` in the rotated picture, inside it; default: all of it.

    Returns:
        ``(H, W, 3)`` uint8 RGB, contiguous, owned by the caller; what is transparent is filled.
    """
    coded = (0, 0, size[1], size[0]) if window is None else _unrotated(window, size, rotation)
    if (frame.height, frame.width) != size:
        frame, (left, top) = _convert(reformatter, frame, frame, size), (0, 0)
    else:
        left, top = coded[0] // _ALIGN * _ALIGN, coded[1] // _ALIGN * _ALIGN
        part = copy_window(frame, (left, top, coded[2], coded[3]))
        if part is None:
            part, left, top = frame, 0, 0
        frame = _convert(reformatter, part, frame, (part.height, part.width))
    green, blue, red, *alpha = (
        rows_of(plane)[coded[1] - top : coded[3] - top, coded[0] - left : coded[2] - left]
        for plane in frame.planes
    )
    rgb = cast(UInt8Array, cv2.merge([red, green, blue]))
    if alpha:
        rgb = filled(rgb, alpha[0])
    return np.ascontiguousarray(np.rot90(rgb, rotation // 90))


def is_transparent(pixel_format: VideoFormat) -> bool:
    """Whether a pixel format can say that pixels are not to be seen."""
    return pixel_format.has_palette or any(c.is_alpha for c in pixel_format.components)


def is_rgb(pixel_format: VideoFormat) -> bool:
    """Whether every pixel has a colour of its own: RGB or a palette."""
    return pixel_format.is_rgb or pixel_format.has_palette


def filled(rgb: UInt8Array, alpha: UInt8Array) -> UInt8Array:
    """Lay a picture over white by its transparency.

    What somebody has made invisible must not be seen because the transparency is lost.

    Args:
        rgb: ``(H, W, 3)`` uint8 RGB.
        alpha: ``(H, W)`` uint8; 0 shows nothing of the picture, 255 all of it.
    """
    if alpha.min() == 255:
        return rgb
    share = alpha[..., None].astype(np.uint16)
    mixed = (rgb * share + 255 * (255 - share) + 127) // 255
    return mixed.astype(np.uint8)


def _unrotated(window: Window, size: tuple[int, int], rotation: int) -> Window:
    """Return a window of the rotated picture in coordinates of the coded one."""
    x0, y0, x1, y1 = window
    height, width = size
    match rotation % 360:
        case 90:
            return width - y1, x0, width - y0, x1
        case 180:
            return width - x1, height - y1, width - x0, height - y0
        case 270:
            return y0, height - x1, y1, height - x0
    return window


def _convert(
    reformatter: VideoReformatter, picture: VideoFrame, tags: VideoFrame, size: tuple[int, int]
) -> VideoFrame:
    """Convert a picture to planar RGB of ``size`` by the tags of the frame it is from.

    FFmpeg writes planes twice as fast as packed pixels, with the same values.
    """
    full = tags_of(tags).full_range
    kind = "gbrap" if is_transparent(picture.format) else "gbrp"
    return reformatter.reformat(
        picture,
        width=size[1],
        height=size[0],
        format=kind,
        src_colorspace=matrix_of(int(tags.colorspace), tags.height),
        src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=_READ,
        threads=1,
    )


def rgb_to_picture(
    reformatter: VideoReformatter, image: UInt8Array, pix_fmt: str, tags: ColorTags = BT709
) -> VideoFrame:
    """Convert an RGB image to a frame for an encoder.

    Args:
        reformatter: kept by the caller.
        image: ``(H, W, 3)`` uint8 RGB.
        pix_fmt: FFmpeg's name of the encoder's pixel format.
        tags: how YUV is to be made; the reverse of :func:`picture_to_rgb` for equal tags.
    """
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    if pix_fmt == "rgb24":
        return frame
    return reformatter.reformat(
        frame,
        format=pix_fmt,
        dst_colorspace=matrix_of(tags.matrix, len(image)),
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.JPEG if tags.full_range else ColorRange.MPEG,
        interpolation=_WRITE,
        threads=1,
    )
