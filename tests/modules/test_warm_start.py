from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from torch import nn
from torch.optim import Adam

from dp3_lightning.discriminators import DiscriminatorAdapter, StyleGAN2Discriminator
from dp3_lightning.generators import StyleGANUnet, StyleGANUnetAdapter
from dp3_lightning.modules import VideoFineTuner
from dp3_lightning.modules.warm_start import restore_moments
from tests.modules.test_video_fine_tuner import fit


def trained(net: nn.Module, backwards: bool = False) -> tuple[Adam, dict[str, torch.Tensor]]:
    """An optimizer that has made two updates, and the state dict in the order of its parameters."""
    named = list(net.named_parameters())[:: -1 if backwards else 1]
    optimizer = Adam([p for _, p in named], lr=0.001)
    for step in (1.0, 2.0):
        for number, (_, parameter) in enumerate(named):
            parameter.grad = torch.full_like(parameter, step * (number + 1))
        optimizer.step()
    state = net.state_dict()
    order = [name for name, _ in named] + [k for k in state if k not in dict(named)]
    return optimizer, {key: state[key] for key in order}


def checkpoint(path: Path, backwards: bool = False) -> dict[str, Any]:
    generator = StyleGANUnet.from_preset("tiny32")
    discriminator = StyleGAN2Discriminator.from_preset("tiny32")
    g_opt, g_state = trained(generator, backwards)
    d_opt, d_state = trained(discriminator, backwards)
    content = {
        "generator": g_state,
        "discriminator": d_state,
        "EMA_generator": g_state,
        "G_optimizer": g_opt.state_dict(),
        "D_optimizer": d_opt.state_dict(),
    }
    torch.save(content, path)
    return content


class Moments(Callback):
    """Keeps what the optimizers start with."""

    found: dict[str, dict[str, torch.Tensor]]

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.found = {}
        for which, optimizer in zip(
            ("generator", "discriminator"), trainer.optimizers, strict=True
        ):
            self.found[which] = {
                name: optimizer.state[p]["exp_avg"].clone()
                for name, p in pl_module.get_submodule(f"{which}.net").named_parameters()
                if p in optimizer.state
            }
        self.rate = trainer.optimizers[0].param_groups[0]["lr"]


def moments(module: VideoFineTuner) -> Moments:
    callback = Moments()
    fit(module, [callback], max_steps=1)
    return callback


@pytest.mark.parametrize("backwards", [False, True])
def test_moments_go_to_the_parameters_of_their_names(tmp_path: Path, backwards: bool) -> None:
    path = tmp_path / "100.ckpt"
    content = checkpoint(path, backwards)
    module = VideoFineTuner(
        StyleGANUnetAdapter("tiny32", weights=str(path)),
        DiscriminatorAdapter("tiny32", weights=str(path)),
        generator_lr=0.01,
        warm_start=str(path),
    )
    weights = {k: v.clone() for k, v in module.state_dict().items()}
    started = moments(module)
    assert started.rate == 0.01
    for which, found in started.found.items():
        saved = content[f"{which[0].upper()}_optimizer"]["state"]
        known = dict(module.get_submodule(f"{which}.net").named_parameters())
        keys = [k for k in content[which] if k in known]
        expected = {name: saved[i]["exp_avg"] for i, name in enumerate(keys)}
        assert found.keys() == expected.keys()
        assert all(torch.equal(v, expected[k]) for k, v in found.items())
        assert all(torch.equal(weights[f"{which}.net.{k}"], content[which][k]) for k in keys)


def test_frozen_parts_get_no_moments(tmp_path: Path) -> None:
    path = tmp_path / "100.ckpt"
    checkpoint(path)
    module = VideoFineTuner(
        StyleGANUnetAdapter("tiny32"),
        DiscriminatorAdapter("tiny32"),
        trainable="mapping",
        warm_start=str(path),
    )
    assert {name.split(".")[0] for name in moments(module).found["generator"]} == {"style_net"}


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "100.ckpt"
    content = checkpoint(path)
    parts = StyleGANUnetAdapter("tiny32"), DiscriminatorAdapter("tiny32")
    with pytest.raises(FileNotFoundError, match="check `warm_start`"):
        fit(VideoFineTuner(*parts, warm_start=str(tmp_path / "none")))
    torch.save({"EMA_generator": content["generator"]}, tmp_path / "weights.ckpt")
    with pytest.raises(ValueError, match="no generator, discriminator, G_optimizer, D_optimizer"):
        fit(VideoFineTuner(*parts, warm_start=str(tmp_path / "weights.ckpt")))
    with pytest.raises(ValueError, match=r"Found no discriminator.*EMA_generator"):
        DiscriminatorAdapter("tiny32", weights=str(tmp_path / "weights.ckpt"))
    with pytest.raises(FileNotFoundError, match="leave them out"):
        DiscriminatorAdapter("tiny32", weights="nowhere.ckpt")
    small = StyleGANUnet.from_preset("small64")
    optimizer = Adam(small.parameters())
    with pytest.raises(ValueError, match=r"another preset"):
        restore_moments(optimizer, small, content["G_optimizer"], list(content["generator"]))
