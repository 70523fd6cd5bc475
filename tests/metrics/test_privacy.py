from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from dp3_lightning.metrics.identity import identity_flicker, identity_stability
from dp3_lightning.metrics.privacy import (
    binomial_interval,
    identification,
    tar_at_far,
    trained_attack,
)


def test_tar_at_far_against_counting() -> None:
    rng = np.random.default_rng(0)
    impostor, genuine = rng.normal(1.0, 0.1, 5000), rng.normal(0.7, 0.1, 400)
    result = tar_at_far(genuine, impostor, far=1e-2)
    assert (impostor < result.threshold).sum() == 50
    assert result.tar == (genuine < result.threshold).mean()
    assert (result.far, result.note) == (1e-2, "")
    assert result.interval[0] < result.tar < result.interval[1]


def test_too_few_impostors_give_a_coarser_rate_and_say_so() -> None:
    impostor = np.linspace(0.5, 1.5, 100)
    result = tar_at_far([0.4, 0.9], impostor, far=1e-3)
    assert result.far == pytest.approx(0.02)
    assert "100 pairs of distinct people" in result.note
    assert (impostor < result.threshold).sum() == 2
    assert result.tar == 0.5
    # Ten thousand pictures of the same hundred pairs of people tell no finer rate.
    many = tar_at_far([0.4, 0.9], np.repeat(impostor, 100), far=1e-3, people_pairs=100)
    assert (many.far, many.n_impostor, many.n_people_pairs) == (result.far, 10_000, 100)
    assert many.note == result.note


def test_frames_of_one_person_are_no_new_trials() -> None:
    impostor = np.linspace(0.5, 1.5, 10_000)
    nobody = tar_at_far([0.9] * 600, impostor, people=1)
    assert (nobody.tar, nobody.n_genuine, nobody.n_people) == (0, 600, 1)
    assert nobody.interval == pytest.approx((0, 0.975))  # one person says next to nothing
    half = tar_at_far([0.1, 0.9] * 300, impostor, people=4)
    assert half.interval == pytest.approx(binomial_interval(2, 4))


@pytest.mark.parametrize(
    ("genuine", "impostor", "message"),
    [
        ([], [1.0] * 50, "got 0 and 50"),
        ([0.5], [1.0], "more people"),
        ([np.nan], [1.0] * 50, "`genuine`"),
        ([0.5], [np.inf] * 50, "`impostor`"),
    ],
)
def test_what_supports_no_rate_is_refused(
    genuine: list[float], impostor: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        tar_at_far(genuine, impostor)


def test_intervals_against_scipy() -> None:
    for hits, trials in ((0, 10), (3, 10), (10, 10), (37, 400)):
        expected = scipy.stats.binomtest(hits, trials).proportion_ci(method="exact")
        assert binomial_interval(hits, trials) == pytest.approx((expected.low, expected.high))


def people(n: int, per: int, spread: float, seed: int = 0) -> tuple[np.ndarray, list[int]]:
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(size=(n, 16))
    rows = np.repeat(centers, per, axis=0) + spread * rng.normal(size=(n * per, 16))
    return rows, np.repeat(np.arange(n), per).tolist()


def test_identification_of_people_who_are_known_and_of_noise() -> None:
    gallery, labels = people(8, 3, 0.1)
    queries, wanted = people(8, 5, 0.2, seed=1)
    known = identification(queries, wanted, gallery, labels)
    assert known.rates == {1: 1.0, 5: 1.0}
    assert known.chance[1] == pytest.approx(1 / 8, abs=0.03)
    assert known.chance[5] == pytest.approx(5 / 8, abs=0.05)
    noise = np.random.default_rng(5).normal(size=(40, 16)) * 3
    lost = identification(noise, wanted, gallery, labels)
    assert lost.rates[1] <= lost.chance_high[1] + 0.05
    assert (lost.n_queries, lost.n_people) == (40, 8)


def test_embeddings_that_are_not_numbers_do_not_look_private() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20, 4))
    rows[3, 2] = np.nan
    labels = [0, 1] * 10
    with pytest.raises(ValueError, match="finite"):
        trained_attack(rows, labels, rows[:4], labels[:4])
    assert np.isnan(identity_stability(np.ones((3, 4)), np.zeros((3, 4)))).all()


