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
    fit_response,
    shrunk_covariance,
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
