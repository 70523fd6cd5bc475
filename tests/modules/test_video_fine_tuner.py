from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins import MixedPrecision
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn

from dp3_lightning.callbacks import (
    CropConsistencyLoss,
    FlowConsistencyLoss,
    LatentDiversityLoss,
    LossCallback,
    PixelLoss,
    TotalVariationLoss,
)
from dp3_lightning.discriminators import DiscriminatorAdapter
from dp3_lightning.generators import (
    BlurGenerator,
    GeneratorAdapter,
    PixelateGenerator,
    SolidGenerator,
    StyleGANUnetAdapter,
)
from dp3_lightning.modules import VideoFineTuner
from dp3_lightning.modules.averaging import averaging_decay, update_average
from dp3_lightning.modules.batches import split_batch
from dp3_lightning.modules.optimization import check_loss_scale
from dp3_lightning.structures import GeneratorStep
from tests.training_fixtures import SIZE, PoisonAfter, SyntheticDataModule, batch_of


def tuner(**options: Any) -> VideoFineTuner:
    torch.manual_seed(0)
    return VideoFineTuner(StyleGANUnetAdapter("tiny32"), DiscriminatorAdapter("tiny32"), **options)


def fit(
    module: VideoFineTuner,
    callbacks: list | None = None,
    data: SyntheticDataModule | None = None,
    ckpt_path: Path | None = None,
    **options: Any,
) -> Trainer:
    defaults = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "limit_val_batches": 0,
        "max_steps": 2,
    }
    trainer = Trainer(callbacks=callbacks, **(defaults | options))
    trainer.fit(module, datamodule=data or SyntheticDataModule(), ckpt_path=ckpt_path)
    return trainer


class Painting(GeneratorAdapter):
    """One trained picture for every frame, no latent."""

    def __init__(self, size: int = 32) -> None:
        super().__init__()
        self.image_size, self.z_dim = (size, size), 0
        self.picture = nn.Parameter(torch.zeros(3, size, size))

    def draw(
        self,
        condition: Tensor,
        keep_mask: Tensor,
        w: Tensor | None,
        conditions: Mapping[str, Tensor],
    ) -> Tensor:
        return self.picture.expand_as(condition)


class Brightness(nn.Module):
    """A critic that needs no group of samples: the sum of the image times a trained factor."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, img: Tensor, **_: Any) -> dict[str, Tensor]:
        return {"score": self.factor * img.sum(dim=(1, 2, 3))[:, None]}


class MeanLoss(LossCallback):
    def compute_loss(self, step: GeneratorStep) -> Tensor:
        return step.fake.sum(dim=(2, 3, 4)).mean()


class GradientSpy(VideoFineTuner):
    """Keeps the generator's gradients and lets no update happen."""

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        super().on_before_optimizer_step(optimizer)
        if optimizer is self.optimizers()[0].optimizer:
            self.gradients = [p.grad.clone() for p in self.generator.parameters()]
            self.norm = torch.nn.utils.get_total_norm(self.gradients)


# ---------------------------------------------------------------------- counting and updates


def test_steps_count_generator_updates_and_both_networks_learn() -> None:
    module = tuner()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    trainer = fit(module, max_steps=3)
    assert trainer.global_step == 3
    assert int(module.images_seen) == 3 * 2 * 3  # updates x clips x frames
    for part in (
        "generator.net.to_rgb",
        "discriminator.net.output_layer.out",
        "generator_ema.net.to_rgb",
    ):
        assert not torch.equal(module.state_dict()[f"{part}.weight"], before[f"{part}.weight"])
    optimizers = trainer.optimizers
    assert [int(o.state_dict()["state"][0]["step"]) for o in optimizers] == [3, 3]


def test_adam_is_deepprivacy2s() -> None:
    module = tuner(generator_lr=0.002)
    module.trainer = Trainer(accelerator="cpu", logger=False)
    (g_opt, d_opt), _ = module.configure_optimizers()
    assert g_opt.param_groups[0]["lr"] == 0.002
    assert g_opt.param_groups[0]["betas"] == (0.0, 0.99)
    assert d_opt.param_groups[0]["lr"] == pytest.approx(0.00188235, rel=1e-5)
    assert d_opt.param_groups[0]["betas"] == pytest.approx((0.0, 0.990585), rel=1e-6)


def test_schedule_counts_generator_updates() -> None:
    module = tuner(lr_schedule="linear", lr_warmup_steps=2)
    rates = []

    from pytorch_lightning import Callback

    class Rates(Callback):
        def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    fit(module, [Rates()], max_steps=4)
    assert rates == pytest.approx([0.002 * f for f in (0.5, 0.75, 0.5, 0.25)])


