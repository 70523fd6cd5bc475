from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dp3_lightning.data.synthetic import SyntheticClip, synthetic_clip
from dp3_lightning.optical_flow import backward_warp, in_bounds, occlusion_mask, visibility_mask


def constant_flow(dx: float, dy: float, height: int, width: int) -> Tensor:
    return torch.tensor([dx, dy], dtype=torch.float32).view(1, 2, 1, 1).repeat(1, 1, height, width)


def iou(a: Tensor, b: Tensor) -> float:
    return ((a & b).sum() / (a | b).sum()).item()


def square_scene(shift: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """A 20 px square that moves right over a still background, frames t-1 -> t.

    Returns flow_to_previous, flow_from_previous and what of frame t was hidden in t-1.
    """
    to_previous, from_previous = torch.zeros(1, 2, 64, 64), torch.zeros(1, 2, 64, 64)
    hidden = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    from_previous[:, 0, 20:40, 16:36] = shift
    to_previous[:, 0, 20:40, 16 + shift : 36 + shift] = -shift
    hidden[:, :, 20:40, 16 : 16 + shift] = True  # the background that the square uncovered
    return to_previous, from_previous, hidden


@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (0, -2), (-4, 5)])
def test_integer_shift_is_exact_at_powers_of_two(dx: int, dy: int) -> None:
    image = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    flow = constant_flow(dx, dy, 32, 64)
    inside = in_bounds(flow)[0, 0]
    # out(p) = image(p + flow): content moves against the flow.
    expected = torch.roll(image, (-dy, -dx), dims=(2, 3))
    assert torch.equal(backward_warp(image, flow)[..., inside], expected[..., inside])
    assert inside.sum() == (32 - abs(dy)) * (64 - abs(dx))


def test_integer_shift_at_any_size() -> None:
    image = torch.rand(1, 2, 37, 51, generator=torch.Generator().manual_seed(0))
    warped = backward_warp(image, constant_flow(3, -2, 37, 51))
    torch.testing.assert_close(warped[..., 2:, :-3], image[..., :-2, 3:], atol=2e-5, rtol=0)


def test_sub_pixel_shift_of_a_ramp_and_borders() -> None:
    x, y = torch.arange(40.0), torch.arange(24.0)
    ramp = (2 * x + 5 * y[:, None])[None, None]
    warped = backward_warp(ramp, constant_flow(0.25, 0.5, 24, 40))
    torch.testing.assert_close(warped[..., :-1, :-1], ramp[..., :-1, :-1] + 3.0, atol=1e-3, rtol=0)
    assert warped[0, 0, 0, -1] == pytest.approx(2 * 39 + 2.5, abs=1e-3)  # border repeats
    outside = backward_warp(ramp + 1, constant_flow(100, 0, 24, 40), padding="zeros")
    assert outside.abs().max() == 0


def test_one_pixel_wide_images_work() -> None:
    image = torch.arange(5.0).view(1, 1, 5, 1)
    assert backward_warp(image, constant_flow(0, 1, 5, 1)).flatten().tolist() == [1, 2, 3, 4, 4]


def test_gradient_in_the_image() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 2, 5, 6, dtype=torch.float64, generator=generator).requires_grad_()
    flow = torch.randn(1, 2, 5, 6, dtype=torch.float64, generator=generator) * 2
    assert torch.autograd.gradcheck(lambda i: backward_warp(i, flow), (image,))
    assert backward_warp(image, flow.float()).dtype == torch.float64