def test_identification_refuses_what_makes_no_sense() -> None:
    gallery, labels = people(2, 2, 0.1)
    with pytest.raises(ValueError, match="two people"):
        identification(gallery, labels, gallery[:2], [0, 0])
    with pytest.raises(ValueError, match="every query's person"):
        identification(gallery, [0, 0, 1, 7], gallery, labels)
    with pytest.raises(ValueError, match="finite"):
        identification(gallery * np.nan, labels, gallery, labels)


def test_a_trained_attacker_finds_a_trace_that_distance_does_not() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 40)
    noise = rng.normal(size=(160, 32))
    trace = noise.copy()
    trace[:, :4] = 0.01 * np.eye(4)[labels] + 0.002 * rng.normal(size=(160, 4))  # small but telling
    order = rng.permutation(160)
    first, second = order[:80], order[80:]
    found, guess = trained_attack(trace[first], labels[first], trace[second], labels[second])
    assert found > 0.7 > 2 * guess
    nothing, _ = trained_attack(noise[first], labels[first], noise[second], labels[second])
    assert nothing < 0.45
    with pytest.raises(ValueError, match="in `train` too"):
        trained_attack(noise[:80], labels[:80], noise, labels)


def test_identity_stability_is_one_for_the_original_itself() -> None:
    rng = np.random.default_rng(0)
    track = rng.normal(size=8) + 0.1 * rng.normal(size=(20, 8))
    assert identity_stability(track, track) == pytest.approx((1, 1))
    drifting = track + np.linspace(0, 3, 20)[:, None] * rng.normal(size=8)
    local, whole = identity_stability(drifting, track)
    assert whole < local <= 1.02
    assert whole < 0.95
    assert identity_stability(np.tile(track[:1], (5, 1))) == pytest.approx((1, 1))
    with pytest.raises(ValueError, match="two frames"):
        identity_stability(track[:1])


def test_neighbours_are_all_neighbours_by_hand() -> None:
    """Vectors in a plane at these angles; a track that swaps faces in every frame is not stable."""
    angles = np.radians([0.0, 10, 40, 40, 100])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    local, whole = identity_stability(rows)
    assert local == pytest.approx(np.cos(np.radians([10, 30, 0, 60])).mean())
    pairs = [angles[j] - angles[i] for i in range(5) for j in range(i + 1, 5)]
    assert whole == pytest.approx(np.cos(pairs).mean())
    swapped = np.eye(2)[[0, 1] * 6]
    assert identity_stability(swapped)[0] == pytest.approx(0)


def test_the_nearest_picture_of_a_person_counts() -> None:
    """One good picture finds a person, however many bad ones there are."""
    gallery = np.array([[0.1, 0], [9.0, 0], [9.0, 0], [1.0, 0]])
    found = identification(np.zeros((1, 2)), [0], gallery, [0, 0, 0, 1], ks=(1,))
    assert found.rates[1] == 1


def test_identity_flickers_by_the_angle_from_frame_to_frame() -> None:
    def at(*degrees: float) -> np.ndarray:
        angles = np.radians(degrees)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)

    first, second = at(0, 50, 90), at(60, 50, 180)
    assert identity_flicker(first, 3 * second) == pytest.approx((0.5 + 0 + 1) / 3)
    calm = (at(0, 50, 90), at(60, 50, 90))
    assert identity_flicker(first, second, calm) == pytest.approx(3)
    assert identity_flicker(*calm, calm) == pytest.approx(1)
    assert np.isnan(identity_flicker(first, second, (first, first)))
    assert np.isnan(identity_flicker(np.zeros((0, 2)), np.zeros((0, 2))))
    with pytest.raises(ValueError, match="pairs of frames"):
        identity_flicker(first, second[:2])
