"""Fit the heads with which the synthesis network draws smaller pictures."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from dp3_lightning.generators.face_prior.mapping import MobileStyleGANMapping
from dp3_lightning.generators.face_prior.synthesis import (
    SIZES,
    ColorHead,
    MobileStyleGANSynthesis,
    haar,
)

_RIDGE = 1e-3


def sample_styles(
    n: int, seed: int, mapping: MobileStyleGANMapping, mean: Tensor, low: float = 0.6
) -> Tensor:
    """Draw styles of random people, pulled towards the mean by random shares.

    Args:
        n: how many.
        seed: of the draw.
        mapping: makes styles from random numbers.
        mean: average style ``(512,)``.
        low: least share of the way from the mean that is kept; the most is 1.

    Returns:
        ``(n, 512)``.
    """
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(n, mean.numel(), generator=random)
    share = low + (1 - low) * torch.rand(n, 1, generator=random)
    with torch.no_grad():
        styles: Tensor = mean + share * (mapping(z) - mean)
        return styles


@torch.no_grad()
def fit_heads(net: MobileStyleGANSynthesis, styles: Tensor) -> dict[int, float]:
    """Fit all small heads by ridge regression on the full-size pictures of some styles.

    A head of 1x1 convolutions is linear in its inputs, so that the best one is found at once. The
    targets are the wavelet bands of the full picture, averaged down.

    Args:
        net: its heads are overwritten.
        styles: ``(n, 512)``; the last tenth judges and does not train.

    Returns:
        Size to the share of the low band's variance that is explained on the judging styles.
    """
    n_train = len(styles) - len(styles) // 10
    sums: dict[int, list[Tensor]] = {}
    held: dict[int, list[tuple[Tensor, Tensor]]] = {size: [] for size in SIZES[:-1]}
    for number, w in enumerate(torch.split(styles, 1)):
        picture = net(w, SIZES[-1])
        for size in SIZES[:-1]:
            target = haar(F.interpolate(picture, size=(size, size), mode="area"))
            inputs = ColorHead.inputs(net.features(w, size), *net.head_scales(w, size))
            x = inputs.flatten(2)[0].T.double()
            x = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
            y = target.flatten(2)[0].T.double()
            if number >= n_train:
                held[size].append((x.float(), y.float()))
                continue
            gram, cross = sums.setdefault(
                size, [x.new_zeros(x.shape[1], x.shape[1]), x.new_zeros(x.shape[1], 12)]
            )
            gram += x.T @ x / len(x)
            cross += x.T @ y / len(x)
    quality = {}
    for size, (gram, cross) in sums.items():
        scale = gram.diagonal().sqrt() + 1e-6
        unit = gram / scale[:, None] / scale
        ridge = _RIDGE * unit.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        solution = torch.linalg.solve(unit + ridge, cross / scale[:, None]) / scale[:, None]
        head = cast(ColorHead, net.heads[str(size)])
        head.conv.weight.copy_(solution[:-1].T[:, :, None, None].float())
        if head.conv.bias is not None:
            head.conv.bias.copy_(solution[-1].float())
        quality[size] = _explained(held[size], solution.float())
    return quality


def _explained(held: list[tuple[Tensor, Tensor]], solution: Tensor) -> float:
    """Return the share of the low bands' variance that a solution explains."""
    errors = torch.cat([(x @ solution - y)[:, :3].square() for x, y in held]).mean()
    targets = torch.cat([y[:, :3] for _, y in held])
    return 1 - float(errors / targets.var(0).mean())