def test_decay_of_the_average_is_counted_in_images() -> None:
    assert averaging_decay(64, 0) == 0.0
    assert averaging_decay(64, 6400) == pytest.approx(
        0.5 ** (64 / 320)
    )  # ramp-up: 5 % of what was seen
    assert averaging_decay(64, 10**9) == pytest.approx(0.5 ** (32 / 10_000))


def test_average_moves_parameters_and_copies_buffers() -> None:
    old, new = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    nn.init.constant_(new.weight, 3.0)
    new.running_mean += 7
    update_average(old, new, 0.75)
    assert old.weight.tolist() == [1.5, 1.5]
    assert old.running_mean.tolist() == [7.0, 7.0]


def test_w_avg_follows_the_latents_of_the_discriminator_step() -> None:
    module = tuner()
    seen = []
    update = module.generator.update_latent_average
    module.generator.update_latent_average = lambda w: (seen.append(w.clone()), update(w))
    before = module.generator.net.style_net.w_avg.clone()
    fit(module, max_steps=1)
    expected = 0.998 * before + 0.002 * seen[0]
    torch.testing.assert_close(module.generator.net.style_net.w_avg, expected)
    assert seen[0].abs().sum() > 0


# ---------------------------------------------------------------------- gradients


@pytest.mark.parametrize("side", [8, 16])
def test_adversarial_gradient_is_rescaled_by_the_hole_and_additive_is_not(side: int) -> None:
    class Holes(SyntheticDataModule):
        def train_dataloader(self) -> Any:
            batch = batch_of(2, 1)
            batch["keep_mask"] = torch.ones_like(batch["keep_mask"])
            batch["keep_mask"][..., 4 : 4 + side, 4 : 4 + side] = 0
            return torch.utils.data.DataLoader([batch], batch_size=None)

    def gradient(callbacks: list, **options: Any) -> Tensor:
        module = GradientSpy(
            Painting(),
            DiscriminatorAdapter(Brightness()),
            generator_lr=1e-9,
            r1_weight=0,
            **options,
        )
        fit(module, callbacks, Holes(), max_steps=1)
        return module.gradients[0]

    inside = slice(4, 4 + side)
    additive = gradient([MeanLoss()], adversarial_weight=0.0)
    torch.testing.assert_close(additive[:, inside, inside], torch.ones(3, side, side))
    assert additive.abs().sum() == pytest.approx(3 * side**2)
    adversarial = gradient([])
    # d softplus(-s) = -sigmoid(-s), the same for all pixels, divided by the hole's share
    scores = batch_of(2, 1)["clip"][:, 0]
    hole = torch.zeros(1, 32, 32)
    hole[:, inside, inside] = 1
    s = (scores * (1 - hole)).sum(dim=(1, 2, 3))
    expected = -(torch.sigmoid(-s)).mean() / (side**2 / 32**2)
    torch.testing.assert_close(
        adversarial[:, inside, inside], expected.expand(3, side, side), rtol=1e-3, atol=1e-6
    )


def spy(**options: Any) -> GradientSpy:
    torch.manual_seed(0)
    return GradientSpy(
        StyleGANUnetAdapter("tiny32"),
        DiscriminatorAdapter(Brightness()),
        generator_lr=1e-9,
        **options,
    )


TERMS = (
    TotalVariationLoss,
    PixelLoss,
    FlowConsistencyLoss,
    LatentDiversityLoss,
    CropConsistencyLoss,
)


