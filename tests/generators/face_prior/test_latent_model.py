from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dp3_lightning.generators.face_prior.latent_model import (
    DIRECTIONS,
    LOOK,
    MOTION,
    N_IDENTITY,
    LatentModel,
    fit_masculine,
    fit_response,
    fit_young,
    shrunk_covariance,
    with_direction,
)


def small_model(noise: float = 1e-10, n: int = 5, width: int = 8) -> LatentModel:
    rng = np.random.default_rng(2)
    root = rng.normal(size=(width, width))
    return LatentModel(
        response=rng.normal(size=(width, n)),
        noise=noise * (np.eye(n) + 0.1),
        mean=rng.normal(size=n),
        deviation=rng.uniform(0.5, 2, n),
        spread=root @ root.T + 0.1 * np.eye(width),
        identity_mean=rng.normal(size=4),
        identity_axes=rng.normal(size=(2, 4)),
        reference=rng.normal(size=(468, 3)),
        rest=rng.normal(size=11),
    )


# ------------------------------------------------------------------------------------ fit


def linear_data(n: int = 20_000) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    scale = np.array([3.0, 2.0, 1.0, 1.0, 0.5, 0.25])
    response = rng.normal(size=(6, 3)) * 0.4
    latents = rng.normal(size=(n, 6))
    attributes = latents @ response + rng.normal(size=(n, 3)) * [0.1, 0.3, 0.6]
    return latents, scale, response, attributes


def test_fit_recovers_the_response_and_what_it_leaves() -> None:
    latents, scale, response, attributes = linear_data()
    fitted, noise, explained = fit_response(latents, scale, attributes)
    # Ridge shrinks an axis by g / (g + 0.12) where g is its share of the variance of styles.
    power = scale**2 / np.mean(scale**2)
    shrunk = response * (power / (power + 0.12))[:, None]
    np.testing.assert_allclose(fitted, shrunk, atol=0.02)
    np.testing.assert_allclose(fitted[0], response[0], atol=0.04)  # a wide axis is recovered
    missed = response - shrunk
    left = missed.T @ missed + np.diag([0.01, 0.09, 0.36])
    np.testing.assert_allclose(noise, left, atol=0.03)
    np.testing.assert_allclose(explained, 1 - np.diag(left) / attributes.var(0), atol=0.03)


def test_quality_is_judged_on_faces_that_the_fit_did_not_see() -> None:
    latents, scale, _, attributes = linear_data(2000)
    np.random.default_rng(5).shuffle(attributes[-200:])
    *_, explained = fit_response(latents, scale, attributes)
    assert (explained < 0.1).all()
    rng = np.random.default_rng(6)  # few faces, many axes: any fit explains its own faces
    *_, explained = fit_response(rng.normal(size=(200, 60)), np.ones(60), rng.normal(size=(200, 4)))
    assert (explained < 0.1).all()


def test_shrunk_covariance_keeps_variances_and_pulls_the_rest_to_zero() -> None:
    rng = np.random.default_rng(1)
    residuals = rng.normal(size=(40_000, 3)) @ np.array([[1, 0.5, 0], [0, 1, 0], [0, 0, 0.1]])
    full = np.cov(residuals.T)
    shrunk = shrunk_covariance(residuals)
    np.testing.assert_allclose(np.diag(shrunk), np.diag(full) + 0.03)
    np.testing.assert_allclose(shrunk[0, 1], 0.85 * full[0, 1])


# ----------------------------------------------------------------------------------- gain


def test_driven_attributes_get_their_values_and_kept_ones_stay() -> None:
    model = small_model()
    wanted = np.array([1.5, -2.0])
    moved = model.predict(model.gain([0, 3], kept=[1]) @ wanted)
    np.testing.assert_allclose(moved[[0, 3]], wanted, atol=1e-6)
    assert abs(moved[1]) < 1e-6
    free = model.predict(model.gain([0, 3]) @ wanted)
    np.testing.assert_allclose(free[[0, 3]], wanted, atol=1e-6)
    assert abs(free[1]) > 0.05  # it would move


def test_gain_of_one_attribute_by_hand() -> None:
    model = small_model(noise=2.0)
    column = model.response[:, 2]
    expected = model.spread @ column / (column @ model.spread @ column + 0.25 * 2.2)
    np.testing.assert_allclose(model.gain([2])[:, 0], expected)
    exact = model.spread @ column / (column @ model.spread @ column)
    np.testing.assert_allclose(model.gain([2], driven_noise=0.0)[:, 0], exact)
    held = [model.predict(model.gain([2], [0], 0.0, noise)[:, 0])[0] for noise in (0, 0.1, 1e9)]
    assert held[0] == pytest.approx(0, abs=1e-9)
    assert 0 < abs(held[1]) < abs(held[2])


