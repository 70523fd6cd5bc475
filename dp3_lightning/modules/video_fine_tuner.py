"""Fine-tune a DeepPrivacy2 generator on clips: its own adversarial game plus additive terms."""

from __future__ import annotations

import copy
import inspect
from typing import Any, cast, get_args

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback, LightningModule
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from dp3_lightning.callbacks import check_finite, collect_losses
from dp3_lightning.checks import check_above, check_at_least, check_choice
from dp3_lightning.discriminators import DiscriminatorAdapter
from dp3_lightning.generators import GeneratorAdapter, composite, mask_output
from dp3_lightning.generators.base import check_clip_inputs
from dp3_lightning.generators.checkpoints import CONFIG_KEY, key_problems
from dp3_lightning.losses.adversarial import (
    discriminator_adversarial_loss,
    epsilon_penalty,
    generator_adversarial_loss,
    r1_gradient_penalty,
)
from dp3_lightning.modules.averaging import averaging_decay, update_average
from dp3_lightning.modules.batches import (
    Batch,
    frame_conditions,
    sample_keys,
    split_batch,
    track_keys,
)
from dp3_lightning.modules.optimization import (
    LearningRateSchedule,
    check_gradient_norm,
    check_loss_scale,
    check_strategy,
    check_trainer_options,
    freeze_all_but,
    keep_settings,
    lazy_adam,
    lr_factor,
    optimizer_settings,
)
from dp3_lightning.modules.part_log import PartLog
from dp3_lightning.modules.validation_metrics import ClipMetrics
from dp3_lightning.modules.warm_start import read_training_checkpoint, restore_moments
from dp3_lightning.numerics import at_least_float32, ramp
from dp3_lightning.randomness import keyed_normal
from dp3_lightning.structures import GeneratorStep


