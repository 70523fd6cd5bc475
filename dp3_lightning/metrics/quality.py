"""Picture quality without a reference face: sharpness, and distance between sets of pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg
import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor

from dp3_lightning.structures import FloatArray


def sharpness(clip: Tensor, region: Tensor) -> float:
    """Gradient energy in a region: the mean squared difference of neighbouring pixels.

    >>> stripes = torch.tensor([0.0, 1.0] * 2).expand(1, 3, 4, 4)  # steps of 0.5 in [0, 1]
    >>> region = torch.ones(1, 1, 4, 4)
    >>> region[..., -1] = 0
    >>> sharpness(stripes, region)
    0.25

    Args:
        clip: ``(T, 3, H, W)`` in [-1, 1]; differences are those of levels in [0, 1].
        region: ``(T, 1, H, W)``, 1 or 0.

    Returns:
        Mean over pixels; NaN for an empty region.
    """
    return _gradients(clip, region, torch.square)


def _gradients(clip: Tensor, region: Tensor, size: Callable[[Tensor], Tensor]) -> float:
    levels = clip.float() / 2
    across = size(torch.nn.functional.pad(levels.diff(dim=3), (0, 1)))
    down = size(torch.nn.functional.pad(levels.diff(dim=2), (0, 0, 0, 1)))
    energy = (across + down).mean(1, keepdim=True)
    total = region.float().sum()
    return float((energy * region).sum() / total) if total > 0 else float("nan")


def high_frequency_share(clip: Tensor, region: Tensor) -> float:
    """Share of a region's contrast that lies in details: what blur takes first.

    Details are the difference to a Gaussian of 2 pixels; contrast is the variance of all levels.

    Args:
        clip: ``(T, 3, H, W)`` in [-1, 1].
        region: ``(T, 1, H, W)``, 1 or 0.

    Returns:
        In [0, 1] about; NaN for an empty region or one without contrast.
    """
    coarse = gaussian_blur2d(clip.float(), (13, 13), (2.0, 2.0))
    weight = region.float().expand_as(clip)
    total = weight.sum()
    if total == 0:
        return float("nan")
    mean = (clip * weight).sum() / total
    contrast = float(((clip - mean).square() * weight).sum())
    details = float(((clip - coarse).square() * weight).sum())
    return details / contrast if contrast > 0 else float("nan")


def total_variation(clip: Tensor, region: Tensor) -> float:
    """Mean absolute difference of neighbouring pixels in a region (anisotropic), levels in [0, 1].

    >>> stripes = torch.tensor([0.0, 1.0] * 2).expand(1, 3, 4, 4)
    >>> region = torch.ones(1, 1, 4, 4)
    >>> region[..., -1] = 0
    >>> total_variation(stripes, region)
    0.5

    Args:
        clip: ``(T, 3, H, W)`` in [-1, 1].
        region: ``(T, 1, H, W)``, 1 or 0.
    """
    return _gradients(clip, region, torch.abs)


def frechet_distance(first: FloatArray, second: FloatArray) -> float:
    """Frechet distance of two sets of features, each taken as a Gaussian (Heusel et al. 2017).

    Of few rows it says little: with no more rows than dimensions the covariances have not full
    rank, and the distance grows with what is missing. :func:`kernel_distance` has no such bias.

    >>> rows = np.array([[0.0], [2.0]])
    >>> frechet_distance(rows, rows + 3)
    9.0

    Args:
        first: ``(N, D)``.
        second: ``(M, D)``.

    Returns:
        ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))``, at least 0.

    Raises:
        ValueError: fewer than two rows, or values that are not finite.
    """
    _check_rows(first, second)
    difference = first.mean(0) - second.mean(0)
    covariances = [np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (first, second)]
    # tr((S1 S2)^(1/2)) from the eigenvalues of the product, which are real and not negative.
    values = scipy.linalg.eigvals(covariances[0] @ covariances[1])
    root = np.sqrt(np.clip(values.real, 0, None)).sum()
    distance = difference @ difference + np.trace(covariances[0] + covariances[1]) - 2 * root
    return max(float(distance), 0.0)


def kernel_distance(first: FloatArray, second: FloatArray) -> float:
    """Squared maximum mean discrepancy, cubic kernel, unbiased (KID, Binkowski et al. 2018).

    Unlike the Frechet distance it is not larger for few samples, and may come out below 0.

    >>> near = np.array([[0.0], [0.0]])
    >>> kernel_distance(near, near + 1)  # k(0, 0) + k(1, 1) - 2 k(0, 1)
    7.0

    Args:
        first: ``(N, D)``.
        second: ``(M, D)``.

    Raises:
        ValueError: fewer than two rows, or values that are not finite.
    """
    _check_rows(first, second)
    within = [
        (k.sum() - np.trace(k)) / (len(rows) * (len(rows) - 1))
        for rows in (first, second)
        for k in [_cubic_kernel(rows, rows)]
    ]
    return float(sum(within) - 2 * _cubic_kernel(first, second).mean())


def kernel_distance_interval(
    first: FloatArray,
    second: FloatArray,
    confidence: float = 0.95,
    samples: int = 200,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap interval of :func:`kernel_distance`.

    Rows are drawn in blocks of neighbours, a twelfth of a set each: the frames of a clip are no
    independent pictures. A row and its own copy are no pair, so that the draws are unbiased.

    Args:
        first: ``(N, D)``, in the order of time.
        second: ``(M, D)``, likewise.
        confidence: share of cases in which the interval is to hold the distance, in (0, 1).
        samples: draws.
        seed: of the draws.

    Returns:
        Lower and upper end.

    Raises:
        ValueError: fewer than two rows, or values that are not finite.
    """
    _check_rows(first, second)
    rng = np.random.default_rng(seed)
    kernels = [_cubic_kernel(*pair) for pair in ((first, first), (second, second), (first, second))]
    found = []
    for _ in range(samples):
        counts = [_block_counts(len(rows), rng) for rows in (first, second)]
        parts = []
        for kernel, count in zip(kernels, counts, strict=False):
            other = np.outer(count, count)
            np.fill_diagonal(other, 0)
            if other.sum() > 0:
                parts.append((kernel * other).sum() / other.sum())
        if len(parts) == len(counts):
            cross = counts[0] @ kernels[2] @ counts[1] / (counts[0].sum() * counts[1].sum())
            found.append(sum(parts) - 2 * cross)
    tail = 50 * (1 - confidence)
    low, high = np.percentile(found, [tail, 100 - tail])
    return float(low), float(high)


def _block_counts(n_rows: int, rng: np.random.Generator) -> FloatArray:
    """Draw blocks of rows with replacement; how often each row is drawn."""
    length = max(1, n_rows // 12)
    starts = np.arange(0, n_rows, length)
    chosen = rng.choice(starts, len(starts))
    counts = np.zeros(n_rows)
    for start in chosen:
        counts[start : start + length] += 1
    return counts


def _cubic_kernel(a: FloatArray, b: FloatArray) -> FloatArray:
    values: FloatArray = (a @ b.T / a.shape[1] + 1) ** 3
    return values


def _check_rows(*pools: FloatArray) -> None:
    for rows in pools:
        if len(rows) < 2 or not np.isfinite(rows).all():
            raise ValueError(
                f"Expected at least two rows of finite features, got {rows.shape} with "
                f"{int((~np.isfinite(rows)).sum())} values that are not finite."
            )
