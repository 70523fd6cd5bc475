"""Write RGB frames to a video file, all of them or none."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import chain, count
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorRange, VideoReformatter
from av.video.stream import VideoStream

from dp3_lightning.runtime.files import replaced
from dp3_lightning.structures import UInt8Array
from dp3_lightning.video.color import BT709, ColorTags, rgb_to_picture
from dp3_lightning.video.decoding import path_for_ffmpeg
from dp3_lightning.video.join import timing_options

_HARDWARE = ("_nvenc", "_qsv", "_amf", "_vaapi", "_videotoolbox", "_mf", "_v4l2m2m", "_vulkan")
_LOSSLESS_CODEC = "libx264rgb"  # fits into mp4, mov, mkv and avi
_RATE_LIMIT = 1001  # 29.97 and its like are exact multiples of 1/1001


def write_video(
    path: str | os.PathLike[str],
    frames: Iterable[UInt8Array],
    rate: Fraction | int | float,
    *,
    codec: str = "libx264",
    crf: int = 18,
    lossless: bool = False,
    pts: Iterable[int] | None = None,
    time_base: Fraction | None = None,
    tags: ColorTags = BT709,
    pix_fmt: str | None = None,
    encoder_options: Mapping[str, str] | None = None,
    pixel_aspect: Fraction = Fraction(1),
) -> Path:
    """Encode frames into a file, which appears under its name only when it is complete.

    Lossy video is 4:2:0, which every player shows, or 4:4:4 when a side is odd, because 4:2:0
    cannot hold an odd size; by default tagged BT.709, limited range. Lossless video is RGB inside
    H.264, bit-exact when read back; few browsers show it.

    Args:
        path: target; the suffix chooses the container. An existing file is replaced.
        frames: ``(H, W, 3)`` uint8 RGB, all of one size; taken one at a time.
        rate: frames per second.
        codec: FFmpeg's name of the encoder; not used when ``lossless``.
        crf: constant rate factor, 0 (best) to 51; lower is better and larger.
        lossless: keep every bit (mp4, mov, mkv, avi).
        pts: presentation times in units of ``time_base``, strictly increasing, one per frame, for
            variable frame rate; by default frames follow each other at ``rate``. MP4 and MOV keep
            them exactly, Matroska and WebM round to milliseconds.
        time_base: seconds per unit of ``pts``.
        tags: colours of lossy video.
        pix_fmt: FFmpeg's pixel format of lossy video; default as said above.
        encoder_options: further options of the encoder, by FFmpeg's names.
        pixel_aspect: width of a pixel by its height, for players; not every container keeps it.

    Returns:
        The path of the finished file.

    Raises:
        FileNotFoundError: the target folder does not exist.
        ValueError: no frames, a wrong shape, a bad rate, wrong ``pts`` or an encoder that refuses.
        TypeError: frames are not uint8.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"No folder {str(target.parent)!r} to write into. Create it first.")
    exact_rate = _exact_rate(rate)
    name = _LOSSLESS_CODEC if lossless else codec
    options = {"qp": "0"} if lossless else {"crf": str(crf)}
    options |= encoder_options or {}
    if (pts is None) != (time_base is None):
        raise ValueError("Expected `pts` and `time_base` together or not at all, got one of them.")
    stamps = count() if pts is None else iter(pts)
    images = _checked(frames)
    first = next(images, None)
    if first is None:
        raise ValueError(f"No frames to write to {str(target)!r}: pass at least one frame.")
    step = time_base or 1 / exact_rate
    try:
        with (
            replaced(target) as partial,
            _open_output(partial, timing_options(target, step)) as container,
        ):
            look = (tags, pix_fmt)
            stream = _add_stream(container, name, exact_rate, first.shape, options, look)
            stream.time_base = stream.codec_context.time_base = step
            if pixel_aspect != 1:
                stream.codec_context.sample_aspect_ratio = pixel_aspect
            _encode(container, stream, chain([first], images), stamps, pts is not None, tags)
    except av.FFmpegError as error:
        encoder_failed = str(error.filename).startswith("avcodec_open2")
        if encoder_failed and name.endswith(_HARDWARE):
            raise ValueError(
                f"Cannot write {str(target)!r}: encoder {name!r} needs a GPU and its driver, and "
                "does not start on this machine. Choose 'libx264' or 'libx265'."
            ) from error
        if isinstance(error, OSError) and not encoder_failed:
            raise  # disk full, no permission: the message says it
        raise ValueError(
            f"Cannot write {str(target)!r}: encoder {name!r} says {error.strerror!r}. Choose a "
            "suffix, encoder and size that fit together, for example .mp4 and libx264."
        ) from error
    return target


