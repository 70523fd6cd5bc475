from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import torch
import torch.nn.functional as F

from dp3_lightning.losses import pixel_loss, ring_error
from dp3_lightning.losses.pixel import low_pass
from dp3_lightning.regions import inner_ring, interior


def scene(side: int = 32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    mask = torch.ones(1, 2, 1, 64, 64, dtype=torch.float64)
    mask[..., 10 : 10 + side, 10 : 10 + side] = 0
    real = torch.rand(1, 2, 3, 64, 64, dtype=torch.float64) * 2 - 1
    fake = (mask * real + (1 - mask) * torch.rand_like(real)).requires_grad_()
    return fake, real, mask


@pytest.mark.parametrize("loss", ["mse", "mae"])
@pytest.mark.parametrize("side", [8, 32])
def test_full_mode_by_hand(loss: str, side: int) -> None:
    fake, real, mask = scene(side)
    value = pixel_loss(fake, real, mask, loss, "full")
    inside = (1 - mask).expand_as(real).bool()
    difference = (fake - real)[inside]
    expected = difference.square().mean() if loss == "mse" else difference.abs().mean()
    torch.testing.assert_close(value, expected)
    value.backward()
    by_hand = 2 * difference if loss == "mse" else difference.sign()
    torch.testing.assert_close(fake.grad[inside], (by_hand / difference.numel()).detach())
    assert fake.grad[~inside].abs().sum() == 0


def test_ring_mode_gives_the_interior_no_gradient() -> None:
    fake, real, mask = scene()
    pixel_loss(fake, real, mask, mode="ring").backward()
    assert (fake.grad * interior(mask)).abs().sum() == 0
    assert ((fake.grad * inner_ring(mask)).abs().sum(dim=2) > 0).sum() == inner_ring(mask).sum()


def test_low_pass_sees_the_mean_of_the_interior_and_not_its_detail() -> None:
    _, real, mask = scene()
    real = torch.zeros_like(real)
    inside = interior(mask)
    checker = ((torch.arange(64)[:, None] + torch.arange(64)) % 2 * 2 - 1).double()
    detail = pixel_loss(real + inside * checker * 0.5, real, mask)
    shade = pixel_loss(real + inside * 0.5, real, mask)
    assert shade > 0.1
    assert detail < shade / 100


def test_clips_count_equally_whatever_their_hole() -> None:
    fake, real, mask = scene(32)
    small_fake, small_real, small_mask = scene(8)
    both = pixel_loss(
        torch.cat([fake, small_fake]), torch.cat([real, small_real]), torch.cat([mask, small_mask])
    )
    alone = [pixel_loss(fake, real, mask), pixel_loss(small_fake, small_real, small_mask)]
    torch.testing.assert_close(both, (alone[0] + alone[1]) / 2, rtol=1e-6, atol=1e-9)


def test_ring_error_is_the_mean_absolute_error_of_the_ring() -> None:
    fake, real, mask = scene()
    ring = inner_ring(mask).expand_as(real).bool()
    expected = (fake - real)[ring].abs().mean()
    torch.testing.assert_close(ring_error(fake, real, mask)[0], expected.detach())


def test_no_hole_no_loss() -> None:
    fake, real, mask = scene()
    for mode in ("full", "ring", "ring+low"):
        value = pixel_loss(fake, real, torch.ones_like(mask), mode=mode)
        assert value.item() == 0
        value.backward()
        assert torch.isfinite(fake.grad).all()


def test_the_blur_of_a_clip_is_that_of_its_largest_hole() -> None:
    """One width for all frames of a clip, so that its target does not pulse with the hole."""
    mask = torch.ones(1, 2, 1, 64, 64, dtype=torch.float64)
    mask[:, 0, :, 8:56, 8:56] = 0  # 48 x 48
    mask[:, 1, :, 28:36, 28:36] = 0  # 8 x 8
    dot = torch.zeros(1, 2, 1, 64, 64, dtype=torch.float64)
    dot[..., 32, 32] = 1
    blurred = low_pass(dot, mask)
    torch.testing.assert_close(blurred[:, 0], blurred[:, 1])
    assert blurred.max().item() == pytest.approx(1 / (2 * torch.pi * (48 / 8) ** 2), rel=0.02)


@pytest.mark.parametrize("side", [8, 24, 40])
def test_the_low_pass_is_scipys_gaussian(side: int) -> None:
    mask = torch.ones(1, 1, 1, 64, 64, dtype=torch.float64)
    mask[..., 10 : 10 + side, 12 : 12 + side] = 0
    picture = torch.rand(1, 1, 3, 64, 64, dtype=torch.float64)
    ours = low_pass(picture, mask)[0, 0].numpy()
    theirs = [
        scipy.ndimage.gaussian_filter(channel, side / 8, mode="constant", truncate=8)
        for channel in picture[0, 0].numpy()
    ]
    # Neither cuts its kernel where it counts; kornia's is normalised over a wider one.
    assert np.abs(ours - np.stack(theirs)).max() < 1e-4


@pytest.mark.parametrize(("loss", "theirs"), [("mse", F.mse_loss), ("mae", F.l1_loss)])
def test_a_hole_of_the_whole_frame_is_torchs_own_loss(loss: str, theirs: Any) -> None:
    fake, real, mask = scene()
    ours = pixel_loss(fake, real, torch.zeros_like(mask), loss, "full")
    torch.testing.assert_close(ours, theirs(fake, real))