def test_loss_scaling_leaves_gradients_as_they_are() -> None:
    plain, scaled = spy(), spy()
    fit(plain, [t() for t in TERMS], max_steps=1)
    scaler = torch.amp.GradScaler("cpu", init_scale=512.0)
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    plugin.autocast_context_manager = lambda: torch.autocast("cpu", enabled=False)
    fit(scaled, [t() for t in TERMS], max_steps=1, plugins=[plugin])
    for a, b in zip(plain.gradients, scaled.gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_gradients_are_clipped_after_unscaling() -> None:
    free, clipped = spy(), spy(gradient_clip_norm=0.01)
    fit(free, [PixelLoss(weight=10.0)], max_steps=1)
    scaler = torch.amp.GradScaler("cpu", init_scale=512.0)
    fit(
        clipped,
        [PixelLoss(weight=10.0)],
        max_steps=1,
        plugins=[MixedPrecision("16-mixed", "cpu", scaler)],
    )
    assert free.norm > 0.02
    assert clipped.norm == pytest.approx(0.01, rel=1e-3)


def test_accumulation_gives_the_same_gradient() -> None:
    whole, parts = spy(), spy(accumulate=3)
    data = {"precision": "64-true", "max_steps": 1}
    fit(whole, [t() for t in TERMS], SyntheticDataModule(batch_size=4), **data)
    fit(parts, [t() for t in TERMS], SyntheticDataModule(batch_size=4), **data)
    for a, b in zip(whole.gradients, parts.gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        whole.generator.net.style_net.w_avg, parts.generator.net.style_net.w_avg
    )


def test_parts_of_a_batch_cover_it_once() -> None:
    parts = split_batch(batch_of(5, 1), 3)
    assert [p["sample_index"].tolist() for p, _ in parts] == [[0, 1], [2], [3, 4]]
    assert math.fsum(share for _, share in parts) == pytest.approx(1.0)
    assert len(split_batch(batch_of(2, 1), 8)) == 2


@pytest.mark.parametrize("trainable", ["decoder", "encoder+decoder"])
def test_frozen_parts_stay(trainable: str) -> None:
    module = tuner(trainable=trainable)
    before = {k: v.clone() for k, v in module.generator.named_parameters()}
    fit(module)
    changed = {
        k.split(".")[1]
        for k, v in module.generator.named_parameters()
        if not torch.equal(v, before[k])
    }
    assert "style_net" not in changed
    assert ("encoder" in changed) == ("encoder" in trainable)
    assert {"decoder", "to_rgb"} <= changed


# ---------------------------------------------------------------------- running


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("n_frames", [1, 3])
def test_all_terms_train_and_are_logged(precision: str, n_frames: int) -> None:
    module = tuner()
    trainer = fit(
        module,
        [t() for t in TERMS],
        SyntheticDataModule(n_frames=n_frames),
        precision=precision,
        limit_val_batches=1,
        max_steps=4,
    )
    logged = trainer.callback_metrics
    for term in ("adversarial", "total_variation", "pixel", "flow_consistency", "latent_diversity"):
        assert torch.isfinite(logged[f"train/generator/{term}"])
    assert logged["val/ring_error"] > 0
    assert ("val/warping_error" in logged) == (n_frames > 1)
    assert all(torch.isfinite(p).all() for p in module.parameters())


def test_terms_lower_what_they_measure() -> None:
    module = tuner(adversarial_weight=0.0, generator_lr=0.01)
    data = SyntheticDataModule()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", **quiet)
    before = trainer.validate(module, data, verbose=False)[0]["val/ring_error"]
    trainer = fit(module, [PixelLoss(weight=5.0)], data, max_steps=40, limit_val_batches=4)
    assert trainer.callback_metrics["val/ring_error"].item() < before / 2


def test_nan_stops_and_names_the_term_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    module = tuner()
    callbacks = [
        PixelLoss(),
        PoisonAfter(3),
        ModelCheckpoint(dirpath=tmp_path, every_n_train_steps=2, save_last=True),
    ]
    with pytest.raises(FloatingPointError, match=r"discriminator.*after 3 updates.*adversarial"):
        fit(module, callbacks, max_steps=6, enable_checkpointing=True)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert state["global_step"] == 2
    assert all(torch.isfinite(v.float()).all() for v in state["state_dict"].values())


class Broken(LossCallback):
    def compute_loss(self, step: GeneratorStep) -> Tensor:
        return step.fake.mean() * float("inf")


def test_a_broken_term_is_named_before_it_touches_the_weights() -> None:
    module = tuner()
    before = module.generator.net.to_rgb.weight.clone()
    with pytest.raises(FloatingPointError, match=r"generator's loss.*'broken'"):
        fit(module, [Broken(), PixelLoss()])
    assert torch.equal(module.generator.net.to_rgb.weight, before)


def test_masks_and_frames_must_fit() -> None:
    class Wrong(SyntheticDataModule):
        def train_dataloader(self) -> Any:
            batch = batch_of(2, 2)
            batch["keep_mask"] = batch["keep_mask"][..., :16]
            return torch.utils.data.DataLoader([batch], batch_size=None)

    with pytest.raises(ValueError, match=r"keep_mask.*\(2, 2, 1, 32, 32\).*\(2, 2, 1, 32, 16\)"):
        fit(tuner(), data=Wrong())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulate": 0}, "accumulate.*0"),
        ({"generator_lr": 0.0}, "generator_lr"),
        ({"trainable": "decoder+hair"}, "hair"),
    ],
)
def test_bad_arguments_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tuner(**options)


def test_plain_ddp_is_refused_with_the_strategy_to_use() -> None:
    module = tuner()
    module.trainer = Trainer(accelerator="cpu", devices=1, strategy=DDPStrategy(), logger=False)
    with pytest.raises(MisconfigurationException, match="ddp_find_unused_parameters_true"):
        module.setup("fit")


def test_decaying_schedule_needs_max_steps() -> None:
    with pytest.raises(MisconfigurationException, match="max_steps"):
        fit(tuner(lr_schedule="cosine"), max_steps=-1, max_epochs=1)


