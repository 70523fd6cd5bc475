"""Optimizers, learning-rate schedules and strategies of the two alternating networks."""

from __future__ import annotations

import math
from typing import Literal

from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy, Strategy
from torch.nn import Parameter
from torch.optim import Adam

from dp3_lightning.numerics import ramp

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
