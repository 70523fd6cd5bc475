from __future__ import annotations

import pytest
import torch

from dp3_lightning.generators.face_prior.latent_space import LatentSpace
from dp3_lightning.generators.face_prior.mapping import MobileStyleGANMapping


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4))


def test_coordinates_go_along_the_axes_by_their_deviation() -> None:
    axes = torch.linalg.qr(normal(5, 5))[0]
    space = LatentSpace(normal(5) + 1, axes, torch.tensor([4.0, 2.0, 1.0, 0.5, 0.1]))
    torch.testing.assert_close(space.color(torch.zeros(5)), space.mean)
    for number, unit in enumerate(torch.eye(5)):
        step = space.color(unit) - space.mean
        torch.testing.assert_close(step, space.scale[number] * axes[:, number])
    u = normal(3, 2, 5)
    torch.testing.assert_close(space.whiten(space.color(u)), u, rtol=1e-4, atol=1e-4)


def test_shipped_space_is_orthogonal_and_inverted() -> None:
    space = LatentSpace.load()
    assert (space.axes.T @ space.axes - torch.eye(512)).abs().max() < 1e-3
    assert (space.scale.diff() <= 0).all()
    assert space.scale[-1] > 0
    u = normal(16, 512)
    assert (space.whiten(space.color(u)) - u).abs().max() < 0.01
    w = space.color(u)
    assert (space.color(space.whiten(w)) - w).abs().max() < 0.005
    assert not space.state_dict()  # shipped with the package, not with checkpoints


@pytest.mark.assets
def test_random_people_have_variance_1() -> None:
    mapping = MobileStyleGANMapping.from_package()
    u = LatentSpace.load().whiten(mapping(normal(4000, 512)))
    assert u.mean(0).abs().max() < 0.1
    assert (u.var(0) - 1).abs().mean() < 0.05
    assert (u[:, :16].var(0) - 1).abs().max() < 0.15
    correlation = (u.T @ u / len(u)).fill_diagonal_(0)
    assert correlation.abs().mean() < 0.02
