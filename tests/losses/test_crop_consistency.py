from __future__ import annotations

import kornia
import pytest
import torch
from torchvision.transforms.v2.functional import affine

from dp3_lightning.losses.crop_consistency import (
    crop_consistency,
    jittered_mask,
    shifted,
    stays_inside,
)


def mask_of(*boxes: tuple[int, int, int, int], size: int = 40) -> torch.Tensor:
    """One clip of one frame per box."""
    mask = torch.ones(len(boxes), 1, 1, size, size)
    for row, (x0, y0, x1, y1) in zip(mask, boxes, strict=True):
        row[..., y0:y1, x0:x1] = 0
    return mask


def boxes_of(mask: torch.Tensor) -> list[list[int]]:
    found = []
    for row in mask[:, 0, 0]:
        places = torch.nonzero(row == 0)
        (y0, x0), (y1, x1) = places.amin(0).tolist(), (places.amax(0) + 1).tolist()
        assert (row[y0:y1, x0:x1] == 0).all()  # still a rectangle
        found.append([x0, y0, x1, y1])
    return found


def test_without_jitter_the_mask_stays() -> None:
    mask = mask_of((10, 12, 30, 36), (0, 0, 7, 9))
    zero = torch.zeros(2, 2)
    assert torch.equal(jittered_mask(mask, zero, zero), mask)


def test_holes_move_and_grow_in_their_own_sides() -> None:
    mask = mask_of((10, 12, 30, 36), (10, 12, 30, 36))
    shift = torch.tensor([[0.1, -0.25], [0.0, 0.0]])  # 2 of 20 px right, 6 of 24 px up
    growth = torch.tensor([[0.0, 0.0], [0.2, -0.5]])  # 24 px wide, 12 px high
    assert boxes_of(jittered_mask(mask, shift, growth)) == [[12, 6, 32, 30], [8, 18, 32, 30]]


def test_every_frame_of_a_clip_moves_alike_and_no_hole_stays_none() -> None:
    first, second = mask_of((10, 12, 30, 36)), mask_of((4, 4, 24, 24))
    clip = torch.cat([first, second], dim=1)
    moved = jittered_mask(clip, torch.tensor([[0.1, 0.0]]), torch.zeros(1, 2))
    assert boxes_of(moved.transpose(0, 1)) == [[12, 12, 32, 36], [6, 4, 26, 24]]
    nothing = torch.ones(1, 1, 1, 40, 40)
    assert torch.equal(jittered_mask(nothing, torch.ones(1, 2), torch.zeros(1, 2)), nothing)


def test_shifting_there_and_back_changes_only_what_left_the_picture() -> None:
    clips = torch.rand(2, 3, 3, 20, 24)
    pixels = torch.tensor([[3, -2], [0, 5]])
    moved = shifted(clips, pixels)
    assert torch.equal(moved[0, ..., :-2, 3:], clips[0, ..., 2:, :-3])
    back = shifted(moved, -pixels)
    inside = stays_inside(clips, pixels).expand_as(clips).bool()
    assert torch.equal(back[inside], clips[inside])
    assert inside[0].sum() == 9 * 18 * 21
    assert inside[1].sum() == 9 * 15 * 24
    assert not torch.equal(back, clips)


def test_the_loss_is_the_difference_where_both_were_drawn() -> None:
    first = torch.zeros(2, 1, 3, 8, 8)
    second = first.clone()
    second[..., :4] = 0.5
    compared = torch.zeros(2, 1, 1, 8, 8)
    compared[0, ..., 2:6] = 1
    expected = [0.5 * (0.5**2 + 1e-6) ** 0.5 - 0.5e-3 + 0.5 * 0.0, 0.0]
    assert crop_consistency(first, second, compared).tolist() == pytest.approx(expected, abs=1e-5)


def test_the_difference_is_kornias_charbonnier_at_our_scale() -> None:
    """Kornia's has an epsilon of 1: ours is that of differences divided by 1e-3, times 1e-3."""
    first, second = torch.randn(2, 2, 1, 3, 8, 8, dtype=torch.float64) * 0.01
    everywhere = torch.ones(2, 1, 1, 8, 8, dtype=torch.float64)
    theirs = kornia.losses.charbonnier_loss(first / 1e-3, second / 1e-3, reduction="none") * 1e-3
    ours = crop_consistency(first, second, everywhere)
    torch.testing.assert_close(ours, theirs.flatten(1).mean(1))


def test_masks_move_as_torchvision_moves_them() -> None:
    mask = mask_of((10, 12, 30, 36))
    moved = jittered_mask(mask, torch.tensor([[0.2, -0.25]]), torch.zeros(1, 2))
    expected = affine(1 - mask[:, 0], angle=0.0, translate=[4, -6], scale=1.0, shear=[0.0])
    assert torch.equal(1 - moved[:, 0], expected)
