import pytest
import torch

from dp3_lightning.numerics import at_least_float32, ramp


@pytest.mark.parametrize(
    ("step", "warmup", "expected"), [(0, 0, 1), (0, 4, 0), (1, 4, 0.25), (4, 4, 1), (9, 4, 1)]
)
def test_ramp(step: int, warmup: int, expected: float) -> None:
    assert ramp(step, warmup) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [(torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float64,) * 2],
)
def test_at_least_float32(given: torch.dtype, expected: torch.dtype) -> None:
    assert at_least_float32(torch.zeros(1, dtype=given)).dtype == expected
