import pytest
import torch

from dp3_lightning.regions import (
    hole,
    inner_ring,
    interior,
    masked_mean,
    outer_ring,
    seam,
)


def mask_with_box(x0: int, y0: int, x1: int, y1: int, size: int = 64) -> torch.Tensor:
    mask = torch.ones(1, 1, 1, size, size)
    mask[..., y0:y1, x0:x1] = 0
    return mask


def test_regions_of_a_known_box() -> None:
    mask = mask_with_box(16, 24, 48, 56)  # 32 x 32: the inner ring is 4 px wide
    assert hole(mask).sum() == 32 * 32
    assert seam(mask).sum() == 34 * 34
    assert interior(mask).sum() == 24 * 24
    assert inner_ring(mask).sum() == 32 * 32 - 24 * 24
    assert torch.equal(inner_ring(mask) + interior(mask), hole(mask))
    assert (outer_ring(mask) * hole(mask)).sum() == 0
    assert outer_ring(mask).sum() == 40 * 40 - 32 * 32  # 64 / 16 = 4 px


def test_ring_width_follows_each_hole_of_a_batch() -> None:
    masks = torch.cat([mask_with_box(8, 8, 40, 40), mask_with_box(8, 8, 16, 16)])
    assert inner_ring(masks).flatten(1).sum(1).tolist() == [32**2 - 24**2, 8**2 - 6**2]


def test_hole_at_the_edge_of_the_frame_has_no_ring_there() -> None:
    ring = inner_ring(mask_with_box(0, 16, 32, 48))[0, 0, 0]
    assert ring[32, 0] == 0
    assert ring[32, 31] == 1


def test_masked_mean_counts_only_the_mask_and_survives_an_empty_one() -> None:
    values = torch.tensor([[1.0, 3.0, 100.0], [5.0, 6.0, 7.0]], requires_grad=True)
    mean = masked_mean(values, torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    assert mean.tolist() == [2.0, 0.0]
    mean.sum().backward()
    assert values.grad.tolist() == [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize("fraction", [1.0, 0.0])
def test_full_and_empty_masks(fraction: float) -> None:
    mask = torch.full((1, 1, 1, 8, 8), fraction)
    assert torch.isfinite(inner_ring(mask)).all()
    assert (interior(mask) + inner_ring(mask)).sum() == (1 - fraction) * 64
