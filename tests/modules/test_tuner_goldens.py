"""The tuner's assembled steps against DeepPrivacy2's recorded ones, and what they are made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning import Callback, LightningDataModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from dp3_lightning.discriminators import DiscriminatorAdapter, StyleGAN2Discriminator
from dp3_lightning.generators import StyleGANUnet, StyleGANUnetAdapter
from dp3_lightning.losses.adversarial import r1_gradient_penalty
from dp3_lightning.modules import VideoFineTuner, video_fine_tuner
from dp3_lightning.modules.averaging import averaging_decay
from tests.training_fixtures import SyntheticDataModule, batch_of

GOLDENS = Path(__file__).parents[1] / "data" / "goldens"
STANDSTILL = 1e-30  # a learning rate that moves no float32 weight


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDENS / "losses.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def r1_weight() -> float:
    """Lambda of the recorded steps: a penalty is the squared gradient times lambda * 16 / 2."""
    with np.load(GOLDENS / "D_fdf.npz") as archive:
        weighted, raw = (archive[f"out/r1_{kind}_mask_out0_scale0"] for kind in ("pen", "raw"))
    factors = weighted / raw
    assert factors == pytest.approx(40.0, rel=1e-5)
    return float(factors.mean()) * 2 / 16


def tensors(golden: dict[str, np.ndarray], prefix: str, name: str = "") -> dict[str, Tensor]:
    return {
        name + key.removeprefix(prefix): torch.from_numpy(value.copy())
        for key, value in golden.items()
        if key.startswith(prefix)
    }


class Recorder(VideoFineTuner):
    """Keeps the losses and gradients of every update: discriminator, generator, and so on."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.losses: list[float] = []
        self.gradients: list[dict[str, Tensor]] = []

    def manual_backward(self, loss: Tensor, *args: Any, **options: Any) -> None:
        self.losses.append(loss.item())
        super().manual_backward(loss, *args, **options)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        super().on_before_optimizer_step(optimizer)
        updated = {id(p) for group in optimizer.param_groups for p in group["params"]}
        self.gradients.append(
            {
                name: parameter.grad.clone()
                for name, parameter in self.named_parameters()
                if id(parameter) in updated and parameter.grad is not None
            }
        )


class GoldenRecorder(Recorder):
    """Built from the recorded networks; draws the recorded latents."""

    def __init__(self, golden: dict[str, np.ndarray], **options: Any) -> None:
        generator = StyleGANUnet(**json.loads(str(golden["G_config"])))
        generator.load_state_dict(tensors(golden, "G_sd/"))
        critic = StyleGAN2Discriminator(**json.loads(str(golden["D_config"])))
        critic.load_state_dict(tensors(golden, "D_sd/"))
        super().__init__(
            StyleGANUnetAdapter(generator),
            DiscriminatorAdapter(critic),
            generator_lr=STANDSTILL,
            **options,
        )
        self.inputs = tensors(golden, "in/")
        self.logged: dict[str, list[float]] = {}

    def _latents(self, batch: dict[str, Any], purpose: str, step: int) -> Tensor:
        return self.inputs[{"discriminator": "z_D", "generator": "z_G"}[purpose]]

    def log(self, name: str, value: Any, *args: Any, **options: Any) -> None:
        self.logged.setdefault(name, []).append(float(value))
        super().log(name, value, *args, **options)

    def run(self, max_steps: int) -> GoldenRecorder:
        clip, keep_mask = self.inputs["img"][:, None], self.inputs["mask"][:, None]
        fit(self, SameBatch({"clip": clip, "keep_mask": keep_mask}), max_steps)
        return self


class SameBatch(LightningDataModule):
    def __init__(self, batch: dict[str, Any]) -> None:
        super().__init__()
        self.batch = batch

    def train_dataloader(self) -> DataLoader[Any]:
        batches: Any = [self.batch] * 8
        return DataLoader(batches, batch_size=None)


class CriticSpy(DiscriminatorAdapter):
    """Keeps, per call, whether the clip is the real one and whether autocast is on."""

    def __init__(self, real: Tensor) -> None:
        super().__init__("tiny32")
        self.real, self.calls = real, list[tuple[bool, bool]]()

    def forward(self, clip: Tensor, *args: Any, **options: Any) -> Tensor:
        is_real = torch.equal(clip.detach(), self.real)
        self.calls.append((is_real, torch.is_autocast_enabled(clip.device.type)))
        return super().forward(clip, *args, **options)


