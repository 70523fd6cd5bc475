"""Set up optimizers, schedules and strategies of the two alternating networks, and check them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy, Strategy
from torch import Tensor
from torch.amp import GradScaler
from torch.nn import Parameter
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from dp3_lightning.numerics import ramp

_LEAST_SCALE = 1e-8  # of fp16's loss scaling, as in DeepPrivacy2
_SCALE_INTERVAL = 10  # updates between looks at it, each of which waits for the device

_SETTINGS = ("initial_lr", "betas", "eps", "weight_decay")

LearningRateSchedule = Literal["constant", "linear", "cosine"]


def lazy_adam(
    parameters: list[Parameter], lr: float, betas: tuple[float, float], interval: int
) -> Adam:
    """Return Adam corrected for a regulariser that is applied every ``interval`` updates only.

    Rate and betas are raised to the power ``interval / (interval + 1)`` (Karras et al. 2020,
    appendix B), as in DeepPrivacy2's discriminator.
    """
    ratio = interval / (interval + 1)
    return Adam(parameters, lr=lr * ratio, betas=(betas[0] ** ratio, betas[1] ** ratio))


def lr_factor(
    update: int, total: int, schedule: LearningRateSchedule, warmup_steps: int = 0
) -> float:
    """Return the factor on the learning rate at generator update ``update`` (0-based).

    Args:
        update: generator updates made so far.
        total: ``trainer.max_steps``; the decaying schedules reach 0 there.
        schedule: ``constant``, ``linear`` or ``cosine``.
        warmup_steps: updates of linear growth from 0 in front.

    Raises:
        MisconfigurationException: a decaying schedule without ``max_steps``.
    """
    factor = ramp(update + 1, warmup_steps)  # an update with rate 0 would be wasted
    if schedule == "constant":
        return factor
    if total <= 0:
        raise MisconfigurationException(
            f"`lr_schedule: {schedule}` decays to 0 at `trainer.max_steps`; set it (got {total})."
        )
    progress = min(1.0, update / total)
    if schedule == "linear":
        return factor * (1 - progress)
    return factor * 0.5 * (1 + math.cos(progress * math.pi))


def optimizer_settings(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Return rate, betas and decay per group of an optimizer that has a schedule."""
    return [
        {key: group[key] for key in _SETTINGS if key in group} for group in optimizer.param_groups
    ]


def keep_settings(
    optimizer: Optimizer, schedule: LambdaLR, settings: Sequence[Mapping[str, Any]]
) -> None:
    """Put rate, betas and decay back that a checkpoint has replaced, at the schedule's place.

    Args:
        optimizer: with a checkpoint's state.
        schedule: its schedule, likewise.
        settings: of :func:`optimizer_settings`, as the run was configured.
    """
    schedule.base_lrs = [group["initial_lr"] for group in settings]
    rates = [
        base * factor(schedule.last_epoch)
        for base, factor in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)
    ]
    for group, wanted, rate in zip(optimizer.param_groups, settings, rates, strict=True):
        group.update(wanted, lr=rate)
    schedule._last_lr = rates


def check_trainer_options(trainer: Trainer) -> None:
    """Refuse options of the trainer that alternating updates cannot follow, and name ours.

    Raises:
        MisconfigurationException: naming the option of the model.
    """
    for given, ours, unset in (
        ("accumulate_grad_batches", "accumulate", 1),
        ("gradient_clip_val", "gradient_clip_norm", None),
    ):
        value = getattr(trainer, given)
        if value not in (unset, 0, None):
            raise MisconfigurationException(
                f"`trainer.{given}: {value}` does not reach two alternating networks: set "
                f"`model.{ours}` instead (`--model.{ours} {value}`)."
            )


def check_strategy(strategy: Strategy) -> None:
    """Refuse strategies under which the alternating updates would fail or diverge silently.

    Raises:
        MisconfigurationException: naming the strategy to use.
    """
    if isinstance(strategy, DDPStrategy):
        if not strategy._ddp_kwargs.get("find_unused_parameters", False):
            raise MisconfigurationException(
                "Plain `strategy: ddp` fails here: each backward pass of the two networks leaves "
                "the other's parameters unused. Set `trainer.strategy: "
                "ddp_find_unused_parameters_true`."
            )
    elif not isinstance(strategy, SingleDeviceStrategy):
        raise MisconfigurationException(
            f"VideoFineTuner runs on one device or with `ddp_find_unused_parameters_true`, got "
            f"{type(strategy).__name__}: its two optimizers are not sharded."
        )


def freeze_all_but(groups: Mapping[str, Sequence[Parameter]], trainable: str) -> None:
    """Freeze all but some groups of parameters.

    Args:
        groups: parameters by part.
        trainable: ``all``, or names of parts joined by '+'.

    Raises:
        ValueError: a part that is not there.
    """
    chosen = set(groups) if trainable == "all" else set(trainable.split("+"))
    if unknown := sorted(chosen - set(groups)):
        raise ValueError(
            f"Expected `trainable` to be 'all' or parts of {sorted(groups)} joined by '+', "
            f"got {trainable!r} (unknown: {unknown})."
        )
    for name, parameters in groups.items():
        for parameter in parameters:
            parameter.requires_grad_(name in chosen)


def _scaler(trainer: Trainer) -> GradScaler | None:
    return getattr(trainer.precision_plugin, "scaler", None)


def check_gradient_norm(trainer: Trainer, norm: Tensor, network: str) -> None:
    """Stop before an update with a gradient that is not finite, unless a scaler skips it itself.

    Raises:
        FloatingPointError: naming the network.
    """
    if _scaler(trainer) is None and not torch.isfinite(norm):
        raise FloatingPointError(
            f"The {network}'s gradient is not finite after {trainer.global_step} updates. "
            "Training stops before the weights are touched; the last checkpoint is good. Lower "
            "the learning rate or the weights of the losses."
        )


def check_loss_scale(trainer: Trainer) -> None:
    """Stop when half precision has skipped updates until its loss scale is gone.

    Raises:
        FloatingPointError: the scale is below 1e-8.
    """
    scaler = _scaler(trainer)
    if scaler is None or trainer.global_step % _SCALE_INTERVAL:
        return
    if scaler.get_scale() < _LEAST_SCALE:
        raise FloatingPointError(
            f"The gradients are not finite however small the loss scale (now "
            f"{scaler.get_scale():g}, after {trainer.global_step} updates): these updates "
            "were skipped. Lower the learning rate or the weights of the losses, or use "
            "`precision: bf16-mixed`."
        )
