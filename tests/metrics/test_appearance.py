from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from dp3_lightning.metrics import (
    by_group,
    color_difference,
    seam_visibility,
    size_group,
    skin_color,
    tone_group,
    touched_region,
)
from dp3_lightning.structures import UInt8Array
from tests.metrics.test_landmarks import FACE

SIZE = 48


def texture(seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    noise = torch.rand(2, 3, SIZE + 4, SIZE + 4, generator=rng) - 0.5
    return 2 * torch.nn.functional.avg_pool2d(noise, 5, 1)


def square() -> Tensor:
    region = torch.zeros(2, 1, SIZE, SIZE)
    region[..., 14:34, 14:34] = 1
    return region


def test_a_border_that_is_none_has_the_steps_of_its_surroundings() -> None:
    seen = [seam_visibility(texture(seed), square()) for seed in range(12)]
    assert np.mean(seen) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("jump", [0.5, 1.0])
def test_a_step_along_a_border_is_told_by_its_height(jump: float) -> None:
    """Slopes of 0.01 a pixel, and a step of known height around the square."""
    y, x = torch.meshgrid(torch.arange(float(SIZE)), torch.arange(float(SIZE)), indexing="ij")
    slope = (0.01 * (x + y)).expand(2, 3, SIZE, SIZE)
    seen = seam_visibility(slope + jump * square(), square())
    # Half of the border adds the slope to the step, half takes it off.
    assert seen == pytest.approx(jump / 0.01, rel=0.01)


def test_a_feathered_border_is_less_visible_than_a_hard_one() -> None:
    jump = 0.4 * square()
    soft = torch.nn.functional.avg_pool2d(jump, 9, 1, 4)
    hard = seam_visibility(texture() + jump, square())
    assert hard > 2.5
    assert seam_visibility(texture() + soft, square()) < 1 + 0.35 * (hard - 1)


def test_without_a_border_there_is_no_seam() -> None:
    assert math.isnan(seam_visibility(texture(), square() * 0))
    assert math.isnan(seam_visibility(torch.zeros(2, 3, SIZE, SIZE), square()))


def test_what_was_changed_is_found_with_its_inside() -> None:
    real = texture()
    made = real + 0.5 * square()
    made[..., 20:26, 20:26] = real[..., 20:26, 20:26]  # alike by chance
    noise = 0.01 * torch.randn(real.shape, generator=torch.Generator().manual_seed(0))
    found = touched_region(made + noise, real)
    hard, off = (seam_visibility(made, region) for region in (found, square()))
    assert hard == pytest.approx(off, rel=0.25)
    assert found.shape == (2, 1, SIZE, SIZE)
    assert (found != square()).sum() <= 2 * 4  # corners
    assert touched_region(real + noise, real).sum() == 0


def face_on(color: tuple[int, int, int], side: int = 160) -> tuple[UInt8Array, np.ndarray]:
    picture = np.full((side, side, 3), color, np.uint8)
    return picture, FACE * side / 3 + np.array([side / 2, side / 2, 0])


def test_skin_is_told_by_its_color() -> None:
    first, mesh = face_on((200, 150, 120))
    second, _ = face_on((120, 80, 60))
    colors = [skin_color(picture, mesh) for picture in (first, second)]
    for picture, found in zip((first, second), colors, strict=True):
        lab = cv2.cvtColor(picture[:1, :1].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        assert found == pytest.approx(lab[0, 0], abs=1e-3)
    assert color_difference(*colors) == pytest.approx(np.linalg.norm(colors[0] - colors[1]))
    assert [tone_group(float(c[0])) for c in colors] == ["light", "dark"]


def test_skin_at_the_border_of_the_frame() -> None:
    picture, mesh = face_on((200, 150, 120))
    assert np.isfinite(skin_color(picture, mesh + np.array([70.0, 70, 0]))).all()
    assert np.isfinite(skin_color(picture, mesh + np.array([500.0, 500, 0]))).all()


def test_figures_by_size() -> None:
    sizes = [20.0, 32.0, 63.0, 64.0, 200.0, 256.0, 900.0]
    groups = [size_group(s) for s in sizes]
    assert groups == [
        "under 32 px", "32 to 64 px", "32 to 64 px", "64 to 128 px", "128 to 256 px",
        "256 px and more", "256 px and more",
    ]  # fmt: skip
    found = by_group([1.0, 2.0, 4.0, math.nan, 1.0, 7.0, 9.0], groups)
    assert found["32 to 64 px"] == {"median": 3.0, "n": 2}
    assert "64 to 128 px" not in found
    assert found["256 px and more"]["median"] == 8
