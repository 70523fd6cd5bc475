from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn

from dp3_lightning.callbacks import PixelLoss, TotalVariationLoss
from dp3_lightning.cli.train import run
from dp3_lightning.discriminators import PaperDiscriminator
from dp3_lightning.generators import PaperGenerator
from dp3_lightning.modules import PaperGAN

SIZE = 32


def small(**options: object) -> PaperGAN:
    return PaperGAN(**{"image_size": SIZE, "z_dim": 8, "base_channels": 8, **options})  # type: ignore[arg-type]


def batch(n_clips: int = 8) -> dict[str, Tensor]:
    """Stills: flat skin in front of a wall of the same colour, which differs between pictures."""
    rng = torch.Generator().manual_seed(0)
    color = torch.rand(n_clips, 1, 3, 1, 1, generator=rng) * 1.6 - 0.8
    keep = torch.ones(n_clips, 1, 1, SIZE, SIZE)
    keep[..., 8:24, 8:24] = 0
    return {"clip": color.expand(-1, -1, -1, SIZE, SIZE).clone(), "keep_mask": keep}


def test_the_networks_are_made_of_what_the_proposal_names() -> None:
    generator = PaperGenerator()
    kinds = [type(layer) for layer in (*generator.dense, *generator.up)]
    assert kinds[:3] == [nn.Linear, nn.BatchNorm1d, nn.LeakyReLU]
    assert kinds[-1] is nn.Tanh
    assert kinds.count(nn.ConvTranspose2d) == 4  # 8 to 128 pixels
    assert nn.BatchNorm2d in kinds
    judged = [type(layer) for layer in PaperDiscriminator().features]
    assert judged.count(nn.Dropout2d) == judged.count(nn.Conv2d) == 4
    assert judged.count(nn.BatchNorm2d) == 3
    assert judged[:2] == [nn.Conv2d, nn.LeakyReLU]  # the first has none, as in DCGAN


@pytest.mark.parametrize("condition_size", [0, 8])
def test_what_is_drawn_depends_on_the_latent_and_on_what_may_be_seen(condition_size: int) -> None:
    torch.manual_seed(0)
    generator = PaperGenerator(SIZE, 8, 8, condition_size).eval()
    made = batch(2)
    condition, keep = made["clip"] * made["keep_mask"], made["keep_mask"]
    z = torch.randn(2, 8)
    drawn = generator(condition, keep, z)
    assert drawn.shape == (2, 1, 3, SIZE, SIZE)
    assert drawn.abs().max() <= 1
    assert not torch.allclose(drawn, generator(condition, keep, -z))
    sees = not torch.allclose(drawn, generator(-condition, keep, z))
    assert sees == (condition_size > 0)


@pytest.mark.parametrize("size", [8, 48, 0])
def test_sizes_that_do_not_fit_are_named(size: int) -> None:
    for network in (PaperGenerator, PaperDiscriminator):
        with pytest.raises(ValueError, match=f"got {size}"):
            network(image_size=size)


def fit(module: PaperGAN, steps: int, folder: Path, *callbacks: object) -> Trainer:
    trainer = Trainer(
        max_steps=steps, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, callbacks=list(callbacks),
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
    )  # fmt: skip
    data = torch.utils.data.DataLoader([batch()] * 4, batch_size=None)
    trainer.fit(module, data)
    return trainer


def hole_error(module: PaperGAN) -> float:
    made = batch()
    drawn = module(made, torch.zeros(8, 8))  # of `generator_ema`, which is in evaluation mode
    return float((drawn - made["clip"])[..., 8:24, 8:24].abs().mean())


def test_it_learns_and_the_additive_terms_attach(tmp_path: Path) -> None:
    seed_everything(0)
    module = small(learning_rate=0.002, adversarial_weight=0.05)
    before = hole_error(module)
    terms = (PixelLoss(weight=5.0, mode="full"), TotalVariationLoss(weight=0.1))
    trainer = fit(module, 60, tmp_path, *terms)
    assert trainer.global_step == 60
    assert hole_error(module) < 0.5 * before
    trainer.save_checkpoint(tmp_path / "gan.ckpt")
    again = PaperGAN.load_from_checkpoint(tmp_path / "gan.ckpt")
    assert hole_error(again) == pytest.approx(hole_error(module), rel=1e-5)


def test_nothing_is_averaged_and_nothing_penalised(tmp_path: Path) -> None:
    module = small()
    keep = ModelCheckpoint(tmp_path, every_n_train_steps=3)
    trainer = fit(module, 3, tmp_path, keep)
    saved = torch.load(keep.best_model_path, weights_only=True)["state_dict"]
    for name, value in module.generator.state_dict().items():  # in checkpoints on the way too
        assert torch.equal(value, saved[f"generator_ema.{name}"]), name
    for name, value in module.generator.state_dict().items():
        assert torch.equal(value, module.generator_ema.state_dict()[name]), name
    logged = trainer.callback_metrics
    assert "train/discriminator/adversarial" in logged
    assert "train/discriminator/r1" not in logged


def test_the_command_line_trains_it(tmp_path: Path) -> None:
    """Which saves a subclass's arguments alone as hyperparameters."""
    config = {
        "trainer": {
            "accelerator": "cpu", "devices": 1, "max_steps": 2, "logger": False,
            "enable_progress_bar": False, "limit_val_batches": 0, "default_root_dir": str(tmp_path),
        },
        "model": {
            "class_path": "PaperGAN",
            "init_args": {"image_size": 32, "z_dim": 8, "base_channels": 8, "learning_rate": 0.01},
        },
        "data": {
            "class_path": "tests.training_fixtures.SyntheticDataModule",
            "init_args": {"n_frames": 1, "batch_size": 4},
        },
    }  # fmt: skip
    path = tmp_path / "in.yaml"
    path.write_text(yaml.safe_dump(config))
    run(["fit", "--config", str(path)])
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    again = PaperGAN.load_from_checkpoint(checkpoint)
    assert again.generator.image_size == (SIZE, SIZE)
    assert again.hparams["learning_rate"] == again.hparams["generator_lr"] == 0.01
