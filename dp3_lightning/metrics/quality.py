"""Picture quality without a reference face: sharpness, and distance between sets of pictures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from dp3_lightning.losses.perceptual import MobileNetV2Distance
from dp3_lightning.structures import FloatArray

_STAGE = 3  # of five: stride 16, 96 channels; few enough for the covariance of a hundred frames


def sharpness(clip: Tensor, region: Tensor) -> float:
    """Gradient energy in a region: the mean squared difference of neighbouring pixels.

    Args:
        clip: ``(T, 3, H, W)`` in [-1, 1]; differences are those of levels in [0, 1].
        region: ``(T, 1, H, W)``, 1 or 0.

    Returns:
        Mean over pixels; NaN for an empty region.
    """
    levels = clip.float() / 2
    across = torch.nn.functional.pad(levels.diff(dim=3), (0, 1)).square()
    down = torch.nn.functional.pad(levels.diff(dim=2), (0, 0, 0, 1)).square()
    energy = (across + down).mean(1, keepdim=True)
    total = region.float().sum()
    return float((energy * region).sum() / total) if total > 0 else float("nan")


class FeaturePool:
    """Collects mean MobileNetV2 features of pictures, 96 numbers each.

    The substitute for Inception where that cannot be fetched: report distances between pools as
    "MobileNetV2 Frechet distance", never as FID.

    Args:
        weights: torchvision's ``mobilenet_v2`` state dict file, or the network built from it.
    """

    def __init__(self, weights: str | Path | MobileNetV2Distance) -> None:
        if not isinstance(weights, MobileNetV2Distance):
            weights = MobileNetV2Distance(weights)
        self._net = weights
        self._rows: list[FloatArray] = []

    @torch.no_grad()
    def add(self, pictures: Tensor) -> None:
        """Take in ``(N, 3, H, W)`` in [-1, 1]."""
        features = self._net.features_at(pictures, _STAGE).mean((2, 3))
        self._rows.append(features.double().cpu().numpy())

    @property
    def features(self) -> FloatArray:
        """``(N, 96)`` float64."""
        rows: FloatArray = np.concatenate(self._rows)
        return rows

    @classmethod
    def of(
        cls, weights: str | Path | MobileNetV2Distance, batches: Iterable[Tensor]
    ) -> FeaturePool:
        """Return a pool of all batches."""
        pool = cls(weights)
        for batch in batches:
            pool.add(batch)
        return pool


def frechet_distance(first: FloatArray, second: FloatArray) -> float:
    """Frechet distance of two sets of features, each taken as a Gaussian (Heusel et al. 2017).

    Args:
        first: ``(N, D)``.
        second: ``(M, D)``.

    Returns:
        ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))``, at least 0.

    Raises:
        ValueError: fewer than two rows, or values that are not finite.
    """
    for rows in (first, second):
        if len(rows) < 2 or not np.isfinite(rows).all():
            raise ValueError(
                f"Expected at least two rows of finite features, got {rows.shape} with "
                f"{int((~np.isfinite(rows)).sum())} values that are not finite."
            )
    difference = first.mean(0) - second.mean(0)
    covariances = [np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (first, second)]
    # tr((S1 S2)^(1/2)) from the eigenvalues of the product, which are real and not negative.
    values = scipy.linalg.eigvals(covariances[0] @ covariances[1])
    root = np.sqrt(np.clip(values.real, 0, None)).sum()
    distance = difference @ difference + np.trace(covariances[0] + covariances[1]) - 2 * root
    return max(float(distance), 0.0)
