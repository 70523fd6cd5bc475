from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

from dp3_lightning.callbacks import LatentAnchorLoss, collect_losses
from dp3_lightning.structures import GeneratorStep
from tests.training_fixtures import SIZE, SyntheticDataModule, batch_of


class Guesser(nn.Module):
    """A generator whose encoder is one layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Linear(4 * SIZE * SIZE, 8)
        self.synthesis = nn.Linear(8, 3)
        self.asked: list[dict[str, Tensor]] = []

    def guess_clip(
        self,
        condition: Tensor,
        keep_mask: Tensor,
        conditions: Mapping[str, Tensor] | None = None,
        encoder: nn.Module | None = None,
    ) -> Tensor:
        assert (condition * (1 - keep_mask) == 0).all()  # nothing of the hole
        self.asked.append(dict(conditions or {}))
        seen = torch.cat([condition, keep_mask], 2).flatten(2)
        guess: Tensor = (encoder or self.encoder)(seen)
        return guess


class Tuner(LightningModule):
    """Trains the encoder towards large guesses, as far as terms let it."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = Guesser()
        self.terms: list[float] = []

    def training_step(self, batch: dict[str, Any], _: int) -> Tensor:
        step = step_of(batch)
        terms = collect_losses(self, step)
        self.terms.append(float(sum(terms.values())))
        push = -self.generator.guess_clip(step.real * step.keep_mask, step.keep_mask).mean()
        return push + sum(terms.values())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.generator.encoder.parameters(), 1e-4)


def step_of(batch: dict[str, Any]) -> GeneratorStep:
    return GeneratorStep(batch["clip"], batch["clip"] * 1.0, batch["keep_mask"], batch, 0)


def started(module: Any = None) -> tuple[LatentAnchorLoss, Guesser]:
    """A term that has seen the generator before training."""
    generator = Guesser() if module is None else module
    term = LatentAnchorLoss()
    owner: Any = SimpleNamespace(generator=generator, device=torch.device("cpu"))
    begin(term, owner)
    return term, generator


def begin(term: LatentAnchorLoss, owner: Any) -> None:
    trainer: Any = SimpleNamespace(callbacks=[term])
    term.setup(trainer, owner, "fit")
    term.on_fit_start(trainer, owner)


def test_it_is_zero_at_the_start_and_connected() -> None:
    term, generator = started()
    loss = term.compute_loss(step_of(batch_of()))
    assert loss.item() == 0
    loss.backward()
    assert generator.encoder.weight.grad is not None
    assert term.weight == 3


