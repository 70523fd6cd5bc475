from __future__ import annotations

import pytest
import torch

from dp3_lightning.modules.validation_metrics import ClipMetrics


def batch_with(flicker: float) -> dict[str, torch.Tensor]:
    """Nothing moves, and the real frames flicker by themselves."""
    clip = torch.zeros(2, 3, 3, 16, 16)
    clip[:, 1] = flicker
    mask = torch.ones(2, 3, 1, 16, 16)
    mask[..., 4:12, 4:12] = 0
    flow = torch.zeros(2, 2, 2, 16, 16)
    return {
        "clip": clip, "keep_mask": mask, "pair_valid": torch.ones(2, 2, dtype=torch.bool),
        "flow_to_previous": flow, "flow_from_previous": flow,
    }  # fmt: skip


def test_the_excess_is_over_what_the_real_frames_score() -> None:
    batch = batch_with(0.2)  # 0.1 of the levels from 0 to 1
    metrics = ClipMetrics()
    metrics.update(batch["clip"], batch)
    found = metrics.compute()
    assert found["warping_error"].item() == pytest.approx(0.01)
    assert found["warping_error_excess"].item() == pytest.approx(0, abs=1e-8)
    fake = batch["clip"] * 2  # 0.2 of the levels
    metrics.update(fake, batch)
    found = metrics.compute()
    assert found["warping_error"].item() == pytest.approx(0.04)
    assert found["warping_error_excess"].item() == pytest.approx(0.03)
    assert found["ring_error"].item() == pytest.approx(0.2 / 3)


def test_clips_of_one_frame_or_without_flow_have_a_ring_only() -> None:
    batch = batch_with(0.2)
    del batch["flow_to_previous"]
    metrics = ClipMetrics()
    metrics.update(batch["clip"], batch)
    assert set(metrics.compute()) == {"ring_error"}
    assert metrics.compute() == {}
