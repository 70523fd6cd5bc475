"""Picture files in and out: upright, sRGB, nothing transparent, one picture a file."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps

from dp3_lightning.runtime.files import replaced
from dp3_lightning.structures import UInt8Array
from dp3_lightning.video.color import filled

_QUALITY = {
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".webp": [cv2.IMWRITE_WEBP_QUALITY, 95],
}
_THUMBNAIL = 1  # bit of TIFF's NewSubfileType
_GREY, _INK = ("1", "L", "LA", "La", "I", "I;16", "F"), ("CMYK", "LAB")


def read_picture(
    path: Path, deep_color: str = "convert", notes: list[str] | None = None
) -> UInt8Array:
    """Read a picture upright, in sRGB, over white where it is transparent.

    Args:
        path: the file.
        deep_color: what to do with more than 8 bits per colour: ``refuse`` or ``convert``.
        notes: takes in what was changed, in plain words.

    Returns:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        ValueError: it cannot be read, holds several pictures, or its colours are refused.
    """
    remarks = [] if notes is None else notes
    data = path.read_bytes()
    picture = _decoded(path, data, deep_color)  # by content: OpenCV dislikes some names
    with _opened(path, data) as opened:
        if opened is None:
            if picture is None:
                raise ValueError(f"Cannot read {str(path)!r} as a picture: it is damaged, or none.")
            return picture
        try:
            _refuse_several(path, opened)
            alpha = _alpha(opened)
            if picture is None or alpha is not None or opened.mode in _INK:
                picture = _by_pillow(path, opened)
        except OSError as error:
            raise ValueError(f"Cannot read {str(path)!r} as a picture: {error}.") from error
        picture = _in_srgb(picture, opened, remarks)
    if alpha is not None and alpha.min() < 255:
        remarks.append("what is transparent is filled with white: the output has no alpha")
        picture = filled(picture, alpha)
    return np.ascontiguousarray(picture)


def _decoded(path: Path, data: bytes, deep_color: str) -> UInt8Array | None:
    """Decode by OpenCV, which turns pictures upright; None where it cannot."""
    encoded = np.frombuffer(data, np.uint8)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    picture = cv2.imdecode(encoded, flags) if len(encoded) else None
    if picture is not None and picture.dtype != np.uint8:
        if deep_color == "refuse":
            raise ValueError(
                f"{str(path)!r} has more than 8 bits per colour, of which 8 would be left: allow "
                "it with `--deep_color convert`."
            )
        picture = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    return None if picture is None else picture[..., ::-1].astype(np.uint8)


@contextmanager
def _opened(path: Path, data: bytes) -> Iterator[Any]:
    """Open by Pillow, which tells more; yields None where it cannot."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # OpenCV has a limit of its own
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata
            try:
                opened = Image.open(io.BytesIO(data))
            except (OSError, ValueError, SyntaxError):
                opened = None
            yield opened
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _refuse_several(path: Path, opened: Any) -> None:
    count = getattr(opened, "n_frames", 1)
    if opened.format == "MPO" or count < 2:  # other views of the same picture are left out
        return
    if opened.format == "TIFF":
        count = 0
        for number in range(opened.n_frames):
            opened.seek(number)
            count += not int(opened.tag_v2.get(254, 0)) & _THUMBNAIL
        opened.seek(0)
    if count > 1:
        raise ValueError(
            f"{str(path)!r} holds {count} pictures, of which only the first would be left: convert "
            "an animation to .gif or .mp4, or save pages as one file each."
        )


def _alpha(opened: Any) -> UInt8Array | None:
    """Transparency ``(H, W)`` uint8, upright; None: the picture has none."""
    if not opened.has_transparency_data:
        return None
    upright = ImageOps.exif_transpose(opened)
    return np.asarray(upright.convert("RGBA").getchannel("A"))


def _by_pillow(path: Path, opened: Any) -> UInt8Array:
    """Colours as they are in the file, without its profile; inks only through it."""
    upright = ImageOps.exif_transpose(opened)
    if upright.mode in _INK:
        return np.asarray(upright)
    if upright.mode in ("I;16", "I", "F"):
        raise ValueError(f"{str(path)!r} has {upright.mode} values: convert it to 8 bits.")
    keeps = upright.mode == "P" or upright.mode.endswith(("A", "a"))
    return np.asarray(upright.convert("RGBA" if keeps else "RGB"))[..., :3]


def _in_srgb(picture: UInt8Array, opened: Any, notes: list[str]) -> UInt8Array:
    """Convert colours to sRGB by the profile in the file."""
    is_ink = opened.mode in _INK
    plain = Image.fromarray(picture, mode=opened.mode) if is_ink else Image.fromarray(picture)
    embedded = opened.info.get("icc_profile")
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(embedded)) if embedded else None
        if profile is None or (not is_ink and _is_srgb(profile)):
            return np.asarray(plain.convert("RGB")) if is_ink else picture
        if opened.mode in _GREY and profile.profile.xcolor_space.strip() == "GRAY":
            plain = plain.getchannel(0)
        converted = ImageCms.profileToProfile(
            plain,
            profile,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        notes.append("the colour profile in the file cannot be used: colours are taken for sRGB")
        return np.asarray(plain.convert("RGB"))
    return np.asarray(converted)


def _is_srgb(profile: ImageCms.ImageCmsProfile) -> bool:
    return "srgb" in ImageCms.getProfileDescription(profile).lower()


def write_picture(path: Path, picture: UInt8Array) -> None:
    """Write a picture, all of it or nothing, with no metadata.

    Raises:
        ValueError: the suffix is no picture's.
    """
    suffix = path.suffix.lower()
    try:
        whole, data = cv2.imencode(suffix, picture[..., ::-1], _QUALITY.get(suffix, []))
    except cv2.error:
        whole = False
    if not whole:
        raise ValueError(f"Cannot write a picture as {path.suffix!r}: use .png or .jpg.")
    with replaced(path) as partial:
        partial.write_bytes(data.tobytes())