class LatentSpy(StyleGANUnetAdapter):
    """Keeps the latents that frames are drawn from, and those that are averaged into w_avg."""

    def __init__(self) -> None:
        super().__init__("tiny32")
        self.drawn, self.averaged = list[Tensor](), list[Tensor]()

    def style(
        self, z: Tensor | None, w: Tensor | None, n_clips: int, like: Tensor
    ) -> Tensor | None:
        assert z is not None
        self.drawn.append(z)
        return super().style(z, w, n_clips, like)

    def latent_sum(self, z: Tensor) -> Tensor | None:
        self.averaged.append(z)
        return super().latent_sum(z)


class AverageByHand(Callback):
    def __init__(self, generator: nn.Module, n_images: int) -> None:
        self.generator, self.n_images = generator, n_images
        self.average = {k: v.detach().clone() for k, v in generator.named_parameters()}
        self.decays: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        decay = averaging_decay(self.n_images, self.n_images * len(self.decays))
        self.decays.append(decay)
        for name, parameter in self.generator.named_parameters():
            self.average[name] = decay * self.average[name] + (1 - decay) * parameter.detach()


def fit(
    module: VideoFineTuner,
    data: LightningDataModule,
    max_steps: int,
    callbacks: list[Callback] | None = None,
    precision: Any = "32-true",
) -> None:
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        max_steps=max_steps,
        callbacks=callbacks,
        precision=precision,
    )
    trainer.fit(module, datamodule=data)


@pytest.fixture(scope="module")
def steps(golden: dict[str, np.ndarray], r1_weight: float) -> GoldenRecorder:
    """Two batches: discriminator with R1, generator, discriminator without R1, generator."""
    module = GoldenRecorder(golden, r1_weight=r1_weight).run(max_steps=2)
    assert len(module.losses) == len(module.gradients) == 4
    return module


def same_gradients(ours: dict[str, Tensor], recorded: dict[str, Tensor]) -> None:
    for name, expected in recorded.items():
        error = (ours[name] - expected).abs().max() / expected.abs().max()
        assert error < 2e-5, (name, error)


# ---------------------------------------------------------------------- recorded steps


def test_discriminator_losses_with_and_without_r1_are_the_recorded_ones(
    steps: GoldenRecorder, golden: dict[str, np.ndarray]
) -> None:
    with_r1, _, without_r1, _ = steps.losses
    assert with_r1 == pytest.approx(float(golden["out/D_loss_gp"]), rel=2e-6)
    assert without_r1 == pytest.approx(float(golden["out/D_loss_nogp"]), rel=2e-6)


def test_generator_loss_is_the_recorded_one(
    steps: GoldenRecorder, golden: dict[str, np.ndarray]
) -> None:
    assert steps.losses[1] == pytest.approx(float(golden["out/G_loss"]), rel=2e-6)
    assert steps.losses[3] == steps.losses[1]


def test_logged_parts_of_the_discriminator_loss_are_the_recorded_ones(
    steps: GoldenRecorder, golden: dict[str, np.ndarray]
) -> None:
    names = {"adversarial": "d_loss", "real_score": "real_scores", "fake_score": "fake_scores"}
    for ours, theirs in names.items():
        recorded = [float(golden[f"out/D_log_{kind}/{theirs}"]) for kind in ("gp", "nogp")]
        assert steps.logged[f"train/discriminator/{ours}"] == pytest.approx(recorded, rel=2e-6)
    raw = float(golden["out/D_log_gp/r1_gradient_penalty"])
    assert steps.logged["train/discriminator/r1"] == [pytest.approx(raw, rel=1e-5)]


def test_discriminator_gradients_with_r1_are_the_recorded_ones(
    steps: GoldenRecorder, golden: dict[str, np.ndarray]
) -> None:
    same_gradients(steps.gradients[0], tensors(golden, "D_grad_gp/", "discriminator.net."))


def test_discriminator_gradients_without_r1_are_the_recorded_ones(
    steps: GoldenRecorder, golden: dict[str, np.ndarray]
) -> None:
    """The record was kept by reference: the generator's step added its own gradient of D to it."""
    recorded = tensors(golden, "D_grad_nogp/", "discriminator.net.")
    batch = steps.inputs
    condition, mask = batch["condition"], batch["mask"]
    generator, critic = steps.generator.get_submodule("net"), steps.discriminator.net
    fake = generator(condition, mask, z=batch["z_G"])["img"]
    loss = F.softplus(-critic(img=fake, condition=condition, mask=mask)["score"]).mean()
    parameters = {k: v for k, v in steps.named_parameters() if k in recorded}
    added = torch.autograd.grad(loss, list(parameters.values()))
    clean = {k: recorded[k] - g for k, g in zip(parameters, added, strict=True)}
    same_gradients(steps.gradients[2], clean)


def test_generator_gradients_are_the_recorded_ones(
    steps: GoldenRecorder, golden: dict[str, np.ndarray]
) -> None:
    recorded = tensors(golden, "G_grad/", "generator.net.")
    assert steps.gradients[1].keys() == recorded.keys()
    same_gradients(steps.gradients[1], recorded)


