"""Temporal coherence: does a video move as its original moves?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dp3_lightning.losses.flow_consistency import warping_error
from dp3_lightning.optical_flow import FlowEstimator

_BATCH = 32  # frames a network sees at a time


@dataclass(frozen=True)
class WarpingErrors:
    """Warping error of an output beside its original's, which is not zero either.

    Attributes:
        output: mean squared difference along the original's motion, levels in [0, 1].
        original: the same of the original.
    """

    output: float
    original: float

    @property
    def excess(self) -> float:
        """What the output has more than the original."""
        return self.output - self.original


def check_pair(output: Tensor, original: Tensor, region: Tensor) -> None:
    """Raise unless two clips ``(T, 3, H, W)`` and a region ``(T, 1, H, W)`` belong together.

    Raises:
        ValueError: naming the shapes.
    """
    expected = (len(original), 1, *original.shape[2:])
    if output.shape != original.shape or tuple(region.shape) != expected or original.ndim != 4:
        raise ValueError(
            "Expected `output` and `original` of one shape (T, 3, H, W) and `region` (T, 1, H, W), "
            f"got {tuple(output.shape)}, {tuple(original.shape)} and {tuple(region.shape)}: the "
            "output must have as many frames as its original."
        )


@torch.no_grad()
def warping_errors(
    output: Tensor,
    original: Tensor,
    region: Tensor,
    estimator: FlowEstimator,
    pair_valid: Tensor | None = None,
) -> WarpingErrors:
    """Warping error of Lai et al., "Learning Blind Video Temporal Consistency", ECCV 2018.

    Flow and occlusion are those of the original. Score with a flow family that neither training
    nor rendering used.

    Args:
        output: ``(T, 3, H, W)`` in [-1, 1].
        original: same shape.
        region: ``(T, 1, H, W)``, where to measure, 1 or 0.
        estimator: optical flow.
        pair_valid: ``(T-1,)`` bool, False across cuts; default: all True.

    Returns:
        Means over the pairs in which something can be compared; NaN without any.

    Raises:
        ValueError: shapes that do not belong together.
    """
    check_pair(output, original, region)
    valid = torch.ones(len(original) - 1, dtype=torch.bool) if pair_valid is None else pair_valid
    forward = estimator(original[1:], original[:-1])[None]
    backward = estimator(original[:-1], original[1:])[None]
    values = [
        float(warping_error(clip[None], region[None], forward, backward, valid[None])[0])
        for clip in (output, original)
    ]
    return WarpingErrors(*values)


@torch.no_grad()
def flow_difference(
    output: Tensor,
    original: Tensor,
    region: Tensor,
    estimator: FlowEstimator,
    pair_valid: Tensor | None = None,
) -> float:
    """TOF of Chu et al. (TecoGAN, 2020): how far the motion of an output is from the original's.

    The guard against frozen faces, which warping error alone rewards.

    Args:
        output: ``(T, 3, H, W)`` in [-1, 1].
        original: same shape.
        region: ``(T, 1, H, W)``, where to measure.
        estimator: optical flow; TecoGAN's is Farneback.
        pair_valid: ``(T-1,)`` bool, False across cuts.

    Returns:
        Mean length of the difference in pixels; NaN without any pair.

    Raises:
        ValueError: shapes that do not belong together.
    """
    check_pair(output, original, region)
    real = estimator(original[:-1], original[1:])
    made = estimator(output[:-1], output[1:])
    weight = region[:-1].float()  # the flow lies on the grid of the earlier frame
    if pair_valid is not None:
        weight = weight * pair_valid.view(-1, 1, 1, 1)
    length = (made - real).square().sum(1, keepdim=True).sqrt()
    total = weight.sum()
    return float((length * weight).sum() / total) if total > 0 else float("nan")


@torch.no_grad()
def flicker(clip: Tensor, region: Tensor, pair_valid: Tensor | None = None) -> float:
    """Change of a region's mean colour from frame to frame.

    What the eye sees as a face that pulses. It does not look at motion; compare with the
    original's.

    >>> clip = torch.tensor([0.0, 0.4, 0.0]).view(3, 1, 1, 1).expand(3, 3, 2, 2)
    >>> round(flicker(clip, torch.ones(3, 1, 2, 2)), 6)  # levels in [0, 1]
    0.2

    Args:
        clip: ``(T, 3, H, W)`` in [-1, 1].
        region: ``(T, 1, H, W)``, where to measure.
        pair_valid: ``(T-1,)`` bool, False across cuts.

    Returns:
        Mean absolute change, levels in [0, 1]; NaN without any pair.
    """
    area = region.float().sum((1, 2, 3)).clamp_min(1e-6)
    colors = (clip * region).sum((2, 3)) / area[:, None] / 2
    steps = colors.diff(dim=0).abs().mean(1)
    seen = region.flatten(1).any(1)
    valid = seen[1:] & seen[:-1]
    if pair_valid is not None:
        valid = valid & pair_valid
    return float(steps[valid].mean()) if valid.any() else float("nan")


@torch.no_grad()
def perceptual_difference(
    output: Tensor, original: Tensor, distance: nn.Module, pair_valid: Tensor | None = None
) -> float:
    """Change of pictures from frame to frame, compared with the original's (tLP).

    Chu et al., "Learning Temporal Coherence via Self-Supervision for GAN-based Video Generation",
    2020.

    Args:
        output: ``(T, 3, H, W)`` in [-1, 1].
        original: same shape.
        distance: of pictures, ``(N, 3, H, W)`` twice to N values.
        pair_valid: ``(T-1,)`` bool, False across cuts; default: all True.

    Returns:
        Mean absolute difference of the changes, x100 as in the paper; NaN without any pair.

    Raises:
        ValueError: clips of two shapes.
    """
    if output.shape != original.shape:
        raise ValueError(
            f"Expected two clips of one shape, got {tuple(output.shape)} and "
            f"{tuple(original.shape)}."
        )
    if len(output) < 2:
        return float("nan")
    changes = [
        torch.cat([distance(a, b).flatten() for a, b in zip(*_neighbours(clip), strict=True)])
        for clip in (output, original)
    ]
    gap = (changes[0] - changes[1]).abs()
    if pair_valid is not None:
        gap = gap[pair_valid]
    return 100 * float(gap.mean()) if len(gap) else float("nan")


def _neighbours(clip: Tensor) -> list[Sequence[Tensor]]:
    """Frames and the frames after them, some at a time."""
    return [torch.split(part, _BATCH) for part in (clip[:-1], clip[1:])]
