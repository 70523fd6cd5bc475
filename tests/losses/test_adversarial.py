import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dp3_lightning.losses.adversarial import (
    discriminator_adversarial_loss,
    epsilon_penalty,
    generator_adversarial_loss,
    r1_gradient_penalty,
)


def scores(seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return 6 * torch.randn(40, generator=rng, dtype=torch.float64)


def test_both_losses_are_binary_cross_entropy_on_logits() -> None:
    """Non-saturating: the generator is to have its pictures called real."""
    real, fake = scores(0), scores(1)
    bce, one, zero = F.binary_cross_entropy_with_logits, torch.ones_like(real), torch.zeros(40)
    torch.testing.assert_close(generator_adversarial_loss(fake), bce(fake, one))
    expected = bce(real, one) + bce(fake, zero.double())
    torch.testing.assert_close(discriminator_adversarial_loss(real, fake), expected)


def test_the_epsilon_penalty_is_the_squared_distance_to_zero() -> None:
    torch.testing.assert_close(epsilon_penalty(scores(0)), F.mse_loss(scores(0), torch.zeros(40)))


def critic(images: Tensor) -> Tensor:
    """Looks at every pixel in a way of its own."""
    weights = torch.linspace(-1, 1, images[0].numel(), dtype=images.dtype).view_as(images[0])
    return (torch.tanh(images * weights) * images.square()).flatten(1).sum(1)


@pytest.mark.parametrize("masked", [False, True])
def test_r1_is_the_squared_jacobian(masked: bool) -> None:
    """By torch.func.jacrev, which differentiates one image at a time."""
    images = torch.randn(3, 2, 4, 5, dtype=torch.float64)
    keep = (torch.rand(3, 1, 4, 5) > 0.5).double()
    jacobian = torch.func.vmap(torch.func.jacrev(lambda x: critic(x[None])[0]))(images)
    counted = jacobian * (1 - keep) if masked else jacobian
    expected = counted.square().flatten(1).sum(1)
    leaf = images.clone().requires_grad_()
    mask = keep if masked else None
    penalty = r1_gradient_penalty(critic(leaf), leaf, mask)
    torch.testing.assert_close(penalty, expected)
    if masked:
        share = 2 * 4 * 5 / (1 - keep).flatten(1).sum(1)
        scaled = r1_gradient_penalty(critic(leaf), leaf, keep, scale_by_hole=True)
        torch.testing.assert_close(scaled, expected * share)


def test_r1_can_be_trained_through() -> None:
    factor = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    images = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    r1_gradient_penalty((factor * images).flatten(1).sum(1), images).sum().backward()
    assert factor.grad.item() == pytest.approx(2 * 1.5 * images.numel())  # of factor^2 per value