def test_predictions_are_composites_and_do_not_depend_on_the_batch() -> None:
    module = tuner().eval()
    batch = batch_of(3, 2)
    fake = module.predict_step(batch, 0)["fake"]
    kept = batch["keep_mask"].expand_as(fake).bool()
    assert torch.equal(fake[kept], batch["clip"][kept])
    assert not torch.equal(fake[~kept], batch["clip"][~kept])
    alone = module.predict_step({k: v[1:2] for k, v in batch.items()}, 0)["fake"]
    torch.testing.assert_close(alone, fake[1:2], rtol=1e-4, atol=1e-5)


def test_checkpoint_holds_no_callback_networks(tmp_path: Path) -> None:
    from dp3_lightning.callbacks import IdentityLoss

    class Embedder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 4)

        def forward(self, images: Tensor) -> Tensor:
            return self.layer(images.mean(dim=(2, 3)))

    trainer = fit(tuner(), [IdentityLoss(Embedder(), margin=-1.0)])
    trainer.save_checkpoint(tmp_path / "m.ckpt")
    state = torch.load(tmp_path / "m.ckpt", weights_only=True)["state_dict"]
    roots = {key.split(".")[0] for key in state}
    assert roots == {"generator", "discriminator", "generator_ema", "images_seen"}


# ---------------------------------------------------------------------- after the review


def test_parts_of_a_batch_are_logged_as_their_mean() -> None:
    class Numbered(LossCallback):
        def compute_loss(self, step: GeneratorStep) -> Tensor:
            return step.fake.sum() * 0 + step.batch["sample_index"].float().mean()

    logged: list[dict[str, float]] = []

    class Keep(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            logged.append({k: float(v) for k, v in trainer.callback_metrics.items()})

    data = SyntheticDataModule(n_clips=6, batch_size=3)
    fit(tuner(accumulate=3), [Numbered(), Keep()], data, max_steps=1)
    fit(tuner(accumulate=1), [Numbered(), Keep()], data, max_steps=1)
    split, whole = logged
    assert split["train/generator/numbered"] == pytest.approx(whole["train/generator/numbered"])
    assert split.keys() == whole.keys()  # once each, however many parts


def test_lost_loss_scale_stops_training() -> None:
    scaler = SimpleNamespace(get_scale=lambda: 1e-9)
    trainer: Any = SimpleNamespace(precision_plugin=SimpleNamespace(scaler=scaler), global_step=20)
    with pytest.raises(FloatingPointError, match=r"1e-09, after 20 updates.*bf16-mixed"):
        check_loss_scale(trainer)
    scaler.get_scale = lambda: 1e-3
    check_loss_scale(trainer)


def test_checkpoint_of_another_model_lists_the_keys(tmp_path: Path) -> None:
    trainer = fit(tuner(), max_steps=1)
    trainer.save_checkpoint(tmp_path / "tiny.ckpt")
    other = VideoFineTuner(StyleGANUnetAdapter("small64"), DiscriminatorAdapter("tiny32"))
    with pytest.raises(ValueError, match=r"does not fit this model.*problems") as error:
        fit(other, ckpt_path=tmp_path / "tiny.ckpt")
    assert "generator.net.from_rgb.weight has shape" in str(error.value)


def test_checkpoint_with_centres_loads_without_its_origin(tmp_path: Path) -> None:
    module = tuner()
    module.generator.net.style_net.set_centers(torch.randn(3, 16))
    module.generator_ema.net.style_net.set_centers(torch.randn(3, 16))
    trainer = fit(module, max_steps=1)
    trainer.save_checkpoint(tmp_path / "centres.ckpt")
    resumed = tuner()
    fit(resumed, ckpt_path=tmp_path / "centres.ckpt", max_steps=2)
    assert torch.equal(
        resumed.generator.net.style_net.w_centers, module.generator.net.style_net.w_centers
    )


@pytest.mark.parametrize("kind", [BlurGenerator, PixelateGenerator, SolidGenerator])
def test_generators_without_a_network_are_bounds_not_students(kind: Any) -> None:
    module = VideoFineTuner(kind((SIZE, SIZE)), DiscriminatorAdapter("tiny32"))
    fake = module.predict_step(batch_of(), 0)["fake"]
    assert fake.shape == batch_of()["clip"].shape
    with pytest.raises(MisconfigurationException, match=f"{kind.__name__} has nothing to train"):
        fit(module)


def test_one_face_track_has_one_pseudonym() -> None:
    module = tuner().eval()
    batch = batch_of(3)
    batch["clip"], batch["keep_mask"] = (
        batch[k][:1].expand_as(batch[k]) for k in ("clip", "keep_mask")
    )
    batch["track_key"] = torch.tensor([7, 7, 8])
    fake = module.predict_step(batch, 0)["fake"]
    assert torch.equal(fake[0], fake[1])
    assert not torch.equal(fake[0], fake[2])
