from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics import Metric

from dp3_lightning.metrics import (
    ClipMetric,
    Details,
    FeatureDistance,
    Flicker,
    FlowDifference,
    IdentityStability,
    PerceptualDifference,
    PictureFeatures,
    ReIdentification,
    VerificationRate,
    WarpingError,
    flicker,
    flow_difference,
    frechet_distance,
    high_frequency_share,
    identification,
    identity_stability,
    kernel_distance,
    perceptual_difference,
    sharpness,
    tar_at_far,
    total_variation,
    warping_errors,
)
from dp3_lightning.optical_flow import FarnebackFlow
from tests.metrics.test_temporal import Gap

pytestmark = pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")


def picture(seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 12, 12, generator=rng) * 2 - 1
    return torch.nn.functional.interpolate(coarse, (64, 64), mode="bicubic")[0].clamp(-1, 1)


def clip(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """An output, its original and a region."""
    original = torch.stack([picture(seed).roll(t, dims=2) for t in range(count)])
    rng = torch.Generator().manual_seed(seed)
    output = original + 0.2 * torch.rand(original.shape, generator=rng)
    region = torch.zeros(count, 1, 64, 64)
    region[:, :, 16:48, 16:48] = 1
    return output, original, region


def functional(metric: ClipMetric, made: Tensor, real: Tensor, region: Tensor) -> list[float]:
    """The same by the functions."""
    flow = FarnebackFlow()
    if isinstance(metric, WarpingError):
        found = warping_errors(made, real, region, flow)
        return [found.output, found.original, found.excess]
    if isinstance(metric, FlowDifference):
        return [flow_difference(made, real, region, flow)]
    if isinstance(metric, PerceptualDifference):
        return [perceptual_difference(made, real, Gap())]
    if isinstance(metric, Flicker):
        return [flicker(made, region), flicker(real, region)]
    figures = (sharpness, high_frequency_share, total_variation)
    return [figure(made, region) / figure(real, region) for figure in figures]


CLIP_METRICS = [WarpingError, FlowDifference, Flicker, Details, lambda: PerceptualDifference(Gap())]


@pytest.mark.parametrize("make", CLIP_METRICS)
def test_clips_count_by_their_pairs_and_parts_merge(make: Any) -> None:
    whole, first, second = make(), make(), make()
    assert all(math.isnan(value) for value in whole.compute().values())
    long, short = clip(6, 1), clip(3, 2)
    for part, taken in ((first, long), (second, short)):
        part.update(*taken)
        whole.update(*taken)
    weights = (6, 3) if whole.by_frames else (5, 2)
    found = [functional(whole, *clip) for clip in (long, short)]
    expected = np.average(found, axis=0, weights=weights)
    values = whole.compute()
    assert tuple(values) == whole.names
    assert [float(v) for v in values.values()] == pytest.approx(expected.tolist())
    assert _merged(first, second) == pytest.approx({k: float(v) for k, v in values.items()})


def test_a_clip_without_meaning_changes_nothing() -> None:
    metric = WarpingError()
    metric.update(*clip(6, 1))
    before = {name: float(value) for name, value in metric.compute().items()}
    metric.update(*(part[:1] for part in clip(6, 2)))  # one frame has no pair
    assert {name: float(value) for name, value in metric.compute().items()} == before


def test_stills_have_details() -> None:
    metric = Details()
    still = tuple(part[:1] for part in clip(2, 1))
    metric.update(*still)
    found = [float(value) for value in metric.compute().values()]
    assert found == pytest.approx(functional(metric, *still))


def test_a_figure_of_ones_own_takes_two_methods() -> None:
    class Brightness(ClipMetric):
        names = ("gap",)

        def measure(
            self, output: Tensor, original: Tensor, region: Tensor, pair_valid: Tensor | None
        ) -> tuple[float, ...]:
            return (float((output - original).mean()),)

    metric = Brightness()
    original = torch.zeros(4, 3, 8, 8)
    metric.update(original + 0.5, original, torch.ones(4, 1, 8, 8))
    metric.update(
        original + 0.8, original, torch.ones(4, 1, 8, 8), torch.tensor([True, False, False])
    )
    assert float(metric.compute()["gap"]) == pytest.approx((3 * 0.5 + 0.8) / 4)


def test_feature_distances_are_those_of_all_pictures_together() -> None:
    features = PictureFeatures("mean", "F", "K", lambda pictures: pictures.mean((2, 3)))
    rng = torch.Generator().manual_seed(0)
    made, real = (torch.rand(12, 3, 4, 4, generator=rng) + shift for shift in (0.0, 0.5))
    parts = [FeatureDistance(features) for _ in range(2)]
    for part, chosen in zip(parts, (slice(0, 5), slice(5, 12)), strict=True):
        part.update(made[chosen], real=False)
        part.update(real[chosen], real=True)
    rows = [pictures.double().mean((2, 3)).numpy() for pictures in (made, real)]
    found = _merged(*parts)
    assert found["F"] == pytest.approx(frechet_distance(*rows), rel=1e-5)
    assert found["K"] == pytest.approx(kernel_distance(*rows), rel=1e-5)
    with pytest.raises(ValueError, match="two rows"):
        FeatureDistance(features).compute()


def test_verification_counts_pairs_of_people_not_of_pictures() -> None:
    rng = np.random.default_rng(0)
    people = torch.arange(20)
    first, second = (part.flatten() for part in torch.meshgrid(people, people, indexing="ij"))
    # Five pictures of every pair of people.
    first, second = first.repeat(5), second.repeat(5)
    gaps = torch.from_numpy(rng.uniform(0.3, 1.5, len(first)))
    parts = [VerificationRate(), VerificationRate()]
    parts[0].update(gaps[:900], first[:900], second[:900])
    parts[1].update(gaps[900:], first[900:], second[900:])
    same = (first == second).numpy()
    expected = tar_at_far(gaps.numpy()[same], gaps.numpy()[~same], people_pairs=190, people=20)
    assert expected.interval[1] - expected.interval[0] > 0.1  # twenty people, not a hundred pairs
    assert expected.far == pytest.approx(2 / 190)
    found = _merged(*parts)
    assert found == pytest.approx(
        {
            "tar": expected.tar,
            "far": expected.far,
            "tar_low": expected.interval[0],
            "tar_high": expected.interval[1],
        }
    )
    with pytest.raises(ValueError, match="genuine"):
        VerificationRate().compute()


def test_reidentification_searches_all_processes_galleries() -> None:
    rng = np.random.default_rng(1)
    real = rng.normal(size=(8, 16))
    made = real + 0.8 * rng.normal(size=(8, 16))
    people = torch.arange(8)
    parts = [ReIdentification(), ReIdentification()]
    for part, chosen in zip(parts, (slice(0, 4), slice(4, 8)), strict=True):
        part.update(torch.from_numpy(made[chosen]), torch.from_numpy(real[chosen]), people[chosen])
    expected = identification(made, people.tolist(), real, people.tolist())
    found = _merged(*parts)
    assert found["rank1"] == pytest.approx(expected.rates[1])
    assert found["rank5_chance"] == pytest.approx(expected.chance[5])


def test_identity_stability_is_the_mean_over_tracks() -> None:
    rng = np.random.default_rng(2)
    tracks = [(rng.normal(size=(n, 8)) + 2, rng.normal(size=(n, 8)) + 4) for n in (5, 9)]
    metric = IdentityStability()
    for made, real in tracks:
        metric.update(torch.from_numpy(made), torch.from_numpy(real))
    expected = np.mean([identity_stability(*track) for track in tracks], axis=0)
    found = [float(value) for value in metric.compute().values()]
    assert found == pytest.approx(expected.tolist())
    assert math.isnan(IdentityStability().compute()["TL-ID"])


def _merged(first: Metric, second: Metric) -> dict[str, float]:
    """What two processes come to together."""
    first.merge_state(second)
    return {name: float(value) for name, value in first.compute().items()}
