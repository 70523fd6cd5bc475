"""Paste generated crops back into a frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from dp3_lightning.faces.feather import outward_share, pixel_region
from dp3_lightning.faces.resample import Float32Array, uncut_region
from dp3_lightning.structures import UInt8Array, Window


def enlarge(crop: Tensor, window: Window) -> npt.NDArray[np.uint8]:
    """Resize a generated crop to the size of its window, as DeepPrivacy2 does.

    Args:
        crop: ``(3, h, w)`` in [-1, 1]; values outside are cut off.
        window: ``(x0, y0, x1, y1)`` in pixels of the frame.

    Returns:
        ``(y1 - y0, x1 - x0, 3)`` uint8.
    """
    size = (window[3] - window[1], window[2] - window[0])
    levels = ((crop.float() + 1) * 127.5).clamp(0, 255)[None]
    if levels.shape[-2:] != size:
        levels = F.interpolate(levels, size, mode="bicubic", align_corners=False, antialias=True)
    picture: npt.NDArray[np.uint8] = (
        levels[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    )
    return picture


def paste_hole(frame: UInt8Array, crop: Tensor, keep_mask: Tensor, window: Window) -> None:
    """Overwrite the hole of a crop in a frame: hard edge, no blending, as DeepPrivacy2 does.

    Args:
        frame: ``(H, W, 3)`` uint8 RGB, changed in place.
        crop: generated crop ``(3, h, w)`` in [-1, 1].
        keep_mask: ``(1, h, w)``, 1 = keep, 0 = generated.
        window: where the crop was cut; may leave the frame.
    """
    size = (window[3] - window[1], window[2] - window[0])
    picture = enlarge(crop, window)
    hole = F.interpolate(keep_mask[None].float(), size, mode="nearest")[0, 0].cpu().numpy() <= 0.5
    height, width = frame.shape[:2]
    x0, y0, x1, y1 = window
    left, top, right, bottom = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    if left >= right or top >= bottom:
        return
    inside = (slice(top - y0, bottom - y0), slice(left - x0, right - x0))
    part = frame[top:bottom, left:right]
    part[hole[inside]] = picture[inside][hole[inside]]


def blend_outwards(
    frame: UInt8Array,
    crop: Float32Array,
    window: Sequence[float],
    box: Sequence[float],
    band: float,
) -> None:
    """Overwrite a face box in a frame by a generated crop, and blend in the band around it.

    Every pixel that the box touches comes from the crop alone; the share of the frame grows from
    0 at the box to 1 at the outer edge of the band, never inwards, so that no pixel of the face is
    left behind.

    Args:
        frame: ``(H, W, 3)`` uint8 RGB, changed in place, in one step at the end.
        crop: generated crop ``(h, w, 3)`` float32, 0 to 255.
        window: ``(x0, y0, x1, y1)`` float: where the crop lies in the frame.
        box: ``(x0, y0, x1, y1)`` float: what must be covered.
        band: width of the band in pixels, at least 0.
    """
    region = pixel_region(box, frame.shape[:2], band)
    if region is None:
        return
    x0, y0, x1, y1 = region
    drawn = uncut_region(crop, window, region)
    share = outward_share(region, box, band)
    part = frame[y0:y1, x0:x1]
    mixed = share * drawn + (1 - share) * part
    part[:] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