def _exact_rate(rate: Fraction | int | float) -> Fraction:
    if not math.isfinite(rate) or rate <= 0:
        raise ValueError(f"Expected a positive `rate` in frames per second, got {rate!r}.")
    return (
        Fraction(rate).limit_denominator(_RATE_LIMIT) if isinstance(rate, float) else Fraction(rate)
    )


def _checked(frames: Iterable[UInt8Array]) -> Iterator[UInt8Array]:
    """The same frames; raises at the first one that is no uint8 RGB or changes size."""
    expected: tuple[int, ...] | None = None
    for number, frame in enumerate(frames):
        image = np.asarray(frame)
        if image.dtype != np.uint8:
            raise TypeError(
                f"Expected frames of dtype uint8, got {image.dtype} at frame {number}. "
                "Scale to 0..255, round, and convert with `.astype(np.uint8)`."
            )
        if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(f"Expected frames of shape (H, W, 3), got {image.shape} at {number}.")
        if expected is not None and image.shape != expected:
            raise ValueError(
                f"Expected all frames of shape {expected} as the first, got {image.shape} at "
                f"frame {number}. Resize them to one size."
            )
        expected = image.shape
        yield image


def _open_output(path: Path, options: dict[str, str]) -> OutputContainer:
    try:
        return av.open(path_for_ffmpeg(path), "w", options=options)
    except OSError:
        raise  # no permission, disk full: the message says it
    except ValueError as error:
        raise ValueError(f"No container for the suffix {path.suffix!r}: use .mp4.") from error


def _add_stream(
    container: OutputContainer,
    codec: str,
    rate: Fraction,
    shape: tuple[int, ...],
    options: dict[str, str],
    look: tuple[ColorTags, str | None],
) -> VideoStream:
    if codec not in av.codecs_available or av.Codec(codec, "w").type != "video":
        raise ValueError(f"Expected a video encoder, got {codec!r}. Use for example 'libx264'.")
    if codec not in container.supported_codecs:
        kind = container.format.name
        raise ValueError(f"A {kind} file cannot hold {codec}: use .mp4 or another `codec`.")
    stream = cast(VideoStream, container.add_stream(codec, rate=rate, options=options))
    height, width = shape[:2]
    stream.width, stream.height = width, height
    context = stream.codec_context
    if codec == _LOSSLESS_CODEC:
        stream.pix_fmt = "rgb24"
        return stream
    tags, pix_fmt = look
    stream.pix_fmt = pix_fmt or ("yuv444p" if height % 2 or width % 2 else "yuv420p")
    context.colorspace = tags.matrix
    context.color_primaries = tags.primaries
    context.color_trc = tags.transfer
    context.color_range = ColorRange.JPEG if tags.full_range else ColorRange.MPEG
    if codec == "libvpx-vp9":
        context.bit_rate = 0  # otherwise its rate factor is only an upper bound
    return stream


def _encode(
    container: OutputContainer,
    stream: VideoStream,
    images: Iterable[UInt8Array],
    stamps: Iterator[int],
    stamps_given: bool,
    tags: ColorTags,
) -> None:
    reformatter = VideoReformatter()
    context = stream.codec_context
    pix_fmt = str(context.pix_fmt)
    last: int | None = None
    number = 0
    for number, image in enumerate(images, start=1):
        stamp = next(stamps, None)
        if stamp is None:
            raise ValueError(f"Expected one `pts` per frame, got {number - 1} and more frames.")
        if last is not None and stamp <= last:
            raise ValueError(f"Expected increasing `pts`, got {stamp} after {last}.")
        last = stamp
        picture = rgb_to_picture(reformatter, image, pix_fmt, tags)
        picture.pts, picture.time_base = stamp, context.time_base
        container.mux(stream.encode(picture))
    if stamps_given and next(stamps, None) is not None:
        raise ValueError(f"Expected one `pts` per frame, got more than the {number} frames.")
    container.mux(stream.encode(None))
