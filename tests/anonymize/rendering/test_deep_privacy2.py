from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dp3_lightning.anonymize.rendering.deep_privacy2 import anonymize_frame, latent_of
from dp3_lightning.faces.composite import paste_hole
from dp3_lightning.generators import StyleGANUnet, StyleGANUnetAdapter

GOLDENS = Path(__file__).parents[2] / "data" / "goldens"
Z_INDICES = [11, 22, 33, 44, 55]


@pytest.fixture(scope="module")
def generator() -> StyleGANUnetAdapter:
    with np.load(GOLDENS / "G_fdf.npz") as golden:
        net = StyleGANUnet(**json.loads(str(golden["config"])))
        state = {k[3:]: torch.from_numpy(golden[k]) for k in golden if k.startswith("sd/")}
    net.load_state_dict(state)
    return StyleGANUnetAdapter(net).eval()


@pytest.mark.parametrize("truncation", [0.0, 0.7, 1.0])
@pytest.mark.parametrize(("rule", "key"), [("fdf256", "simple"), ("fdf128", "fdf")])
def test_picture_equals_the_recorded_one(
    generator: StyleGANUnetAdapter, rule: str, key: str, truncation: float
) -> None:
    with np.load(GOLDENS / "e2e_paste.npz") as golden:
        frame = np.ascontiguousarray(golden["im"].transpose(1, 2, 0))
        expected = golden[f"{key}/out_t{truncation}"].transpose(1, 2, 0)
        boxes = golden["boxes"].tolist()
    before = frame.copy()
    drawn = anonymize_frame(frame, boxes, generator, Z_INDICES, truncation, rule)  # type: ignore[arg-type]
    difference = np.abs(drawn.astype(int) - expected.astype(int))
    assert difference.max() <= 1  # equal on the machine of the record; elsewhere 1e-6 may round
    assert (difference > 0).mean() < 0.001
    assert np.array_equal(frame, before)
    assert not np.array_equal(drawn, frame)


def test_only_the_boxes_change(generator: StyleGANUnetAdapter) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)
    drawn = anonymize_frame(frame, [[30, 20, 60, 55]], generator, [1], 0.5)
    changed = (drawn != frame).any(axis=2)
    assert changed[22:53, 32:58].mean() > 0.9
    changed[19:56, 29:61] = False  # a pixel of the hole's edge may be rounded either way
    assert not changed.any()


def test_one_index_per_box(generator: StyleGANUnetAdapter) -> None:
    with pytest.raises(ValueError, match="got 2 for 1"):
        anonymize_frame(np.zeros((40, 40, 3), np.uint8), [[5, 5, 20, 20]], generator, [1, 2])


def test_latents_are_numpys_legacy_draws() -> None:
    assert torch.equal(latent_of(7, 16), latent_of(7, 16))
    expected = np.random.RandomState(7).normal(size=16).astype(np.float32)
    assert np.array_equal(latent_of(7, 16)[0].numpy(), expected)


def test_window_outside_the_frame_changes_nothing() -> None:
    frame = np.full((10, 10, 3), 9, np.uint8)
    paste_hole(frame, torch.zeros(3, 4, 4), torch.zeros(1, 4, 4), (20, 20, 30, 30))
    assert (frame == 9).all()
