from pathlib import Path

import lpips
import pytest
import torch
from torchvision.models import mobilenet_v2
from torchvision.models.feature_extraction import create_feature_extractor

from dp3_lightning.losses import perceptual_loss
from dp3_lightning.losses.perceptual import MobileNetV2Distance
from dp3_lightning.regions import interior


def test_the_distance_is_lpips_without_learnt_weights(tmp_path: Path) -> None:
    """Of another trunk: torchvision's own extractor, LPIPS's own normalisation and averaging."""
    torch.manual_seed(0)
    trunk = mobilenet_v2(weights=None).train()
    for layer in trunk.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0  # one batch decides, so that deep features do not vanish
    trunk(torch.randn(8, 3, 64, 64))
    trunk.eval()
    torch.save(trunk.state_dict(), tmp_path / "random.pth")
    ours = MobileNetV2Distance(tmp_path / "random.pth")
    nodes = [f"features.{i}" for i in (1, 3, 6, 13, 17)]
    extractor = create_feature_extractor(trunk, nodes).eval()
    mean, std = (
        torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    first, second = torch.rand(2, 2, 3, 64, 64) * 2 - 1
    stages = [extractor(((x + 1) / 2 - mean) / std) for x in (first, second)]
    values = [
        lpips.spatial_average(
            (lpips.normalize_tensor(stages[0][n]) - lpips.normalize_tensor(stages[1][n])).square()
        ).sum(1)
        for n in nodes
    ]
    expected = torch.stack(values).mean(0)
    torch.testing.assert_close(ours(first, second).flatten(), expected.flatten(), rtol=1e-4, atol=0)


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

    torch.manual_seed(0)
    distance = MobileNetV2Distance(asset_path("mobilenet_v2"))
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8), 64, mode="bilinear") * 2 - 1
    slight, strong = image + 0.05 * torch.randn_like(image), image + 0.5 * torch.randn_like(image)
    values = [distance(image, other).item() for other in (image, slight, strong)]
    assert values[0] < 1e-9
    assert values[0] < values[1] < values[2]
