"""Take over Adam's moments from a training checkpoint of DeepPrivacy2."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from dp3_lightning.generators.checkpoints import read_checkpoint

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def restore_moments(
    optimizer: Optimizer, network: nn.Module, saved: Mapping[str, Any], keys: list[str]
) -> int:
    """Give an optimizer the moments that another one had for parameters of the same names.

    Learning rates and betas stay as they are.

    Args:
        optimizer: Adam over some or all parameters of ``network``.
        network: with DeepPrivacy2's parameter names.
        saved: ``state_dict`` of the other Adam, over all parameters of its network in order.
        keys: keys of that network's state dict, in order; buffers among them are left out.

    Returns:
        The number of parameters that got moments.

    Raises:
        ValueError: the saved state does not belong to such a network.
    """
    parameters = dict(network.named_parameters())
    # A state dict lists parameters in the order in which an optimizer numbers them.
    names = [key for key in keys if key in parameters]
    numbers = [n for group in saved["param_groups"] for n in group["params"]]
    if len(names) != len(numbers) or len(names) != len(parameters):
        raise ValueError(
            f"The saved optimizer has {len(numbers)} parameters, its network {len(names)} and this "
            f"network {len(parameters)}: the checkpoint is of another preset."
        )
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    restored = 0
    for name, number in zip(names, numbers, strict=True):
        parameter, moments = parameters[name], saved["state"].get(number)
        if moments is None or id(parameter) not in trained:
            continue
        if moments["exp_avg"].shape != parameter.shape:
            raise ValueError(
                f"The saved moments of {name} have shape {tuple(moments['exp_avg'].shape)}, "
                f"expected {tuple(parameter.shape)}: the checkpoint is of another preset."
            )
        optimizer.state[parameter] = {
            key: moments[key].clone().to(parameter.device) for key in _MOMENTS
        }
        restored += 1
    return restored


def read_training_checkpoint(path: str | Path) -> Mapping[str, Any]:
    """Read a training checkpoint with both networks and both optimizers.

    Raises:
        FileNotFoundError: no such file.
        ValueError: something is missing; names it.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"No training checkpoint at {str(path)!r}: check `warm_start`.")
    checkpoint: Mapping[str, Any] = read_checkpoint(file)
    wanted = ("generator", "discriminator", "G_optimizer", "D_optimizer")
    missing = [key for key in wanted if key not in checkpoint]
    if missing:
        raise ValueError(
            f"{str(path)!r} has no {', '.join(missing)}: `warm_start` needs a training checkpoint "
            "of DeepPrivacy2. Weights alone go to `generator` and `discriminator`."
        )
    return checkpoint
