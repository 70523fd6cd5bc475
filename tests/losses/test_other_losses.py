import pytest
import torch

from dp3_lightning.losses import identity_hinge, latent_diversity, perceptual_loss
from dp3_lightning.regions import interior


def test_identity_hinge_by_hand() -> None:
    fake = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], requires_grad=True)
    real = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    loss = identity_hinge(fake, real, margin=0.2)
    torch.testing.assert_close(loss.detach(), torch.tensor([0.8, 0.0, 0.5**0.5 - 0.2]))
    loss.sum().backward()
    assert fake.grad[1].abs().sum() == 0  # already another person: no further push


@pytest.mark.parametrize("bad", [float("nan"), 0.0])
def test_faces_that_cannot_be_embedded_do_not_count(bad: float) -> None:
    fake = torch.tensor([[1.0, 0.1], [bad, bad]], requires_grad=True)
    loss = identity_hinge(fake, torch.ones(2, 2))
    loss.sum().backward()
    assert loss[1] == 0
    assert torch.isfinite(fake.grad).all()


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


def mean_distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b).abs().mean(dim=(1, 2, 3))


def test_perceptual_modes() -> None:
    mask = torch.ones(1, 1, 1, 32, 32)
    mask[..., 8:24, 8:24] = 0
    real = torch.zeros(1, 1, 3, 32, 32)
    middle = torch.zeros_like(real)
    middle[..., 14:18, 14:18] = 1
    assert perceptual_loss(middle, real, mask, mean_distance, "ring") == 0
    full = perceptual_loss(middle, real, mask, mean_distance, "full")
    torch.testing.assert_close(full, torch.tensor(16 / 256))  # per generated fraction
    border = torch.zeros_like(real)
    border[..., 8:10, 8:24] = 1
    assert perceptual_loss(border, real, mask, mean_distance, "ring") > 0


def test_identity_hinge_moves_the_generated_face_only() -> None:
    fake = torch.tensor([[1.0, 0.5]], requires_grad=True)
    real = torch.tensor([[1.0, 0.0]], requires_grad=True)
    identity_hinge(fake, real).sum().backward()
    assert fake.grad.abs().sum() > 0
    assert real.grad is None


@pytest.mark.parametrize("gap", [0.5, 2.0, 4.0])
def test_latent_distance_counts_as_it_is_not_squared(gap: float) -> None:
    mask = torch.ones(1, 1, 1, 8, 8)
    mask[..., 2:6, 2:6] = 0
    first, z = torch.zeros(1, 1, 3, 8, 8), torch.zeros(1, 4)
    loss = latent_diversity(first, first + 0.3, z, z + gap, mask, target=1.0)
    torch.testing.assert_close(loss, torch.tensor([1 - 0.3 / gap]))


def test_the_ring_mode_takes_its_target_as_given() -> None:
    """The interior is on both sides; through the target it would get a second gradient."""
    mask = torch.ones(1, 1, 1, 32, 32)
    mask[..., 8:24, 8:24] = 0
    real = torch.rand(1, 1, 3, 32, 32)
    fake = torch.rand(1, 1, 3, 32, 32, requires_grad=True)
    perceptual_loss(fake, real, mask, lambda a, b: (a * b).sum((1, 2, 3)), "ring").backward()
    inside = interior(mask).expand_as(fake).bool()
    expected = fake.detach()[inside] / (16 * 16 / 32**2)  # per generated fraction
    torch.testing.assert_close(fake.grad[inside], expected)


@pytest.mark.assets
def test_mobilenet_distance_orders_distortions() -> None:
    from dp3_lightning.assets import asset_path
    from dp3_lightning.losses.perceptual import MobileNetV2Distance

    torch.manual_seed(0)
    distance = MobileNetV2Distance(asset_path("mobilenet_v2"))
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8), 64, mode="bilinear") * 2 - 1
    slight, strong = image + 0.05 * torch.randn_like(image), image + 0.5 * torch.randn_like(image)
    values = [distance(image, other).item() for other in (image, slight, strong)]
    assert values[0] < 1e-9
    assert values[0] < values[1] < values[2]