def test_low_precision_is_computed_in_float32_even_under_autocast() -> None:
    image = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    flow = constant_flow(0.3, 0.7, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        warped = backward_warp(image, flow)
    assert warped.dtype == torch.float32
    assert torch.equal(warped, backward_warp(image.float(), flow))


def test_occlusion_of_a_moving_square() -> None:
    to_previous, from_previous, hidden = square_scene()
    occluded = occlusion_mask(to_previous, from_previous, motion_boundary=False)
    assert occluded.shape == (1, 1, 64, 64)
    assert occluded.dtype == torch.bool
    assert torch.equal(occluded, hidden)
    # The other grid: there it is the background in front of the square that gets covered.
    ahead = torch.zeros_like(hidden)
    ahead[:, :, 20:40, 36:42] = True
    assert torch.equal(occlusion_mask(from_previous, to_previous, motion_boundary=False), ahead)
    with_boundary = occlusion_mask(to_previous, from_previous)
    assert (with_boundary & hidden).sum() == hidden.sum()
    assert 0 < (with_boundary & ~hidden).sum() < 100  # the outline, one pixel wide
    visible = visibility_mask(to_previous, from_previous)
    assert visible.dtype == torch.float32
    assert torch.equal(visible, 1 - with_boundary.float())


def test_occlusion_thresholds_are_those_of_the_paper() -> None:
    # F = (10, 0), B = (g - 10, 0): g^2 = 0.01 (100 + (g - 10)^2) + 0.5 at the limit.
    forward = constant_flow(10, 0, 16, 64)
    limit = (-0.2 + (0.2**2 + 4 * 0.99 * 2.5) ** 0.5) / (2 * 0.99)  # 1.49 px
    for g, expected in ((limit - 0.01, False), (limit + 0.01, True)):
        occluded = occlusion_mask(forward, constant_flow(g - 10, 0, 16, 64))
        assert occluded[0, 0, 8, 8].item() is expected
    assert occlusion_mask(forward, -forward)[..., -10:].all()  # leaves the image
    assert not occlusion_mask(forward, -forward)[..., :-10].any()


def test_not_finite_flow_is_occluded() -> None:
    flow = torch.zeros(1, 2, 16, 16)
    flow[0, 0, 3, 4] = float("nan")
    occluded = occlusion_mask(flow, torch.zeros_like(flow), motion_boundary=False)
    assert occluded.sum() == 1
    assert occluded[0, 0, 3, 4]


@pytest.fixture(scope="module")
def clip() -> SyntheticClip:
    return synthetic_clip(0, 6, (96, 96), occluder=True)


def test_exact_flow_of_a_clip_reconstructs_what_is_visible(clip: SyntheticClip) -> None:
    frames = torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    flow, visible = torch.from_numpy(clip.flow_to_previous), clip.visible_in_previous
    mask = torch.from_numpy(visible)[:, None].expand(-1, 3, -1, -1)
    error = (backward_warp(frames[:-1], flow) - frames[1:]).abs()[mask].mean()
    still = (frames[:-1] - frames[1:]).abs()[mask].mean()
    wrong_way = (backward_warp(frames[:-1], -flow) - frames[1:]).abs()[mask].mean()
    assert error < 0.012
    assert still > 5 * error
    assert wrong_way > still  # a sign error would be worse than no flow at all
    swapped = (backward_warp(frames[:-1], flow.flip(1)) - frames[1:]).abs()[mask].mean()
    assert swapped > 5 * error


def test_occlusion_of_a_clip(clip: SyntheticClip) -> None:
    to_previous = torch.from_numpy(clip.flow_to_previous)
    from_previous = torch.from_numpy(clip.flow_from_previous)
    true = ~torch.from_numpy(clip.visible_in_previous)[:, None]
    occluded = occlusion_mask(to_previous, from_previous, motion_boundary=False)
    assert iou(occluded, true) > 0.75
    assert (occluded & true).sum() > 0.97 * true.sum()


@pytest.mark.parametrize(
    ("image", "flow", "message"),
    [
        (torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), r"flow.*\(1, 3, 8, 8\)"),
        (torch.zeros(1, 3, 8, 9), torch.zeros(1, 2, 8, 8), r"image.*\(1, 3, 8, 9\)"),
        (torch.zeros(2, 3, 8, 8), torch.zeros(1, 2, 8, 8), r"image.*\(2, 3, 8, 8\)"),
        (torch.zeros(3, 8, 8), torch.zeros(1, 2, 8, 8), r"image.*\(3, 8, 8\)"),
    ],
)
def test_wrong_shapes_are_named(image: Tensor, flow: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        backward_warp(image, flow)


def test_other_errors() -> None:
    flow = torch.zeros(1, 2, 8, 8)
    with pytest.raises(TypeError, match="uint8"):
        backward_warp(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), flow)
    with pytest.raises(ValueError, match="reflection"):
        backward_warp(torch.zeros(1, 3, 8, 8), flow, padding="reflection")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one shape"):
        occlusion_mask(flow, torch.zeros(1, 2, 8, 9))
