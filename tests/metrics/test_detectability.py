from __future__ import annotations

import numpy as np
import pytest

from dp3_lightning.metrics import detection_auc, two_sample_auc


def test_auc_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    real, made = rng.normal(size=30).round(1), rng.normal(0.5, size=20).round(1)
    pairs = [1.0 if m > r else 0.5 if m == r else 0.0 for m in made for r in real]
    assert detection_auc(real, made) == pytest.approx(np.mean(pairs))
    assert detection_auc(np.zeros(3), np.ones(2)) == 1
    assert detection_auc(np.ones(3), np.zeros(2)) == 0
    assert detection_auc(np.ones(3), np.ones(2)) == 0.5


@pytest.mark.parametrize(("real", "made"), [([], [1.0]), ([1.0], []), ([np.nan], [1.0])])
def test_scores_that_say_nothing_are_refused(real: list[float], made: list[float]) -> None:
    with pytest.raises(ValueError, match="finite scores"):
        detection_auc(np.array(real), np.array(made))


def test_the_trained_detector_finds_a_trace_and_nothing_where_there_is_none() -> None:
    rng = np.random.default_rng(0)

    def rows(n: int, trace: float) -> np.ndarray:
        found = rng.normal(size=(n, 12))
        found[:, 3] += trace
        return found

    traced = two_sample_auc(rows(80, 0), rows(80, 2.0), rows(60, 0), rows(60, 2.0))
    nothing = two_sample_auc(rows(80, 0), rows(80, 0), rows(60, 0), rows(60, 0))
    assert traced > 0.85
    assert 0.35 < nothing < 0.65
    unequal = two_sample_auc(rows(300, 0), rows(20, 2.0), rows(60, 0), rows(60, 2.0))
    assert unequal > 0.8


def test_training_needs_two_of_each_kind() -> None:
    good, one = np.zeros((4, 3)), np.zeros((1, 3))
    with pytest.raises(ValueError, match="two rows"):
        two_sample_auc(good, one, good, good)
    with pytest.raises(ValueError, match="finite"):
        two_sample_auc(good, good, good, good * np.nan)
