import numpy as np
import pytest
import torch

from dp3_lightning.losses import latent_diversity


@pytest.mark.parametrize("target", [0.05, 0.5, 5.0])
def test_equals_the_formula_of_mode_seeking(target: float) -> None:
    """The ratio of Mao et al., equation 2 (https://arxiv.org/abs/1903.05628), as a hinge."""
    rng = np.random.default_rng(0)
    keep = (rng.random((3, 2, 1, 8, 8)) > 0.4).astype(np.float64)
    first, second = rng.normal(size=(2, 3, 2, 3, 8, 8))
    z_first, z_second = rng.normal(size=(2, 3, 5))
    expected = []
    for b in range(3):
        hole = np.broadcast_to(keep[b] == 0, first[b].shape)
        images = np.abs(first[b] - second[b])[hole].mean()
        ratio = images / np.abs(z_first[b] - z_second[b]).mean()
        expected.append(max(target - ratio, 0.0))
    tensors = [torch.from_numpy(v) for v in (first, second, z_first, z_second, keep)]
    assert latent_diversity(*tensors, target).tolist() == pytest.approx(expected)


def test_latent_diversity_punishes_an_inert_latent_only() -> None:
    mask = torch.ones(2, 1, 1, 8, 8)
    mask[..., 2:6, 2:6] = 0
    first = torch.zeros(2, 1, 3, 8, 8)
    second = first.clone()
    second[1] += 0.5
    z = torch.zeros(2, 4)
    loss = latent_diversity(first, second, z, z + 1, mask, target=0.1)
    torch.testing.assert_close(loss, torch.tensor([0.1, 0.0]))
    assert latent_diversity(first, second, z, z + 1, torch.ones_like(mask), 0.1).sum() == 0


@pytest.mark.parametrize("gap", [0.5, 2.0, 4.0])
def test_latent_distance_counts_as_it_is_not_squared(gap: float) -> None:
    mask = torch.ones(1, 1, 1, 8, 8)
    mask[..., 2:6, 2:6] = 0
    first, z = torch.zeros(1, 1, 3, 8, 8), torch.zeros(1, 4)
    loss = latent_diversity(first, first + 0.3, z, z + gap, mask, target=1.0)
    torch.testing.assert_close(loss, torch.tensor([1 - 0.3 / gap]))