def test_it_is_the_mean_squared_distance_to_the_start() -> None:
    term, generator = started()
    step = step_of(batch_of())
    with torch.no_grad():
        generator.encoder.bias += torch.arange(8.0)
    expected = (torch.arange(8.0) ** 2).mean()
    torch.testing.assert_close(term.compute_loss(step), expected, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        generator.encoder.bias += torch.arange(8.0)
    torch.testing.assert_close(term.compute_loss(step), 4 * expected, rtol=1e-4, atol=1e-4)


def test_only_the_trained_encoder_gets_a_gradient() -> None:
    term, generator = started()
    with torch.no_grad():
        generator.encoder.weight += 0.01
    step = step_of(batch_of())
    term.compute_loss(step).backward()
    assert generator.encoder.weight.grad is not None
    assert generator.encoder.weight.grad.abs().sum() > 0
    assert generator.synthesis.weight.grad is None
    frozen = [
        m for v in vars(term).values() if isinstance(v, list) for m in v if m is not generator
    ]
    parameters = [p for module in frozen for p in module.parameters()]
    assert len(parameters) == 2
    assert all(p.grad is None and not p.requires_grad for p in parameters)
    # A descent on it leads back to the start.
    before = term.compute_loss(step)
    with torch.no_grad():
        for p in generator.encoder.parameters():
            p -= 1e-3 * p.grad
    assert term.compute_loss(step) < before


def test_landmarks_turn_both_guesses() -> None:
    term, generator = started()
    marks = torch.rand(2, 3, 5, 2)
    batch = {**batch_of(), "landmarks": marks}
    term.compute_loss(step_of(batch))
    assert len(generator.asked) == 2
    assert all(torch.equal(asked["landmarks"], marks) for asked in generator.asked)
    assert all(asked.keys() == {"landmarks"} for asked in generator.asked)


def test_batch_is_the_mean_of_its_clips() -> None:
    term, generator = started()
    with torch.no_grad():
        generator.encoder.weight += 0.01 * torch.randn_like(generator.encoder.weight)
    batch = batch_of()
    parts = [
        term.compute_loss(step_of({k: v[i : i + 1] for k, v in batch.items()})) for i in range(2)
    ]
    torch.testing.assert_close(term.compute_loss(step_of(batch)), torch.stack(parts).mean())


@pytest.mark.parametrize("generator", [nn.Linear(2, 2), None, "a name"])
def test_generators_without_an_encoder_are_refused(generator: Any) -> None:
    term = LatentAnchorLoss()
    owner: Any = SimpleNamespace(generator=generator, device=torch.device("cpu"))
    message = rf"context encoder.*{type(generator).__name__}.*FacePriorGenerator"
    with pytest.raises(MisconfigurationException, match=message):
        begin(term, owner)


def test_nothing_of_the_copy_is_in_states() -> None:
    term, generator = started()
    assert term.state_dict() == {}
    assert not any(isinstance(v, nn.Module) for v in vars(term).values())
    assert set(generator.state_dict()) == set(Guesser().state_dict())


def fit(
    folder: Path, steps: int, resume: Path | None = None, module: Tuner | None = None
) -> tuple[Tuner, Path]:
    term, module = LatentAnchorLoss(weight=1.0), module or Tuner()
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=steps,
        callbacks=[term],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(module, SyntheticDataModule(), ckpt_path=resume)
    path = folder / f"{steps}.ckpt"
    trainer.save_checkpoint(path)
    return module, path


@pytest.fixture
def first_run(tmp_path: Path) -> tuple[Tuner, Path]:
    return fit(tmp_path, 3)


def test_a_run_starts_at_zero_and_grows(first_run: tuple[Tuner, Path]) -> None:
    module, path = first_run
    assert module.terms[0] == 0
    assert 0 < module.terms[1] < module.terms[2]
    stored = torch.load(path, weights_only=False)
    assert set(stored["state_dict"]) == set(Tuner().state_dict())
    text = repr(pickle.dumps(stored["callbacks"]))
    assert "Linear" not in text


def test_a_run_that_goes_on_keeps_its_anchor(first_run: tuple[Tuner, Path], tmp_path: Path) -> None:
    module, path = first_run
    later, _ = fit(tmp_path, 4, path)
    assert later.terms[0] > 0.5 * module.terms[2]


@pytest.mark.assets
def test_the_face_prior_can_be_anchored() -> None:
    from dp3_lightning.generators.face_prior.adapter import FacePriorGenerator

    prior = FacePriorGenerator(weights="random").train()
    term, generator = started(prior)
    step = step_of(batch_of(1, 2))
    assert term.compute_loss(step).item() == pytest.approx(0, abs=1e-9)
    state = copy.deepcopy(prior.encoder.state_dict())
    with torch.no_grad():
        for p in prior.encoder.parameters():
            p += 0.01 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0))
    loss = term.compute_loss(step)
    assert loss > 1e-6
    loss.backward()
    assert any(p.grad is not None and p.grad.any() for p in generator.encoder.parameters())
    assert all(p.grad is None for p in prior.synthesis.parameters())
    prior.encoder.load_state_dict(state)
    assert term.compute_loss(step).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.assets
def test_batch_norms_keep_their_statistics_when_training_starts(tmp_path: Path) -> None:
    from dp3_lightning.generators.face_prior.adapter import FacePriorGenerator

    class PriorTuner(Tuner):
        def __init__(self) -> None:
            super().__init__()
            self.generator = FacePriorGenerator(weights="random")  # type: ignore[assignment]

    module = PriorTuner()
    before = {k: v.clone() for k, v in module.generator.encoder.named_buffers()}
    fit(tmp_path, 1, module=module)
    assert before
    for name, value in module.generator.encoder.named_buffers():
        assert torch.equal(value, before[name]), name
    assert module.terms == [pytest.approx(0, abs=1e-9)]