class VideoFineTuner(LightningModule):
    """Train generator and discriminator on clips, as DeepPrivacy2 trains on images.

    Per batch: one discriminator update, one generator update, one update of ``generator_ema``.
    Every attached :class:`dp3_lightning.callbacks.LossCallback` adds a term. ``trainer.max_steps``,
    ``global_step`` and the schedule count generator updates. ``generator_ema`` is what validation,
    preview, predict and export use.

    Args:
        generator: adapter of the generator to fine-tune.
        discriminator: adapter of the discriminator.
        generator_lr: Adam's learning rate; DeepPrivacy2 trains from scratch with 0.002.
        discriminator_lr: None for the generator's. It is then corrected for lazy R1, as in
            StyleGAN2.
        betas: Adam's betas before that correction.
        adversarial_weight: factor on the adversarial term.
        adversarial_warmup_steps: generator updates over which that factor grows from 0: gives a
            fresh discriminator time to learn before it drives a pretrained generator.
        r1_weight: lambda of R1 (DeepPrivacy2: 0.1 for FDF128, 1 for FDF256).
        r1_interval: discriminator updates from one R1 penalty to the next.
        r1_mask_out: count R1 gradients inside the hole only.
        r1_mask_out_scale: with ``r1_mask_out``, divide by the hole's share of the image values.
        epsilon_weight: weight of the penalty on the size of real scores.
        trainable: parts of the generator to train, joined by '+': ``all``, ``decoder``,
            ``encoder+decoder``, ``mapping``, ...
        accumulate: number of parts a batch is split into, to save memory; the update is the same
            but for the minibatch statistic.
        gradient_clip_norm: largest gradient norm per network (after unscaling), or None.
        lr_schedule: ``constant`` (DeepPrivacy2), or ``linear`` or ``cosine`` decay to 0 at
            ``max_steps``.
        lr_warmup_steps: generator updates over which the learning rates grow linearly from 0.
        warm_start: training checkpoint of DeepPrivacy2 whose Adam moments both optimizers take
            over; its weights go to ``generator`` and ``discriminator`` by their own arguments.
        seed: of latents and other counter-based draws.

    Raises:
        ValueError: an argument out of range, named.
    """

    images_seen: Tensor

    def __init__(
        self,
        generator: GeneratorAdapter,
        discriminator: DiscriminatorAdapter,
        generator_lr: float = 0.002,
        discriminator_lr: float | None = None,
        betas: tuple[float, float] = (0.0, 0.99),
        adversarial_weight: float = 1.0,
        adversarial_warmup_steps: int = 0,
        r1_weight: float = 0.1,
        r1_interval: int = 16,
        r1_mask_out: bool = False,
        r1_mask_out_scale: bool = False,
        epsilon_weight: float = 0.001,
        trainable: str = "all",
        accumulate: int = 1,
        gradient_clip_norm: float | None = None,
        lr_schedule: LearningRateSchedule = "constant",
        lr_warmup_steps: int = 0,
        warm_start: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_at_least(1, r1_interval=r1_interval, accumulate=accumulate)
        check_above(0, generator_lr=generator_lr)
        if discriminator_lr is not None:
            check_above(0, discriminator_lr=discriminator_lr)
        if gradient_clip_norm is not None:
            check_above(0, gradient_clip_norm=gradient_clip_norm)
        check_at_least(
            0,
            adversarial_weight=adversarial_weight,
            adversarial_warmup_steps=adversarial_warmup_steps,
            r1_weight=r1_weight,
            epsilon_weight=epsilon_weight,
            lr_warmup_steps=lr_warmup_steps,
        )
        check_choice(get_args(LearningRateSchedule), lr_schedule=lr_schedule)
        self.save_hyperparameters(ignore=["generator", "discriminator"])
        # The command line saves the arguments of a subclass alone; ours are read below. Not before
        # the call above, which takes every local name for an argument.
        given = locals()
        for name in inspect.signature(VideoFineTuner.__init__).parameters:
            if name not in ("self", "generator", "discriminator"):
                self.hparams.setdefault(name, given[name])
        self.automatic_optimization = False
        self.generator, self.discriminator = generator, discriminator
        freeze_all_but(generator.parameter_groups(), trainable)
        self.generator_ema = copy.deepcopy(generator).eval().requires_grad_(False)
        self.register_buffer("images_seen", torch.zeros((), dtype=torch.long))
        self._part_log = PartLog()
        self.metrics = torch.nn.ModuleDict({"val": ClipMetrics(), "test": ClipMetrics()})

    # ------------------------------------------------------------------ set-up

    def configure_callbacks(self) -> list[Callback]:
        """Check the trainer's options, before Lightning refuses them without naming ours."""
        check_trainer_options(self.trainer)
        return []

    def setup(self, stage: str) -> None:
        """Refuse strategies under which the alternating updates would fail or diverge silently."""
        del stage
        check_strategy(self.trainer.strategy)

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LambdaLR]]:
        """Return two Adams, the discriminator's corrected for lazy R1, and their schedules."""
        hp = self.hparams
        d_lr = hp["generator_lr"] if hp["discriminator_lr"] is None else hp["discriminator_lr"]
        trained = [p for p in self.generator.parameters() if p.requires_grad]
        if not trained:
            raise MisconfigurationException(
                f"{type(self.generator).__name__} has nothing to train: use `validate`, `test` or "
                "`predict` with it, or another `trainable`."
            )
        g_opt = Adam(trained, lr=hp["generator_lr"], betas=hp["betas"])
        d_opt = lazy_adam(
            list(self.discriminator.parameters()), d_lr, hp["betas"], hp["r1_interval"]
        )
        if hp["warm_start"] is not None:
            saved = read_training_checkpoint(hp["warm_start"])
            for opt, adapter, key in (
                (g_opt, self.generator, "generator"),
                (d_opt, self.discriminator, "discriminator"),
            ):
                network = adapter.get_submodule("net")
                moments = saved[f"{key[0].upper()}_optimizer"]
                restore_moments(opt, network, moments, list(saved[key]))
        schedules = [LambdaLR(opt, self._lr_factor) for opt in (g_opt, d_opt)]
        self._settings = [optimizer_settings(opt) for opt in (g_opt, d_opt)]
        return [g_opt, d_opt], schedules

    def on_train_start(self) -> None:
        """Train with the configured rates; a checkpoint has put its own in their place."""
        optimizers = cast(list[LightningOptimizer], self.optimizers())
        schedules = cast(list[LambdaLR], self.lr_schedulers())
        for opt, schedule, settings in zip(optimizers, schedules, self._settings, strict=True):
            keep_settings(opt.optimizer, schedule, settings)

    def _lr_factor(self, update: int) -> float:
        hp = self.hparams
        return lr_factor(update, self.trainer.max_steps, hp["lr_schedule"], hp["lr_warmup_steps"])

    # ------------------------------------------------------------------ training

    def forward(self, batch: Batch, z: Tensor) -> Tensor:
        """Anonymize clips with the averaged generator.

        Args:
            batch: see :mod:`dp3_lightning.structures`.
            z: ``(B, z_dim)``.

        Returns:
            Composites ``(B, T, 3, H, W)``, clamped to [-1, 1].
        """
        clip, keep_mask = batch["clip"], batch["keep_mask"]
        extra = frame_conditions(batch)
        if self.generator_ema.needs_clip:
            extra["clip"] = clip
        raw = self.generator_ema(clip * keep_mask, keep_mask, z, conditions=extra)
        return composite(clip, keep_mask, raw).clamp(-1, 1)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Update the discriminator, the generator and its average once each."""
        check_clip_inputs(batch["clip"], batch["keep_mask"], "clip")
        parts = split_batch(batch, self.hparams["accumulate"])
        n_images = batch["clip"].shape[:2].numel() * self.trainer.world_size
        decay = self._averaging_decay(n_images)
        g_opt, d_opt = cast(list[LightningOptimizer], self.optimizers())
        self._update_discriminator(parts, d_opt)
        self._update_generator(parts, g_opt)
        self._part_log.flush(self)
        check_loss_scale(self.trainer)
        self.images_seen += n_images
        update_average(self.generator_ema, self.generator, decay)
        for schedule in cast(list[LambdaLR], self.lr_schedulers()):
            schedule.step()

    def _averaging_decay(self, n_images: int) -> float:
        return averaging_decay(n_images, int(self.images_seen))

    def _latents(self, batch: Batch, purpose: str, step: int) -> Tensor:
        key = (self.hparams["seed"], purpose, step)
        z = keyed_normal(sample_keys(batch, self.global_rank), self.generator.z_dim, *key)
        return z.to(batch["clip"])

    def _update_discriminator(
        self, parts: list[tuple[Batch, float]], d_opt: LightningOptimizer
    ) -> None:
        step = self.trainer.global_step
        lazy = step % self.hparams["r1_interval"] == 0
        self.toggle_optimizer(d_opt)
        d_opt.zero_grad()
        w_sum: Tensor | None = None
        for batch, share in parts:
            z = self._latents(batch, "discriminator", step)
            self._part_log.share = share
            terms = self._discriminator_terms(batch, z, lazy)
            check_finite(self, terms, "discriminator")
            self._backward(torch.stack(list(terms.values())).sum() * share)
            latent_sum = self.generator.latent_sum(z)
            if latent_sum is not None:
                w_sum = latent_sum if w_sum is None else w_sum + latent_sum
        # Stepped past LightningOptimizer, which would count it in `global_step`.
        self.trainer.strategy.optimizer_step(d_opt.optimizer, lambda: None, model=self)
        self.untoggle_optimizer(d_opt)
        if w_sum is not None:
            self._track_latent_average(w_sum, sum(len(batch["clip"]) for batch, _ in parts))

    def _backward(self, loss: Tensor) -> None:
        """Run backward with autocast off, so that R1's double backward stays float32."""
        with torch.autocast(loss.device.type, enabled=False):
            self.manual_backward(loss)

    def _discriminator_terms(self, batch: Batch, z: Tensor, lazy: bool) -> dict[str, Tensor]:
        hp, extra = self.hparams, frame_conditions(batch)
        clip, keep_mask = batch["clip"], batch["keep_mask"]
        condition = clip * keep_mask
        with torch.no_grad():
            raw = self.generator(condition, keep_mask, z, conditions=extra)
            fake = composite(clip, keep_mask, raw)
        fake_scores = self.discriminator(fake, condition, keep_mask, extra)
        # The penalty's gradient is too small for half precision.
        with torch.autocast(
            clip.device.type, enabled=torch.is_autocast_enabled(clip.device.type) and not lazy
        ):
            real = clip.detach().requires_grad_(lazy)
            real_scores = self.discriminator(real, condition, keep_mask, extra)
            terms = {
                "adversarial": discriminator_adversarial_loss(
                    real_scores, fake_scores.to(real_scores)
                ),
                "epsilon": hp["epsilon_weight"] * epsilon_penalty(real_scores),
            }
            if lazy:
                mask = keep_mask if hp["r1_mask_out"] else None
                penalty = r1_gradient_penalty(
                    real_scores, real, mask, hp["r1_mask_out_scale"]
                ).mean()
                terms["r1"] = penalty * (hp["r1_weight"] * hp["r1_interval"] / 2)
                self._part_log.add("train/discriminator/r1", penalty)
        self._part_log.add("train/discriminator/adversarial", terms["adversarial"])
        self._part_log.add("train/discriminator/real_score", real_scores.mean())
        self._part_log.add("train/discriminator/fake_score", fake_scores.mean())
        return terms

    def _track_latent_average(self, w_sum: Tensor, n_clips: int) -> None:
        total = self.trainer.strategy.reduce(w_sum, reduce_op="sum")
        self.generator.update_latent_average(total / (n_clips * self.trainer.world_size))

    def _update_generator(
        self, parts: list[tuple[Batch, float]], g_opt: LightningOptimizer
    ) -> None:
        self.toggle_optimizer(g_opt)
        g_opt.zero_grad()
        for batch, share in parts:
            self._part_log.share = share
            terms = self._generator_terms(batch)
            check_finite(self, terms, "generator")
            self._backward(torch.stack(list(terms.values())).sum() * share)
        g_opt.step()
        self.untoggle_optimizer(g_opt)

    def _generator_terms(self, batch: Batch) -> dict[str, Tensor]:
        step, extra = self.trainer.global_step, frame_conditions(batch)
        clip, keep_mask = batch["clip"], batch["keep_mask"]
        condition = clip * keep_mask
        z = self._latents(batch, "generator", step)

        own = {"z": z, "clip": clip, "keep_mask": keep_mask}

        def generate(
            z: Tensor | None,
            frames: slice,
            clip: Tensor | None = None,
            keep_mask: Tensor | None = None,
        ) -> Tensor:
            z = own["z"] if z is None else z
            clip = own["clip"][:, frames] if clip is None else clip
            keep_mask = own["keep_mask"][:, frames] if keep_mask is None else keep_mask
            with torch.autocast(clip.device.type, enabled=autocast):
                part = {name: value[:, frames] for name, value in extra.items()}
                raw = self.generator(clip * keep_mask, keep_mask, z, conditions=part)
            return composite(clip, keep_mask, raw)

        autocast = torch.is_autocast_enabled(clip.device.type)
        raw = self.generator(condition, keep_mask, z, conditions=extra)
        raw = at_least_float32(raw)
        # DeepPrivacy2's rescaled gradient for its own game, the plain one for the additive terms.
        folded = mask_output(condition.flatten(0, 1), keep_mask.flatten(0, 1), raw.flatten(0, 1))
        scores = self.discriminator(folded.view_as(raw), condition, keep_mask, extra)
        adversarial = generator_adversarial_loss(scores)
        self._part_log.add("train/generator/adversarial", adversarial)
        seen = GeneratorStep(
            real=clip,
            fake=composite(clip, keep_mask, raw),
            keep_mask=keep_mask,
            batch=batch,
            generator_step=step,
            z=z if self.generator.z_dim else None,
            generate=generate,
            seed=self.hparams["seed"],
        )
        weighted = adversarial * self._adversarial_weight(step)
        return {"adversarial": weighted, **collect_losses(self, seen, self._part_log.add)}

    def _adversarial_weight(self, step: int) -> float:
        hp = self.hparams
        return float(hp["adversarial_weight"] * ramp(step, hp["adversarial_warmup_steps"]))

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip and check gradients, which are already unscaled here."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        limit = self.hparams["gradient_clip_norm"]
        g_opt = cast(list[LightningOptimizer], self.optimizers())[0]
        network = "generator" if optimizer is g_opt.optimizer else "discriminator"
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if limit is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
        self._part_log.put(f"train/{network}/gradient_norm", norm)
        check_gradient_norm(self.trainer, norm, network)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Compare the keys, and the trained parts, before anything is loaded.

        Raises:
            ValueError: keys or shapes do not fit; every one is listed. Or other parts of the
                generator were trained.
        """
        problems = key_problems(checkpoint["state_dict"], self.state_dict())
        if problems:
            raise ValueError(
                "The checkpoint does not fit this model: give the `generator` and `discriminator` "
                f"presets it was trained with. {len(problems)} problems:\n  "
                + "\n  ".join(problems)
            )
        fitting = self._trainer is not None and self.trainer.state.fn == "fit"
        if fitting and (states := checkpoint.get("optimizer_states")):
            there = sum(len(group["params"]) for group in states[0]["param_groups"])
            here = sum(p.requires_grad for p in self.generator.parameters())
            if there != here:
                raise ValueError(
                    f"The checkpoint's run trained {there} parameters of the generator, `trainable:"
                    f" {self.hparams['trainable']}` means {here}: give its `trainable`, or start a "
                    "new run from its weights, with `model.generator.weights`."
                )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the generator's configuration, so that :func:`load_generator` needs no other."""
        if self.generator.config is not None:
            checkpoint[CONFIG_KEY] = self.generator.config

    # ------------------------------------------------------------------ evaluation

    def _evaluate(self, batch: Batch, stage: str) -> None:
        self._clip_metrics(stage).update(self.predict_step(batch, 0)["fake"], batch)

    def _log_metrics(self, stage: str) -> None:
        for name, value in self._clip_metrics(stage).compute().items():
            # Averaged over processes already; `sync_dist` averages equal values, and says so.
            self.log(f"{stage}/{name}", value, prog_bar=stage == "val", sync_dist=True)

    def _clip_metrics(self, stage: str) -> ClipMetrics:
        return cast(ClipMetrics, self.metrics[stage])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure the averaged generator: error on the inner ring, warping error of the hole."""
        self._evaluate(batch, "val")

    def on_validation_epoch_end(self) -> None:
        """Log ``val/ring_error``, ``val/warping_error`` and its excess over the real frames'."""
        self._log_metrics("val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure as in validation, on the test split."""
        self._evaluate(batch, "test")

    def on_test_epoch_end(self) -> None:
        """Log ``test/...``."""
        self._log_metrics("test")

    @torch.no_grad()
    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Anonymize clips with one fixed latent per face track, so that a person keeps a face.

        Returns:
            ``fake`` ``(B, T, 3, H, W)`` in [-1, 1], and the batch's ``source`` and ``frame_index``.
        """
        keys = track_keys(batch, self.global_rank)
        z = keyed_normal(keys, self.generator.z_dim, self.hparams["seed"], "evaluation")
        fake = self(batch, z.to(batch["clip"]))
        return {
            "fake": fake,
            "source": batch.get("source"),
            "frame_index": batch.get("frame_index"),
        }
