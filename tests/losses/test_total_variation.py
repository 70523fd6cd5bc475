import kornia
import pytest
import torch

from dp3_lightning.losses import temporal_variation, total_variation


def test_equals_kornia_when_the_hole_fills_the_frame() -> None:
    clip = torch.randn(2, 3, 3, 12, 10, dtype=torch.float64)
    ours = total_variation(clip, torch.zeros(2, 3, 1, 12, 10, dtype=torch.float64))
    theirs = kornia.losses.total_variation(clip, reduction="sum").sum((1, 2)) / clip[0].numel()
    torch.testing.assert_close(ours, theirs.mean())


def test_value_and_gradient_by_hand() -> None:
    clip = torch.zeros(1, 1, 1, 5, 5, dtype=torch.float64)
    clip[0, 0, 0, 2, 2] = 0.5
    clip[0, 0, 0, 0, 0] = 9.0  # far from the hole: counts nowhere
    clip.requires_grad_()
    mask = torch.ones(1, 1, 1, 5, 5, dtype=torch.float64)
    mask[..., 2, 2] = 0
    loss = total_variation(clip, mask)
    assert loss.item() == pytest.approx(4 * 0.5)  # four neighbours in the seam, one hole pixel
    loss.backward()
    assert clip.grad[0, 0, 0, 2, 2] == 4
    assert clip.grad[0, 0, 0, 2, 1] == -1
    assert clip.grad[0, 0, 0, 0].abs().sum() == 0


def test_same_texture_costs_the_same_in_small_and_large_holes() -> None:
    stripes = (torch.arange(64) % 2).double().expand(1, 1, 1, 64, 64)
    losses = []
    for side in (8, 32):
        mask = torch.ones(1, 1, 1, 64, 64, dtype=torch.float64)
        mask[..., 8 : 8 + side, 8 : 8 + side] = 0
        losses.append(total_variation(stripes, mask).item())
    assert losses == pytest.approx([1.125, 33 / 32])  # (side + 1) / side differences per pixel


def test_gradcheck_and_clip_without_a_hole() -> None:
    clip = torch.randn(1, 2, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    mask = (torch.rand(1, 2, 1, 4, 5) > 0.5).double()
    assert torch.autograd.gradcheck(lambda c: total_variation(c, mask), (clip,))
    assert total_variation(clip, torch.ones_like(mask)).item() == 0


def test_temporal_variation_reaches_both_frames_and_follows_the_motion() -> None:
    frame = torch.rand(3, 16, 16, dtype=torch.float64)
    clip = torch.stack([frame, frame.roll(2, dims=2)])[None].requires_grad_()
    mask = torch.ones(1, 2, 1, 16, 16, dtype=torch.float64)
    mask[..., 4:12, 4:12] = 0
    flow = torch.zeros(1, 1, 2, 16, 16, dtype=torch.float64)
    visible = torch.ones(1, 1, 1, 16, 16, dtype=torch.float64)
    still = temporal_variation(clip, mask, flow, visible)
    still.backward()
    assert (clip.grad[0].abs().sum(dim=(1, 2, 3)) > 0).all()
    flow[:, :, 0] = -2
    assert temporal_variation(clip, mask, flow, visible).item() < 1e-6 < still.item()
