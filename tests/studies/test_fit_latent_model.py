from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dp3_lightning.data.face_shards import measures_path, shard_path
from dp3_lightning.generators.face_prior.latent_model import DIRECTIONS, EXPRESSION, LOOK, MOTION
from dp3_lightning.generators.face_prior.latent_space import LatentSpace
from dp3_lightning.studies.fit_latent_model import fit_latent_model
from tests.face_prior_fixtures import aligned_mesh, smooth_pictures, write_shard

N = 900


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    """Faces whose yaw follows the first latent axis, mouth the second, lightness the third."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(2):
        path = shard_path(tmp_path, number)
        write_shard(tmp_path, number, smooth_pictures(1) * N)
        u = LatentSpace.load().whiten(load_file(path)["styles"]).double().numpy()
        mesh = np.repeat(aligned_mesh(256)[None], N, 0) + rng.normal(scale=0.1, size=(N, 468, 3))
        mesh[:, [14, 87, 317], 1] += 3 + u[:, 1:2]
        angle = np.radians(8 * u[:, 0])
        turn = np.zeros((N, 3, 3))
        turn[:, 0, 0], turn[:, 0, 2] = np.cos(angle), np.sin(angle)
        turn[:, 2, 0], turn[:, 2, 2] = -np.sin(angle), np.cos(angle)
        turn[:, 1, 1] = 1
        center = mesh.mean((0, 1))
        measures = load_file(measures_path(path))
        turned = np.einsum("nij,npj->npi", turn, mesh - center) + center
        measures["mesh"] = torch.from_numpy(turned.astype(np.float32))
        measures["appearance"][:, 0] = torch.from_numpy(50 + 10 * u[:, 2])
        measures["valid"][5] = False
        measures["mesh"][5], measures["embedding"][5] = 0, 1e4  # what was not found does not count
        save_file(measures, measures_path(path))
        found.append(path)
    return found


def test_attributes_are_found_where_they_were_put(shards: list[Path]) -> None:
    model, quality = fit_latent_model(shards, LatentSpace.load())
    for name, axis in (("yaw", 0), ("mouth_open", 1), ("skin_l", 2)):
        column = model.response[:, model.index(name)[0]]
        assert np.abs(column).argmax() == axis
        assert column[axis] == pytest.approx(1.0, abs=0.15)  # all of a standard deviation
        assert np.abs(np.delete(column, axis)).max() < 0.3
        assert quality[name] > 0.7
    assert quality["pitch"] < 0.1
    assert quality["identity"] < 0.1
    assert set(quality) == {*MOTION, *LOOK, "identity"}


def test_units_are_natural(shards: list[Path]) -> None:
    model, _ = fit_latent_model(shards, LatentSpace.load())
    yaw, light = model.index("yaw", "skin_l")
    assert model.deviation[yaw] == pytest.approx(8, rel=0.1)  # degrees
    assert model.mean[light] == pytest.approx(50, abs=1)
    assert model.deviation[light] == pytest.approx(10, rel=0.1)
    assert len(model.mean) == 2 + len(EXPRESSION) + len(LOOK) + 100 + len(DIRECTIONS)
    np.testing.assert_allclose(np.linalg.norm(model.reference[33] - model.reference[263]), 1.0)
    np.testing.assert_allclose(model.identity_axes @ model.identity_axes.T, np.eye(100), atol=1e-9)
    assert np.abs(model.identity_mean).max() < 1
    assert np.abs(model.mean[model.identity]).max() < 1e-9  # about the mean embedding


def test_spread_is_that_of_the_residuals(shards: list[Path]) -> None:
    plain, _ = fit_latent_model(shards, LatentSpace.load())
    np.testing.assert_array_equal(plain.spread, np.eye(512))
    residuals = np.random.default_rng(1).normal(size=(800, 512)) * 0.5
    residuals[:, 0] *= 2
    model, _ = fit_latent_model(shards, LatentSpace.load(), residuals)
    assert model.spread[0, 0] == pytest.approx(1.03, abs=0.15)
    assert np.diag(model.spread)[1:].mean() == pytest.approx(0.28, abs=0.01)
    assert np.linalg.eigvalsh(model.spread)[0] > 0.03