@pytest.mark.parametrize("scale", [False, True])
def test_r1_options_reach_the_loss(
    golden: dict[str, np.ndarray], r1_weight: float, scale: bool
) -> None:
    options = {"r1_mask_out": True, "r1_mask_out_scale": scale, "r1_interval": 8}
    module = GoldenRecorder(golden, r1_weight=r1_weight, **options).run(max_steps=1)
    image, mask = module.inputs["img"].requires_grad_(), module.inputs["mask"]
    scores = module.discriminator.net(image, module.inputs["condition"], mask)["score"]
    (gradient,) = torch.autograd.grad(scores.sum(), image)
    penalty = (gradient * (1 - mask)).square().sum(dim=(1, 2, 3))
    if scale:
        penalty = penalty * 3 * 32 * 32 / (1 - mask).sum(dim=(1, 2, 3))
    expected = float(golden["out/D_loss_nogp"]) + penalty.mean().item() * r1_weight * 8 / 2
    assert module.losses[0] == pytest.approx(expected, rel=2e-6)


# ---------------------------------------------------------------------- what steps are made of


def test_average_is_the_lerp_over_the_steps_by_hand() -> None:
    torch.manual_seed(0)
    module = VideoFineTuner(StyleGANUnetAdapter("tiny32"), DiscriminatorAdapter("tiny32"))
    by_hand = AverageByHand(module.generator, n_images=2 * 3)
    fit(module, SyntheticDataModule(n_frames=3, batch_size=2), 12, [by_hand])
    assert len(by_hand.decays) == 12
    assert by_hand.decays[0] == 0
    assert 0.1 < by_hand.decays[-1] < 0.9
    averaged, current = (
        dict(m.named_parameters()) for m in (module.generator_ema, module.generator)
    )
    torch.testing.assert_close(averaged, by_hand.average, rtol=1e-5, atol=1e-7)
    distance = (averaged["net.to_rgb.weight"] - current["net.to_rgb.weight"]).abs().max()
    assert distance > 1e-4  # the average is no copy
    for old, new in zip(module.generator_ema.buffers(), module.generator.buffers(), strict=True):
        assert torch.equal(old, new)


def test_latents_differ_between_networks_steps_clips_and_seeds() -> None:
    drawn: list[Tensor] = []
    for seed in (0, 1):
        spy = LatentSpy()
        module = VideoFineTuner(spy, DiscriminatorAdapter("tiny32"), seed=seed)
        fit(module, SameBatch(batch_of(2, 1)), max_steps=3)
        assert len(spy.drawn) == 6  # discriminator and generator in turn
        torch.testing.assert_close(spy.averaged, spy.drawn[::2], rtol=0, atol=0)
        drawn += spy.drawn
    latents = [tuple(z.tolist()) for z in torch.cat(drawn)]
    assert len(set(latents)) == len(latents) == 2 * 6 * 2


def test_r1_is_taken_outside_autocast_and_nothing_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = batch_of(2, 1)
    critic = CriticSpy(batch["clip"])
    penalties: list[tuple[bool, torch.dtype]] = []

    def penalty(scores: Tensor, *args: Any) -> Tensor:
        penalties.append((torch.is_autocast_enabled("cpu"), scores.dtype))
        return r1_gradient_penalty(scores, *args)

    monkeypatch.setattr(video_fine_tuner, "r1_gradient_penalty", penalty)
    module = VideoFineTuner(StyleGANUnetAdapter("tiny32"), critic, r1_interval=2)
    fit(module, SameBatch(batch), max_steps=4, precision="bf16-mixed")
    assert [autocast for is_real, autocast in critic.calls if is_real] == [False, True] * 2
    assert [autocast for is_real, autocast in critic.calls if not is_real] == [True] * 8
    assert penalties == [(False, torch.float32)] * 2


def test_r1_has_the_same_gradient_in_mixed_as_in_full_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nothing(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        return 0 * (real_scores.mean() + fake_scores.mean())

    monkeypatch.setattr(video_fine_tuner, "discriminator_adversarial_loss", nothing)
    gradients = []
    for precision in ("32-true", "bf16-mixed"):
        torch.manual_seed(0)
        networks = StyleGANUnetAdapter("tiny32"), DiscriminatorAdapter("tiny32")
        module = Recorder(*networks, epsilon_weight=0.0, r1_weight=10.0)
        fit(module, SameBatch(batch_of(4, 1)), max_steps=1, precision=precision)
        gradients.append(module.gradients[0])
    full, mixed = gradients
    assert full["discriminator.net.from_rgb.conv0.weight"].abs().max() > 0
    torch.testing.assert_close(mixed, full, rtol=1e-4, atol=1e-7)