def test_noise_of_each_driven_attribute() -> None:
    model = small_model(noise=2.0)
    both = [0, 2, 1]
    response, noise = model.response[:, both], np.diag([0.1 * 2.2, 0.5 * 2.2, 0.1 * 2.2])
    total = response.T @ model.spread @ response + noise
    expected = (model.spread @ response @ np.linalg.inv(total))[:, :2]
    np.testing.assert_allclose(model.gain([0, 2], [1], [0.1, 0.5]), expected)
    np.testing.assert_allclose(model.gain([2], [0], 1), model.gain([2], [0], [1.0]))


def test_standardised_values() -> None:
    model = small_model()
    natural = model.mean[[1, 4]] + np.array([2.0, -1.0]) * model.deviation[[1, 4]]
    np.testing.assert_allclose(model.standardise(natural, [1, 4]), [2.0, -1.0])


# ---------------------------------------------------------------------------------- files


def arrays(model: LatentModel) -> dict[str, np.ndarray]:
    return {f.name: getattr(model, f.name) for f in dataclasses.fields(model)}


def test_saved_model_comes_back_within_half_precision(tmp_path: Path) -> None:
    model = small_model()
    model.save(tmp_path / "model.safetensors")
    loaded = LatentModel.load(tmp_path / "model.safetensors")
    for name, value in arrays(loaded).items():
        assert value.dtype == np.float64
        np.testing.assert_allclose(value, arrays(model)[name], rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(loaded.mean, model.mean, rtol=1e-7)


def test_model_can_be_saved_after_its_use(tmp_path: Path) -> None:
    model = small_model()
    assert model.spread_root.shape == model.spread.shape
    model.gain([0])
    model.save(tmp_path / "model.safetensors")
    LatentModel.load(tmp_path / "model.safetensors")


def test_shipped_model() -> None:
    model = LatentModel.load()
    n = len(MOTION) + len(LOOK) + N_IDENTITY + len(DIRECTIONS)
    assert model.response.shape == (512, n)
    assert model.noise.shape == (n, n)
    assert model.reference.shape == (468, 3)
    assert len(model.identity) == N_IDENTITY
    assert all(np.isfinite(value).all() for value in arrays(model).values())
    assert (model.deviation > 0).all()
    assert np.linalg.eigvalsh(model.spread)[0] > 1e-3
    np.testing.assert_allclose(np.linalg.norm(model.reference[33] - model.reference[263]), 1.0)
    root = model.spread_root
    assert np.allclose(root, np.tril(root))
    np.testing.assert_allclose(root @ root.T, model.spread, atol=2e-4)


def test_attributes_are_found_by_name() -> None:
    model = LatentModel.load()
    assert model.index("yaw", "skin_l", "lips") == [0, 10, 16]
    assert model.motion == model.index(*MOTION)
    assert model.identity[0] == 17
    with pytest.raises(ValueError, match="hair"):
        model.index("yaw", "hair")


def test_directions_are_found_behind_the_identity() -> None:
    model = LatentModel.load()
    first = len(MOTION) + len(LOOK) + N_IDENTITY
    assert model.index("masculine", "young") == [first, first + 1]
    assert model.identity == list(range(17, first))
    assert len(model.mean) == first + 2
    # Men have less red lips, and their chins are darker.
    beard, lips, man, young = model.index("beard", "lips", "masculine", "young")
    shared = model.response.T @ model.spread @ model.response
    shared /= np.sqrt(np.outer(np.diag(shared), np.diag(shared)))
    assert shared[man, lips] < -0.2
    assert shared[man, beard] < -0.2
    assert shared[man, young] < 0.3


# ----------------------------------------------------------------------------- directions


def people(n: int = 3000, width: int = 12, men: float = 0.0) -> tuple[np.ndarray, ...]:
    """Latents, a planted direction to men, and looks by it: red lips and dark chins."""
    rng = np.random.default_rng(4)
    planted = rng.normal(size=width)
    planted /= np.linalg.norm(planted)
    latents = rng.normal(size=(n, width))
    sex = latents @ planted + men
    look = rng.normal(size=(n, len(LOOK)))
    look[:, LOOK.index("lips")] = -1.2 * sex + 0.6 * rng.normal(size=n)
    look[:, LOOK.index("beard")] = -1.2 * sex + 0.6 * rng.normal(size=n)
    return latents, look, planted


def test_the_direction_to_men_is_recovered() -> None:
    latents, look, planted = people()
    direction, middle, deviation = fit_masculine(latents, look)
    assert direction @ planted / np.linalg.norm(direction) > 0.97  # and its sign
    assert (latents @ direction).std() == pytest.approx(1)
    # In the middle lie as many men as women; the odds tell most of them apart.
    assert abs(middle / deviation) < 0.15
    odds = middle + deviation * (latents @ direction)
    men = latents @ planted > 0
    assert ((odds > 0) == men).mean() > 0.93
    assert deviation > 1


@pytest.mark.parametrize(("share", "sign"), [(-0.5, -1), (0.5, 1)])
def test_the_middle_between_the_sexes_is_found_among_more_of_one(share: float, sign: int) -> None:
    latents, look, _ = people(men=share)
    _, middle, deviation = fit_masculine(latents, look)
    between = -middle / deviation  # where the odds are even, in deviations
    assert np.sign(middle) == sign
    assert between == pytest.approx(-share, abs=0.2)


def test_looks_beside_lips_and_chin_say_nothing_about_men() -> None:
    latents, look, _ = people()
    other = look.copy()
    kept = [LOOK.index("lips"), LOOK.index("beard")]
    free = [n for n in range(len(LOOK)) if n not in kept]
    other[:, free] = 50.0
    np.testing.assert_array_equal(fit_masculine(latents, look)[0], fit_masculine(latents, other)[0])


@pytest.mark.parametrize("missing", ["men", "women"])
def test_too_few_of_either_are_refused_with_their_numbers(missing: str) -> None:
    latents, look, _ = people()
    beard, lips = look[:, LOOK.index("beard")], look[:, LOOK.index("lips")]
    men, women = (beard < -1) & (lips < 0), (lips > 1) & (beard > 0)
    gone = men if missing == "men" else women
    kept = np.ones(len(look), bool)
    kept[np.flatnonzero(gone)[4:]] = False
    numbers = (4, women.sum()) if missing == "men" else (men.sum(), 4)
    with pytest.raises(ValueError, match=f"got {numbers[0]} and {numbers[1]}.*synth-faces"):
        fit_masculine(latents[kept], look[kept])
    kept[np.flatnonzero(gone)[4]] = True
    fit_masculine(latents[kept], look[kept])


def grown(latents: np.ndarray, young: np.ndarray, mouth: np.ndarray) -> np.ndarray:
    """Meshes whose nose and jaw shrink along one direction, and whose mouth opens along another."""
    reference = LatentModel.load().reference
    faces = np.repeat(reference[None], len(latents), 0)
    age, opening = latents @ young, 0.1 * (latents @ mouth)
    faces[:, 2, 1] -= 0.02 * age  # nose
    faces[:, [14, 87, 317], 1] += opening[:, None]
    faces[:, 152, 1] += -0.05 * age + 0.9 * opening  # the jaw goes down with the lower lip
    return faces


def test_the_direction_to_children_is_recovered_without_open_mouths() -> None:
    rng = np.random.default_rng(3)
    axes = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    latents = rng.normal(size=(4000, 12))
    direction, middle, deviation = fit_young(latents, grown(latents, axes[0], axes[1]))
    unit = direction / np.linalg.norm(direction)
    assert unit @ axes[0] > 0.97  # small noses and jaws are young
    assert abs(unit @ axes[1]) < 0.1
    assert (latents @ direction).std() == pytest.approx(1)
    assert (middle, deviation) == (0.0, 1.0)
    # An open mouth alone makes nobody older.
    shut, opened = (
        fit_young(latents, grown(latents, axes[0], axis))[0] for axis in (0 * axes[1], axes[1])
    )
    np.testing.assert_allclose(shut, opened, atol=0.05)


def test_a_direction_becomes_one_more_attribute() -> None:
    model = small_model(noise=2.0)
    direction = np.random.default_rng(0).normal(size=8)
    response, noise, mean, deviation = with_direction(
        model.response, model.noise, model.mean, model.deviation, (direction, 0.3, 4.0)
    )
    assert response.shape == (8, 6)
    np.testing.assert_array_equal(response[:, :5], model.response)
    np.testing.assert_array_equal(response[:, 5], direction)
    np.testing.assert_array_equal(noise[:5, :5], model.noise)
    assert not noise[5, :5].any()
    assert not noise[:5, 5].any()
    assert 0 < noise[5, 5] < 0.1  # a latent says it nearly exactly
    assert (mean[5], deviation[5]) == (0.3, 4.0)
    wider = dataclasses.replace(
        model, response=response, noise=noise, mean=mean, deviation=deviation
    )
    assert wider.predict(wider.gain([5])[:, 0])[5] == pytest.approx(1, abs=0.05)
