"""DeepPrivacy2's way of anonymizing one picture, step by step: the baseline to compare with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dp3_lightning.faces.composite import paste_hole
from dp3_lightning.faces.crop import ExpansionRule, box_in_crop, crop_frame, expand_box, hole_mask
from dp3_lightning.generators import StyleGANUnetAdapter
from dp3_lightning.structures import UInt8Array


def latent_of(z_index: int, z_dim: int) -> Tensor:
    """Return DeepPrivacy2's latent of an index, ``(1, z_dim)`` float32."""
    drawn = np.random.RandomState(z_index).normal(size=(1, z_dim))
    return torch.from_numpy(drawn.astype(np.float32))


@torch.no_grad()
def anonymize_frame(
    frame: UInt8Array,
    boxes: Sequence[Sequence[float]],
    generator: StyleGANUnetAdapter,
    z_indices: Sequence[int],
    truncation: float = 0.0,
    rule: ExpansionRule = "fdf256",
) -> UInt8Array:
    """Anonymize the faces of one picture one after another, the smallest first.

    Each crop is cut from what has been anonymized so far, the hole is the box rounded to whole
    pixels, and the result is pasted with a hard edge.

    Args:
        frame: ``(H, W, 3)`` uint8 RGB; unchanged.
        boxes: ``(x0, y0, x1, y1)`` in pixels.
        generator: native generator.
        z_indices: one index per box, in the order of area.
        truncation: 0 gives everybody the mean face, 1 the face of the latent.
        rule: how a box grows to the crop.

    Returns:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        ValueError: boxes and indices differ in number.
    """
    if len(boxes) != len(z_indices):
        raise ValueError(f"Expected one z index per box, got {len(z_indices)} for {len(boxes)}.")
    result = frame.copy()
    rounded = [[round(float(v)) for v in box] for box in boxes]
    by_area = sorted(rounded, key=lambda b: (b[2] - b[0]) * (b[3] - b[1]))
    size = generator.image_size
    for box, z_index in zip(by_area, z_indices, strict=True):
        window = expand_box(box, frame.shape[:2], rule)
        crop = torch.from_numpy(crop_frame(result, window, size)).permute(2, 0, 1)[None]
        mask = torch.from_numpy(hole_mask(box_in_crop(box, window, size).tolist(), size))[
            None, None
        ]
        condition = (crop.float() - 127.5) / 127.5 * mask
        w = generator.net.style_net.get_truncated(truncation, z=latent_of(z_index, generator.z_dim))
        raw = generator(condition[None], mask[None], w=w)[0, 0]
        pasted = mask[0] * condition[0] + (1 - mask[0]) * raw
        paste_hole(result, pasted, mask[0], window)
    return result
