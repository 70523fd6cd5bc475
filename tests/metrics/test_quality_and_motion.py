from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from dp3_lightning.assets import asset_path
from dp3_lightning.metrics import (
    correlation,
    frechet_distance,
    head_pose,
    high_frequency_share,
    kernel_distance,
    kernel_distance_interval,
    mobilenet_features,
    mouth_opening,
    sharpness,
    total_variation,
)
from dp3_lightning.optical_flow import FarnebackFlow


def test_sharpness_is_gradient_energy_in_the_region() -> None:
    stripes = torch.zeros(1, 3, 8, 8)
    stripes[..., ::2] = 1.0  # steps of 1 in [-1, 1], 0.5 in [0, 1], across only
    region = torch.zeros(1, 1, 8, 8)
    region[..., 2:6, 2:6] = 1
    assert sharpness(stripes, region) == pytest.approx(0.25)
    region[:] = 0
    assert np.isnan(sharpness(stripes, region))


def test_blur_lowers_sharpness() -> None:
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    blurred = torch.nn.functional.avg_pool2d(picture, 3, 1, 1)
    whole = torch.ones(1, 1, 32, 32)
    assert sharpness(blurred, whole) < 0.3 * sharpness(picture, whole)


def test_total_variation_is_the_mean_step() -> None:
    stripes = torch.zeros(1, 3, 8, 8)
    stripes[..., ::2] = 1.0  # steps of 0.5 in [0, 1], across only
    region = torch.zeros(1, 1, 8, 8)
    region[..., 2:6, 2:6] = 1
    assert total_variation(stripes, region) == pytest.approx(0.5)
    assert total_variation(stripes * 0.5, region) == pytest.approx(0.25)


def test_details_are_what_blur_takes() -> None:
    _y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    region = torch.zeros(1, 1, 64, 64)
    region[..., 12:52, 12:52] = 1

    def waves(length: float) -> Tensor:
        return (0.5 * torch.sin(2 * np.pi * x / length)).expand(1, 3, -1, -1)

    assert high_frequency_share(waves(3.0), region) > 0.95
    assert high_frequency_share(waves(64.0), region) < 0.02
    mixed = high_frequency_share(waves(3.0) + waves(32.0), region)
    assert mixed == pytest.approx(0.5, abs=0.1)  # equal power
    assert np.isnan(high_frequency_share(torch.ones(1, 3, 64, 64), region * 0))
    assert np.isnan(high_frequency_share(torch.zeros(1, 3, 64, 64), region))


def test_kernel_distance_against_the_sum_over_pairs() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(7, 4)), rng.normal(size=(5, 4)) + 0.5

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 4 + 1) ** 3)

    own = [
        np.mean([k(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j])
        for rows in (first, second)
    ]
    cross = np.mean([k(a, b) for a in first for b in second])
    assert kernel_distance(first, second) == pytest.approx(sum(own) - 2 * cross)
    halves = rng.normal(size=(2, 400, 4))
    assert abs(kernel_distance(*halves)) < 0.1  # no bias by the number of samples
    with pytest.raises(ValueError, match=r"\(1, 4\)"):
        kernel_distance(first[:1], second)


def test_the_interval_of_the_kernel_distance() -> None:
    """It holds the distance of the distributions, shrinks with more rows, and tells them apart."""
    rng = np.random.default_rng(0)
    alike = [kernel_distance_interval(*rng.normal(size=(2, 40, 4)), seed=i) for i in range(40)]
    assert np.mean([low <= 0 <= high for low, high in alike]) > 0.85
    few = kernel_distance_interval(rng.normal(size=(24, 4)), rng.normal(size=(24, 4)) + 1.5)
    many = kernel_distance_interval(rng.normal(size=(400, 4)), rng.normal(size=(400, 4)) + 1.5)
    assert few[0] > 0
    assert many[0] > 0
    assert many[1] - many[0] < 0.6 * (few[1] - few[0])


def test_frames_alike_their_neighbours_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(12, 4)), rng.normal(size=(12, 4))
    twelve = kernel_distance_interval(first, second)
    copied = kernel_distance_interval(np.repeat(first, 4, axis=0), np.repeat(second, 4, axis=0))
    shuffled = [rng.permutation(np.repeat(rows, 4, axis=0)) for rows in (first, second)]
    apart = kernel_distance_interval(*shuffled)
    assert copied[1] - copied[0] > 1.3 * (apart[1] - apart[0])
    assert copied[1] - copied[0] > 0.6 * (twelve[1] - twelve[0])


