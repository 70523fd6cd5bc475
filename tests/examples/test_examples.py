"""The examples run, on inputs that are drawn here."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dp3_lightning.callbacks import LossCallback, PixelLoss, TotalVariationLoss
from dp3_lightning.discriminators import DiscriminatorAdapter
from dp3_lightning.generators import StyleGANUnetAdapter, load_generator
from dp3_lightning.modules import VideoFineTuner
from dp3_lightning.structures import GeneratorStep
from examples.anonymize_in_python import anonymize
from examples.fine_tune_in_python import fit
from examples.sharpness_loss import SharpnessLoss
from tests.anonymize.anonymize_fixtures import (
    SquareDetector,
    decoded,
    moving,
    painted_pixels,
    settings,
    write_clip,
)
from tests.training_fixtures import SyntheticDataModule

ROOT = Path(__file__).parents[2]


def loss_of(fake: torch.Tensor, keep_mask: torch.Tensor) -> torch.Tensor:
    step = GeneratorStep(real=fake, fake=fake, keep_mask=keep_mask, batch={}, generator_step=0)
    return SharpnessLoss().compute_loss(step)


def striped(keep_mask: torch.Tensor) -> torch.Tensor:
    """Stripes of height 1 where pixels are kept, and 0.25 in the hole: (B, T, 3, H, W)."""
    stripes = torch.arange(keep_mask.shape[-1]).remainder(2).float()
    return (stripes * torch.where(keep_mask > 0, 1.0, 0.25)).expand(-1, -1, 3, -1, -1)


def test_sharpness_loss_is_the_difference_of_gradients() -> None:
    keep_mask = torch.ones(1, 1, 1, 4, 8)
    keep_mask[..., 4:] = 0
    clip = striped(keep_mask).contiguous().requires_grad_()
    loss = loss_of(clip, keep_mask)
    # Pixels 5 to 8 lie in the hole: one step of 1 into it, then three of 0.25.
    assert float(loss) == pytest.approx(1 - (1 + 3 * 0.25) / 4)
    loss.backward()
    assert clip.grad is not None
    assert clip.grad.abs().sum() > 0


@pytest.mark.parametrize("kept", [0.0, 1.0])
def test_sharpness_loss_is_zero_where_there_is_nothing_to_compare(kept: float) -> None:
    some = torch.ones(2, 1, 1, 4, 8)
    some[1, ..., 4:] = 0
    alone = float(loss_of(striped(some[1:]), some[1:]))
    some[0] = kept
    clip = striped(some).contiguous().requires_grad_()
    loss = loss_of(clip, some)
    loss.backward()
    assert float(loss) == pytest.approx(alone / 2)
    assert clip.grad is not None
    assert torch.equal(clip.grad[0], torch.zeros_like(clip.grad[0]))


def test_anonymize_in_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_clip(tmp_path / "real.mkv", moving(5))
    output = tmp_path / "out.mkv"
    outcome = anonymize(source, output, "blur", SquareDetector(), settings())
    assert outcome.exit_code == 0
    assert "frames 0 to 4, generate" in capsys.readouterr().out
    assert not any(painted_pixels(frame).any() for frame in decoded(output))


@pytest.mark.parametrize("name", ["anonymize_in_python", "fine_tune_in_python"])
def test_imports_are_in_an_order_that_works_in_a_fresh_process(name: str) -> None:
    command = [sys.executable, "-c", f"import examples.{name}"]
    where = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=where, check=False)
    assert done.returncode == 0, done.stderr[-1500:]


def test_fine_tune_in_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    tuner = VideoFineTuner(StyleGANUnetAdapter("tiny32"), DiscriminatorAdapter("tiny32"))
    before = [p.clone() for p in tuner.generator.parameters()]
    losses: list[LossCallback] = [TotalVariationLoss(weight=0.1), PixelLoss(weight=1.0)]
    checkpoint = fit(tuner, SyntheticDataModule(n_clips=4), losses, tmp_path, updates=2)
    printed = capsys.readouterr().out
    assert "train/generator/pixel" in printed
    assert "val/" in printed
    after = list(load_generator(checkpoint).parameters())
    assert len(after) == len(before)
    assert any(not torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_the_tour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "mkdtemp", lambda: str(tmp_path))
    here: dict[str, Any] = runpy.run_path(str(ROOT / "examples/tour.py"))
    assert here["outcome"].safe
    assert here["flow_error"] < 1.0
    assert here["drawn"]["solid"].shape == here["clip"].shape
    real, made = here["scene"].frames, here["anonymized"]
    assert len(made) == len(real)
    for index, (x0, y0, x1, y1) in enumerate(here["scene"].boxes.round().astype(int)):
        inside = slice(y0, y1), slice(x0, x1)
        change = np.abs(made[index][inside].astype(float) - real[index][inside])
        assert change.mean() > 10
