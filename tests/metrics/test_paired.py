from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from dp3_lightning.metrics import median_interval, paired_change


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(200):
        found = median_interval(rng.normal(3.0, 1.0, 20), samples=400, seed=trial)
        held += found.low <= 3.0 <= found.high
    assert 0.88 <= held / 200 <= 0.99


def test_the_interval_against_scipys_bootstrap() -> None:
    values = np.random.default_rng(1).gamma(2.0, size=25)
    found = median_interval(values, samples=5000)
    theirs = scipy.stats.bootstrap(
        (values,), np.median, method="percentile", n_resamples=5000, random_state=2
    ).confidence_interval
    assert found.middle == np.median(values)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.15)


def test_seeds_of_one_face_are_no_new_faces() -> None:
    """A hundred seeds of six faces say no more than six values do."""
    rng = np.random.default_rng(0)
    faces = rng.normal(0.0, 1.0, 6)
    many = np.repeat(faces, 100) + 0.01 * rng.normal(size=600)
    grouped = median_interval(many, np.repeat(np.arange(6), 100).tolist())
    plain = median_interval(many)
    assert grouped.n_values == 600
    assert grouped.n_groups == 6
    assert grouped.high - grouped.low > 5 * (plain.high - plain.low)


def test_what_cannot_be_told_is_not_told() -> None:
    few = median_interval([1.0, 2.0, 3.0, math.nan])
    assert (few.middle, few.n_values, few.n_groups) == (2.0, 3, 3)
    assert few.at_most(100.0) is None
    assert median_interval([0.99] * 18, [i % 6 for i in range(18)]).at_least(0.99)
    assert few.at_least(-100.0) is None
    assert math.isnan(median_interval([math.nan]).middle)
    with pytest.raises(ValueError, match="one group per value"):
        median_interval([1.0, 2.0], ["a"])


def test_a_ratio_is_taken_per_pair() -> None:
    """Ours is a tenth lower on every face, though faces differ a hundredfold."""
    theirs = [1.0, 3.0, 10.0, 30.0, 100.0, 1.2]
    found = paired_change([0.9 * v for v in theirs], theirs, list("abcdef"))
    assert found.change.middle == pytest.approx(-0.1)
    assert (found.change.low, found.change.high) == pytest.approx((-0.1, -0.1))
    assert found.change.at_most(-0.09)
    assert not found.change.at_most(-0.11)
    assert (found.lower, found.higher) == (6, 0)
    assert found.sign_probability == pytest.approx(2 / 2**6)
    unpaired = np.median([0.9 * v for v in theirs[:3]]) / np.median(theirs[3:])
    assert abs(unpaired - 0.9) > 0.5


def test_values_below_zero_and_pairs_that_are_missing() -> None:
    found = paired_change(
        [-1.6, -0.6, math.nan, 5.0, 2.0], [-1.0, -1.0, 1.0, 0.0, 1.0], ["a", "b", "c", "d", "a"]
    )
    assert [round((a - b) / abs(b), 3) for _, a, b in found.pairs] == [-0.6, 0.4, 1.0]
    assert [face for face, _, _ in found.pairs] == ["a", "b", "a"]
    assert found.change.n_groups == 2
    assert found.change.middle == pytest.approx((np.mean([-0.6, 1.0]) + 0.4) / 2)
    difference = paired_change([5.0], [0.0], ["d"], relative=False)
    assert difference.change.middle == 5
    with pytest.raises(ValueError, match="Expected pairs"):
        paired_change([1.0], [1.0, 2.0], ["a"])


@pytest.mark.parametrize(("lower", "higher"), [(5, 0), (4, 2), (3, 3), (9, 1)])
def test_the_sign_test_against_scipy(lower: int, higher: int) -> None:
    ours = [0.0] * lower + [2.0] * higher
    found = paired_change(ours, [1.0] * len(ours), list(range(len(ours))))
    expected = scipy.stats.binomtest(lower, lower + higher).pvalue
    assert found.sign_probability == pytest.approx(expected)
