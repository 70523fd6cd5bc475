"""Compute small things that several packages need."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Return ``x`` unchanged if it is float64, else as float32."""
    return x if x.dtype == torch.float64 else x.float()


def ramp(step: int, warmup_steps: int) -> float:
    """Return ``step / warmup_steps`` up to 1; 1 without warm-up."""
    return min(1.0, step / warmup_steps) if warmup_steps > 0 else 1.0
