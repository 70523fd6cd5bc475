from typing import Any

import kornia
import numpy as np
import pytest
import scipy.ndimage
import torch
import torch.nn.functional as F

from dp3_lightning.callbacks import FlowConsistencyLoss
from dp3_lightning.data import synthetic_clip
from dp3_lightning.losses import flow_consistency, warping_error
from dp3_lightning.losses.flow_consistency import (
    CHARBONNIER_EPSILON,
    chain_valid,
    charbonnier,
    pair_visibility,
)
from dp3_lightning.structures import GeneratorStep


def exact(**options: object) -> dict[str, torch.Tensor]:
    clip = synthetic_clip(n_frames=4, size=(64, 64), **options)
    frames = torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    mask = torch.ones(1, 4, 1, 64, 64)
    for t, (x0, y0, x1, y1) in enumerate(clip.boxes.astype(int)):
        mask[0, t, :, max(y0, 0) : y1, max(x0, 0) : x1] = 0
    return {
        "clip": frames[None],
        "mask": mask,
        "to": torch.from_numpy(clip.flow_to_previous)[None],
        "back": torch.from_numpy(clip.flow_from_previous)[None],
        "valid": torch.from_numpy(clip.pair_valid)[None],
    }


def test_real_video_is_consistent_and_shuffled_faces_are_not() -> None:
    s = exact(motion=1.5)
    hole = 1 - s["mask"]
    real = warping_error(s["clip"], hole, s["to"], s["back"], s["valid"])
    flicker = s["clip"] + hole * torch.tensor([0.0, 0.3, -0.3, 0.3]).view(1, 4, 1, 1, 1)
    wrong = warping_error(flicker, hole, s["to"], s["back"], s["valid"])
    assert real.item() < 0.0025
    assert wrong.item() > 0.025


def test_warping_error_is_the_mean_over_pairs_of_levels_from_0_to_1() -> None:
    clip = torch.zeros(2, 3, 3, 16, 16)
    clip[:, 1] = 0.5  # pair 1 differs by 0.25 of the levels, pair 2 by 0.75 of them
    clip[:, 2] = -1.0
    region = torch.zeros(2, 3, 1, 16, 16)
    region[:, 1, :, 4:12, 4:12] = 1
    region[:, 2, :, 6:8, 6:8] = 1  # a pair with fewer pixels counts as much
    flow = torch.zeros(2, 2, 2, 16, 16)
    valid = torch.ones(2, 2, dtype=torch.bool)
    error = warping_error(clip, region, flow, flow, valid)
    assert error.tolist() == pytest.approx([(0.25**2 + 0.75**2) / 2] * 2)
    valid[0, 0], valid[1] = False, False
    error = warping_error(clip, region, flow, flow, valid)
    assert error[0].item() == pytest.approx(0.75**2)
    assert error[1].isnan()  # nothing to compare is not the same as perfect


def test_no_gradient_reaches_the_earlier_frame() -> None:
    s = exact()
    fake = s["clip"].clone().requires_grad_()
    weight = (1 - s["mask"][:, 1:]) * pair_visibility(s["to"], s["back"], s["valid"])
    loss = flow_consistency(fake[:, 1:], fake[:, :-1] + 0.1, s["to"], weight)
    loss.backward()
    assert fake.grad[:, 0].abs().sum() == 0
    assert fake.grad[:, 1].abs().sum() > 0


def test_value_and_gradient_by_hand_for_a_constant_difference() -> None:
    frames = torch.full((1, 1, 3, 8, 8), 0.5, dtype=torch.float64, requires_grad=True)
    sources = torch.zeros(1, 1, 3, 8, 8, dtype=torch.float64)
    weight = torch.zeros(1, 1, 1, 8, 8, dtype=torch.float64)
    weight[..., 2:6, 2:6] = 1
    flow = torch.zeros(1, 1, 2, 8, 8, dtype=torch.float64)
    loss = flow_consistency(frames, sources, flow, weight, "l1")
    assert loss.item() == 0.5
    loss.backward()
    inside = weight.expand_as(frames).bool()
    torch.testing.assert_close(frames.grad[inside], torch.full((48,), 1 / 48, dtype=torch.float64))
    assert frames.grad[~inside].abs().sum() == 0


