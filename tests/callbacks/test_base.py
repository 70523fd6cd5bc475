from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor
from torch.utils.data import DataLoader

from dp3_lightning.callbacks import LossCallback, TotalVariationLoss, collect_losses
from dp3_lightning.structures import GeneratorStep


class Double(LossCallback):
    """Twice the mean of the generated frames."""

    def compute_loss(self, step: GeneratorStep) -> Tensor:
        return 2 * step.fake.mean()


class Toy(LightningModule):
    """One parameter, base loss 2w; the fake frames are w everywhere."""

    def __init__(self, manual: bool, ask: bool = True) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(()))
        self.automatic_optimization = not manual
        self.ask = ask
        self.gradients: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        fake = self.w.expand(1, 1, 3, 4, 4)
        mask = torch.zeros(1, 1, 1, 4, 4)
        step = GeneratorStep(torch.zeros_like(fake), fake, mask, {}, self.trainer.global_step)
        terms = {"adversarial": 2 * self.w}
        if self.ask:
            terms |= collect_losses(self, step)
        loss = sum(terms.values())
        if self.automatic_optimization:
            return loss
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return None

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.gradients.append(self.w.grad.item())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def fit(module: Toy, callbacks: list, **options: Any) -> Toy:
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
        **{"max_steps": 2, **options},
    )
    trainer.fit(module, DataLoader([0, 1, 2, 3]))
    return module


def cpu_fp16() -> MixedPrecision:
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=1024.0))


@pytest.mark.parametrize("manual", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_term_adds_its_gradient(manual: bool, scaled: bool) -> None:
    options = {"plugins": [cpu_fp16()]} if scaled else {}
    module = fit(Toy(manual), [Double(weight=0.5)], **options)
    assert module.gradients == pytest.approx([3.0, 3.0])


def test_term_is_divided_like_the_loss_under_accumulation() -> None:
    module = fit(Toy(manual=False), [Double(weight=0.5)], accumulate_grad_batches=2)
    assert module.gradients == pytest.approx([3.0, 3.0])


def test_warmup_ramps_the_weight_and_logs_the_raw_value() -> None:
    module = fit(Toy(manual=True), [Double(weight=1.0, warmup_steps=2)], max_steps=4)
    assert module.gradients == pytest.approx([2.0, 3.0, 4.0, 4.0])
    assert module.trainer.callback_metrics["train/generator/double"].item() == pytest.approx(2.0)


def test_module_that_never_asks_is_refused() -> None:
    with pytest.raises(MisconfigurationException, match="never asked"):
        fit(Toy(manual=True, ask=False), [Double()])


def test_module_that_asks_later_is_not_refused() -> None:
    callback = Double()
    module = fit(Toy(manual=True), [callback])
    callback._asked = False
    for batch_idx in range(49):
        callback.on_train_batch_end(module.trainer, module, None, None, batch_idx)
    with pytest.raises(MisconfigurationException, match="never asked"):
        callback.on_train_batch_end(module.trainer, module, None, None, 49)


def test_two_terms_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"same name.*double"):
        fit(Toy(manual=True), [Double(), Double(weight=3.0)])
    module = fit(Toy(manual=True), [Double(weight=0.5), Double(weight=0.5, name="again")])
    assert module.gradients == pytest.approx([4.0, 4.0])


def test_term_runs_in_full_precision_under_autocast() -> None:
    seen = []

    class Probe(Double):
        def compute_loss(self, step: GeneratorStep) -> Tensor:
            seen.append((step.fake.dtype, torch.is_autocast_enabled("cpu")))
            return super().compute_loss(step)

    fit(Toy(manual=True), [Probe()], precision="bf16-mixed")
    assert set(seen) == {(torch.float32, False)}


def test_term_must_be_a_scalar() -> None:
    class Vector(LossCallback):
        def compute_loss(self, step: GeneratorStep) -> Tensor:
            return step.fake.flatten()

    with pytest.raises(ValueError, match=r"scalar.*'vector'"):
        fit(Toy(manual=True), [Vector()])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": -1.0}, "weight.*-1"),
        ({"warmup_steps": -2}, "warmup_steps.*-2"),
        ({"name": "adversarial"}, "adversarial"),
        ({"name": "a/b"}, "a/b"),
    ],
)
def test_bad_arguments_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TotalVariationLoss(**options)


def test_default_name_is_the_class_in_snake_case() -> None:
    assert TotalVariationLoss().name == "total_variation"
    assert Double().name == "double"


def test_any_object_with_a_trainer_and_a_log_can_ask() -> None:
    logged = {}
    module = SimpleNamespace(
        trainer=SimpleNamespace(callbacks=[Double(weight=0.25)]),
        log=lambda name, value, **_: logged.update({name: value.item()}),
    )
    fake = torch.ones(2, 1, 3, 4, 4, requires_grad=True)
    terms = collect_losses(module, GeneratorStep(fake, fake, torch.zeros(2, 1, 1, 4, 4), {}, 0))
    assert {k: v.item() for k, v in terms.items()} == {"double": 0.5}
    assert logged == {"train/generator/double": 2.0}