@pytest.mark.parametrize("tilt", [-20.0, 0.0, 35.0])
def test_a_head_that_tilts_and_turns(tilt: float) -> None:
    face = np.array([[-1.0, 0], [1, 0], [0.4, 0.8], [-0.7, 2], [0.7, 2]])
    angle = np.radians(tilt)
    turned = face @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    found, turn = head_pose((turned * 30 + 100).tolist())
    assert found == pytest.approx(tilt)
    assert turn == pytest.approx(np.degrees(np.arctan2(0.2, 0.5)))
    straight = face.copy()
    straight[2, 0] = 0
    assert head_pose(straight.tolist()) == pytest.approx((0, 0))
    assert np.isnan(head_pose([[1.0, 1.0]] * 5)).all()


def test_frechet_distance_against_the_matrix_square_root() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6))
    second = rng.normal(size=(150, 6)) @ rng.normal(size=(6, 6)) + 1
    s1, s2 = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    gap = first.mean(0) - second.mean(0)
    expected = gap @ gap + np.trace(s1 + s2 - 2 * scipy.linalg.sqrtm(s1 @ s2).real)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(first, first + 2) == pytest.approx(24)


def test_frechet_distance_refuses_what_has_no_distribution() -> None:
    with pytest.raises(ValueError, match=r"\(1, 3\)"):
        frechet_distance(np.zeros((1, 3)), np.zeros((5, 3)))
    bad = np.zeros((5, 3))
    bad[2, 1] = np.nan
    with pytest.raises(ValueError, match="1 values that are not finite"):
        frechet_distance(np.zeros((5, 3)), bad)


@pytest.mark.assets
def test_features_tell_faces_from_noise() -> None:
    rng = torch.Generator().manual_seed(0)
    flat = torch.rand(8, 3, 1, 1, generator=rng).expand(-1, -1, 64, 64) * 2 - 1
    noise = torch.rand(8, 3, 64, 64, generator=rng) * 2 - 1
    weights = asset_path("mobilenet_v2")
    features = mobilenet_features(weights)
    pools = [features.of([part]) for part in (flat[:4], flat[4:], noise)]
    assert pools[0].shape == (4, 96)
    near = frechet_distance(pools[0], pools[1])
    assert frechet_distance(pools[0], pools[2]) > 3 * near


def talking(opening: list[float]) -> Tensor:
    """A texture whose lower part stretches downwards by the given pixels."""
    y, x = np.mgrid[0:96, 0:96].astype(float)
    frames = []
    for amount in opening:
        stretch = np.where(y > 60, (y - 60) / 36 * amount, 0)
        warped = np.sin(x / 3) + np.cos((y - stretch) / 2.5) + 0.5 * np.sin((x + y - stretch) / 6)
        frames.append(warped / 3)
    return torch.tensor(np.stack(frames), dtype=torch.float32)[:, None].expand(-1, 3, -1, -1)


def test_mouth_opening_follows_the_stretch() -> None:
    opening = [0, 1, 2, 3, 2, 1, 0, 1, 2.5]
    boxes = [(16, 0, 80, 96)] * len(opening)
    speeds = mouth_opening(talking(opening), boxes, FarnebackFlow())
    assert speeds.shape == (len(opening) - 1,)
    assert correlation(speeds, np.diff(opening)) > 0.9
    absent = mouth_opening(talking(opening), [(200, 200, 210, 210)] * len(opening), FarnebackFlow())
    assert np.isnan(absent).all()


def test_a_head_that_comes_nearer_does_not_speak() -> None:
    """The stretch of the whole face is taken off that of the mouth."""
    y, x = np.mgrid[0:96, 0:96].astype(float)
    frames = []
    for i in range(5):
        zoom = 1.02**i
        u, v = (x - 48) / zoom, (y - 48) / zoom
        frames.append((np.sin(u / 3) + np.cos(v / 2.5) + 0.5 * np.sin((u + v) / 6)) / 3)
    clip = torch.tensor(np.stack(frames), dtype=torch.float32)[:, None].expand(-1, 3, -1, -1)
    boxes = [(16.0, 8.0, 80.0, 88.0)] * 5
    assert np.abs(mouth_opening(clip, boxes, FarnebackFlow())).max() < 0.006  # the head: 0.02


def test_correlation_leaves_out_what_is_not_known() -> None:
    a = np.array([1.0, 2, np.nan, 4, 5])
    assert correlation(a, np.array([2.0, 4, 100, 8, 10])) == pytest.approx(1)
    assert np.isnan(correlation(a, np.full(5, 3.0)))
    assert np.isnan(correlation(a[:2], a[:2]))
