from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dp3_lightning.metrics import flow_difference, perceptual_difference, warping_errors
from dp3_lightning.optical_flow import FarnebackFlow, FlowEstimator


class Shift(FlowEstimator):
    """Knows that everything moves two pixels to the right per frame."""

    name = "shift"
    forward = True

    def _estimate(self, source: Tensor, target: Tensor) -> Tensor:
        # Later to earlier frames first, as the metric asks.
        sign = -1.0 if self.forward else 1.0
        self.forward = not self.forward
        flow = torch.zeros(len(source), 2, *source.shape[2:])
        flow[:, 0] = 2 * sign
        return flow


def moving(count: int = 5, speed: int = 2) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    wide = torch.rand(3, 48, 96, generator=rng) * 2 - 1
    return torch.stack([wide[:, :, 40 - speed * t : 88 - speed * t] for t in range(count)])


def middle(count: int) -> Tensor:
    region = torch.zeros(count, 1, 48, 48)
    region[:, :, 12:36, 12:36] = 1
    return region


def test_a_video_that_moves_as_its_original_has_no_error() -> None:
    clip = moving()
    errors = warping_errors(clip * 0.5, clip, middle(5), Shift())
    assert errors.output < 1e-8
    assert abs(errors.excess) < 1e-8


def test_flicker_is_its_variance_and_counts_in_the_region_only() -> None:
    clip = moving()
    flicker = torch.tensor([0.1, -0.1, 0.1, -0.1, 0.1]).view(5, 1, 1, 1)
    errors = warping_errors(clip * 0.5 + flicker, clip, middle(5), Shift())
    # Differences of 0.2 in [-1, 1] are 0.1 in [0, 1].
    assert errors.excess == pytest.approx(0.01, rel=1e-3)
    outside = clip + flicker * (1 - middle(5))
    inner = middle(5)
    inner[:, :, :16] = inner[:, :, 32:] = 0
    inner[..., :16] = inner[..., 32:] = 0
    assert warping_errors(outside, clip, inner, Shift()).excess < 1e-8


def test_pairs_across_a_cut_do_not_count() -> None:
    clip = moving()
    broken = clip.clone()
    broken[3:] += 0.5
    valid = torch.tensor([True, True, False, True])
    assert warping_errors(broken, clip, middle(5), Shift()).excess > 0.01
    assert abs(warping_errors(broken, clip, middle(5), Shift(), valid).excess) < 1e-8
    none = warping_errors(broken, clip, middle(5), Shift(), torch.zeros(4, dtype=torch.bool))
    assert math.isnan(none.output)


def smooth(count: int, speed: float) -> Tensor:
    y, x = np.mgrid[0:64, 0:64].astype(float)
    frames = [
        np.sin((x - speed * t) / 4) * np.cos((y + 3) / 5) + 0.3 * np.sin((x + y - speed * t) / 9)
        for t in range(count)
    ]
    return torch.tensor(np.stack(frames), dtype=torch.float32)[:, None].expand(-1, 3, -1, -1) * 0.7


def test_a_frozen_face_differs_in_motion_though_its_warping_error_may_be_small() -> None:
    original = smooth(4, 1.5)
    region = torch.zeros(4, 1, 64, 64)
    region[:, :, 16:48, 16:48] = 1
    frozen = original[:1].expand(4, -1, -1, -1)
    assert flow_difference(original, original, region, FarnebackFlow()) == 0
    assert flow_difference(frozen, original, region, FarnebackFlow()) == pytest.approx(
        1.5, rel=0.15
    )


def test_unequal_lengths_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(4, 3, 48, 48\).*as many frames"):
        warping_errors(moving(4), moving(5), middle(5), Shift())
    with pytest.raises(ValueError, match="region"):
        flow_difference(moving(5), moving(5), middle(4), Shift())


def test_flicker_is_the_change_of_the_mean_color_within_the_region() -> None:
    from dp3_lightning.metrics import flicker

    clip = torch.zeros(4, 3, 8, 8)
    region = torch.zeros(4, 1, 8, 8)
    region[..., 2:6, 2:6] = 1
    clip[1::2, :, 2:6, 2:6] = 0.4  # 0.2 of [0, 1]
    clip[..., 0, 0] = torch.rand(4, 3)  # outside
    assert flicker(clip, region) == pytest.approx(0.2)
    cut = torch.tensor([True, False, False])
    clip[2:] = 1
    assert flicker(clip, region, cut) == pytest.approx(0.2)
    assert math.isnan(flicker(clip, region, torch.zeros(3, dtype=torch.bool)))
    assert math.isnan(flicker(clip, region * 0))


class Gap(torch.nn.Module):
    """Mean absolute difference, in place of a perceptual distance."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return (first - second).abs().mean((1, 2, 3))


def test_perceptual_difference_compares_changes_not_pictures() -> None:
    original = torch.zeros(40, 3, 8, 8)  # more frames than are looked at together
    original[1::2] = 0.5
    brighter = original + 0.3
    assert perceptual_difference(brighter, original, Gap()) == pytest.approx(0, abs=1e-4)
    frozen = torch.zeros_like(original)
    assert perceptual_difference(frozen, original, Gap()) == pytest.approx(50)
    calmer = original.clone()
    calmer[20:] = original[19]
    kept = torch.ones(39, dtype=torch.bool)
    assert perceptual_difference(calmer, original, Gap(), kept) == pytest.approx(50 * 20 / 39)
    kept[19:] = False
    assert perceptual_difference(calmer, original, Gap(), kept) == pytest.approx(0)
    assert math.isnan(perceptual_difference(frozen[:1], original[:1], Gap()))
    with pytest.raises(ValueError, match="one shape"):
        perceptual_difference(frozen[:5], original, Gap())


def test_motion_is_compared_where_the_face_is_in_the_earlier_frame() -> None:
    """The flow lies on the grid of frame t-1; the region moves on by its own width."""

    class InTheFace(FlowEstimator):
        """Sees motion where the earlier frame shows something, and only there."""

        name = "in-the-face"

        def _estimate(self, source: Tensor, target: Tensor) -> Tensor:
            return 3.0 * (source[:, :2] > 0)

    original = torch.full((3, 3, 16, 48), -1.0)
    region = torch.zeros(3, 1, 16, 48)
    for t in range(3):
        region[t, :, 4:12, 12 * t + 4 : 12 * t + 12] = 1
    output = torch.where(region > 0, 1.0, original)
    found = flow_difference(output, original, region, InTheFace())
    assert found == pytest.approx(3 * 2**0.5)
