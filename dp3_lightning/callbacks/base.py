"""Let callbacks add terms to the generator's loss.

Lightning's ``on_before_backward`` is an observer: it runs after loss scaling and ignores what it
returns, and in a GAN it cannot tell the generator's loss from the discriminator's. So the module
asks instead, with one line inside its ``training_step``::

    terms = {"adversarial": g_loss, **collect_losses(self, step)}
    self.manual_backward(sum(terms.values()))

Any LightningModule becomes compatible by that line, with manual or automatic optimisation.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from dp3_lightning.numerics import at_least_float32, ramp
from dp3_lightning.structures import GeneratorStep

# Batches to wait before reporting that collect_losses() was never called: some modules update
# their generator in every n-th batch only.
_PATIENCE = 50
RESERVED_NAMES = frozenset({"adversarial"})


def _snake_case(class_name: str) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", class_name).lower()
    return words.removesuffix("_loss") or words


class LossCallback(Callback, ABC):
    """Add one term to the generator's loss.

    A subclass implements :meth:`compute_loss` and is given in YAML by its ``class_path``.

    Rules of a term: reduce per clip, then average over the batch (a ratio of sums over the batch
    changes with the number of processes); where it does not apply, return ``step.fake.sum() * 0``.

    Args:
        weight: factor on the term; the raw value is logged as ``train/generator/<name>``.
        warmup_steps: generator updates over which the weight grows linearly from 0; 0 for none.
        name: name in logs and errors; default: the class name in snake case without ``Loss``.

    Raises:
        ValueError: negative ``weight`` or ``warmup_steps``, reserved or malformed ``name``.
    """

    def __init__(self, weight: float = 1.0, warmup_steps: int = 0, name: str | None = None) -> None:
        super().__init__()
        name = _snake_case(type(self).__name__) if name is None else name
        if weight < 0:
            raise ValueError(f"Expected `weight` >= 0 for loss {name!r}, got {weight}.")
        if warmup_steps < 0:
            raise ValueError(f"Expected `warmup_steps` >= 0 for loss {name!r}, got {warmup_steps}.")
        if name in RESERVED_NAMES or not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
            raise ValueError(
                f"Expected a loss name of letters, digits, '_', '.' and '-' other than "
                f"{sorted(RESERVED_NAMES)}, got {name!r}."
            )
        self.weight = float(weight)
        self.warmup_steps = int(warmup_steps)
        self.name = name
        self._asked = False

    @abstractmethod
    def compute_loss(self, step: GeneratorStep) -> Tensor:
        """Return the unweighted term, a scalar with gradient to ``step.fake``.

        Runs in float32 with autocast off (float64 in double precision).
        """

    def weight_at(self, generator_step: int) -> float:
        """Return the weight after ``generator_step`` updates."""
        return self.weight * ramp(generator_step, self.warmup_steps)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Refuse to be attached to a module that does not ask for the term."""
        if batch_idx + 1 >= _PATIENCE:
            self._check_asked(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse also at the end of a shorter run."""
        if trainer.global_step:
            self._check_asked(pl_module)

    def _check_asked(self, pl_module: LightningModule) -> None:
        if not self._asked:
            raise MisconfigurationException(
                f"The loss {self.name!r} is attached, but {type(pl_module).__name__}.training_step "
                "never asked for it, so it has no effect. Add `collect_losses(self, step)` to "
                "the loss there, or remove the callback."
            )


def _loss_callbacks(module: LightningModule) -> list[LossCallback]:
    callbacks = [c for c in module.trainer.callbacks if isinstance(c, LossCallback)]  # type: ignore[attr-defined]
    names = [callback.name for callback in callbacks]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(
            f"Two loss callbacks have the same name {doubled}: give each its own `name`, "
            "otherwise one of them would be ignored."
        )
    return callbacks


def collect_losses(
    module: LightningModule,
    step: GeneratorStep,
    log: Callable[[str, Tensor], None] | None = None,
) -> dict[str, Tensor]:
    """Ask every attached :class:`LossCallback` for its term.

    Args:
        module: the training module.
        step: the inputs of the terms.
        log: takes the name and raw value of each term; default: ``module.log``.

    Returns:
        Weighted terms by name, each a scalar with gradient. Raw values are logged as
        ``train/generator/<name>``, averaged over ranks.

    Raises:
        ValueError: two callbacks of one name, or a term that is not a scalar.
    """
    step = replace(
        step,
        real=at_least_float32(step.real),
        fake=at_least_float32(step.fake),
        keep_mask=at_least_float32(step.keep_mask),
    )
    terms: dict[str, Tensor] = {}
    for callback in _loss_callbacks(module):
        callback._asked = True
        # bfloat16 coordinates would be off by an eighth of a pixel
        with torch.autocast(step.fake.device.type, enabled=False):
            raw = callback.compute_loss(step)
        if not isinstance(raw, Tensor) or raw.numel() != 1:
            shape = tuple(raw.shape) if isinstance(raw, Tensor) else type(raw).__name__
            raise ValueError(
                f"Expected a scalar tensor from the loss {callback.name!r}, got {shape}."
            )
        raw = raw.reshape(())
        name = f"train/generator/{callback.name}"
        if log is not None:
            log(name, raw.detach())
        else:
            module.log(name, raw.detach(), prog_bar=True, sync_dist=True, batch_size=len(step.fake))
        terms[callback.name] = raw * callback.weight_at(step.generator_step)
    return terms


def check_finite(module: LightningModule, terms: Mapping[str, Tensor], network: str) -> None:
    """Stop training on all ranks when a term is NaN or infinite on any of them.

    Args:
        module: the training module.
        terms: scalars by name; every rank passes the same names in the same order.
        network: ``generator`` or ``discriminator``, for the message.

    Raises:
        FloatingPointError: names the terms. Checkpoints written before stay as they are.
    """
    bad = torch.stack([(~torch.isfinite(value.detach())).float() for value in terms.values()])
    bad = module.trainer.strategy.reduce(bad, reduce_op="sum")
    if bool(bad.any()):
        names = [name for name, flag in zip(terms, bad.tolist(), strict=True) if flag]
        values = {name: float(terms[name].detach()) for name in names}
        raise FloatingPointError(
            f"The {network}'s loss is not finite after {module.trainer.global_step} updates: "
            f"{values} on this process. Training stops before the weights are touched; the last "
            "checkpoint is good. Lower the learning rate or the weight of the named term."
        )
