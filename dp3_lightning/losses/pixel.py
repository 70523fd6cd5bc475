"""Compare generated with real frames by pixels, restricted so that identity does not return."""

from __future__ import annotations

import math
from typing import Literal, cast

import kornia
import torch
from torch import Tensor

from dp3_lightning.regions import hole_side, inner_ring, interior, masked_mean

PixelMode = Literal["ring+low", "ring", "full"]
PixelPenalty = Literal["mse", "mae"]

LOW_PASS_FRACTION = 1 / 8


def low_pass(difference: Tensor, keep_mask: Tensor, fraction: float = LOW_PASS_FRACTION) -> Tensor:
    """Blur ``(B, T, C, H, W)`` by a Gaussian whose sigma is ``fraction`` of the hole's side.

    The deviation is that of the largest hole of the clip, so that it does not change within a clip.
    """
    n_frames = difference.shape[1]
    sides = hole_side(keep_mask).flatten(1).amax(dim=1)
    sigma = (sides * fraction).clamp_min(0.5)
    # Wide enough for a hole of the whole frame: a kernel cut to this batch's largest hole would
    # make a clip's loss depend on its neighbours, and so on the number of processes.
    radius = math.ceil(3 * fraction * max(difference.shape[-2:]))
    per_frame = sigma.repeat_interleave(n_frames).unsqueeze(1).expand(-1, 2)
    blurred = kornia.filters.gaussian_blur2d(
        difference.flatten(0, 1), 2 * radius + 1, per_frame, border_type="constant"
    )
    return cast(Tensor, blurred.view_as(difference))


def _penalty(difference: Tensor, loss: PixelPenalty) -> Tensor:
    return difference.square() if loss == "mse" else difference.abs()


def pixel_loss(
    fake: Tensor,
    real: Tensor,
    keep_mask: Tensor,
    loss: PixelPenalty = "mse",
    mode: PixelMode = "ring+low",
    low_weight: float = 1.0,
) -> Tensor:
    """Return the pixel loss inside the hole (outside it generated and real frames are equal).

    >>> fake, real = torch.full((1, 1, 3, 8, 8), 0.5), torch.zeros(1, 1, 3, 8, 8)
    >>> pixel_loss(fake, real, torch.zeros(1, 1, 1, 8, 8), "mse", "full").item()
    0.25

    Args:
        fake: composites ``(B, T, C, H, W)``.
        real: real frames, same shape.
        keep_mask: ``(B, T, 1, H, W)``, 1 = keep.
        loss: ``mse`` (squared) or ``mae`` (absolute) difference.
        mode: ``full`` averages over the hole, the paper's literal term: its interior pulls towards
            the real person's face. ``ring`` averages over the inner ring only, which shows
            background and hair. ``ring+low`` adds the low-passed difference over the interior:
            skin tone and lighting, at a resolution of about 8 x 8.
        low_weight: weight of the low-passed part in ``ring+low``.

    Returns:
        Scalar: mean over clips of the mean over the region's values; 0 for clips without a hole.
    """
    difference = fake - real
    if mode == "full":
        return masked_mean(_penalty(difference, loss), 1 - keep_mask).mean()
    ring = masked_mean(_penalty(difference, loss), inner_ring(keep_mask)).mean()
    if mode == "ring":
        return ring
    low = low_pass(difference, keep_mask)
    inside = masked_mean(_penalty(low, loss), interior(keep_mask)).mean()
    return ring + low_weight * inside


def ring_error(fake: Tensor, real: Tensor, keep_mask: Tensor) -> Tensor:
    """Return the mean absolute error over the inner ring, ``(B,)`` in [0, 2]; a metric.

    >>> fake, real = torch.full((1, 1, 3, 8, 8), 0.5), torch.zeros(1, 1, 3, 8, 8)
    >>> keep = torch.ones(1, 1, 1, 8, 8)
    >>> keep[..., 2:6, 2:6] = 0
    >>> ring_error(fake, real, keep).tolist()
    [0.5]
    """
    with torch.no_grad():
        return masked_mean((fake - real).abs(), inner_ring(keep_mask))