def test_pairs_across_a_cut_do_not_count() -> None:
    s = exact(cuts=(2,))
    assert s["valid"].tolist() == [[True, False, True]]
    visible = pair_visibility(s["to"], s["back"], s["valid"])
    assert visible[0, 1].sum() == 0
    assert visible[0, 0].sum() > 0
    assert chain_valid(s["valid"]).tolist() == [[True, False, False]]


def opening(stretch: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    """Flow of a mouth that opens, and back: every row moves a little further than the one above."""
    rows = torch.arange(64.0).view(64, 1).expand(64, 64)
    to, back = torch.zeros(1, 1, 2, 64, 64), torch.zeros(1, 1, 2, 64, 64)
    to[0, 0, 1] = -stretch * (rows - 32)
    back[0, 0, 1] = stretch / (1 - stretch) * (rows - 32)
    return to, back


def test_training_counts_a_mouth_that_opens_and_the_metric_of_lai_does_not() -> None:
    to, back = opening()
    valid = torch.ones(1, 1, dtype=torch.bool)
    middle = (..., slice(28, 36), slice(None))  # slow: the limit grows with the motion
    assert pair_visibility(to, back, valid)[middle].mean() == 1
    assert pair_visibility(to, back, valid, motion_boundary=True)[middle].mean() < 0.2


def test_the_flow_term_trains_a_mouth_that_opens() -> None:
    to, back = opening()
    clip = torch.zeros(1, 2, 3, 64, 64)
    mask = torch.ones(1, 2, 1, 64, 64)
    mask[..., 28:36, 16:48] = 0
    fake = clip.clone()
    fake[:, 1] = 0.5
    batch = {
        "flow_to_previous": to, "flow_from_previous": back,
        "flow_to_first": to, "flow_from_first": back,
    }  # fmt: skip
    step = GeneratorStep(clip, fake, mask, batch, generator_step=0)
    loss = FlowConsistencyLoss(penalty="l1").compute_loss(step)
    assert loss.item() == pytest.approx(0.5)


def test_charbonnier_is_kornias_at_our_scale() -> None:
    difference = torch.randn(100, dtype=torch.float64) * 0.01
    scaled = difference / CHARBONNIER_EPSILON
    theirs = kornia.losses.charbonnier_loss(scaled, torch.zeros_like(scaled), reduction="none")
    torch.testing.assert_close(charbonnier(difference), theirs * CHARBONNIER_EPSILON)


@pytest.mark.parametrize(("penalty", "theirs"), [("l1", F.l1_loss), ("mse", F.mse_loss)])
def test_the_loss_is_torchs_own_on_scipys_warp(penalty: str, theirs: Any) -> None:
    rng = np.random.default_rng(0)
    frames, sources = rng.normal(size=(2, 1, 1, 3, 16, 18))
    flow = rng.uniform(-3, 3, size=(1, 1, 2, 16, 18))
    y, x = np.mgrid[0:16, 0:18].astype(float)
    places = np.stack([y + flow[0, 0, 1], x + flow[0, 0, 0]])
    warped = [
        scipy.ndimage.map_coordinates(c, places, order=1, mode="nearest") for c in sources[0, 0]
    ]
    everywhere = torch.ones(1, 1, 1, 16, 18, dtype=torch.float64)
    tensors = [torch.from_numpy(v) for v in (frames, sources, flow)]
    ours = flow_consistency(*tensors, everywhere, penalty)
    torch.testing.assert_close(ours, theirs(tensors[0][0, 0], torch.from_numpy(np.stack(warped))))
