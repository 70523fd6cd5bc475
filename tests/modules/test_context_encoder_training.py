from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from safetensors.torch import save_file
from torch import Tensor, nn

from dp3_lightning.data.context_samples import ContextDataModule
from dp3_lightning.generators.face_prior.context_encoder import ContextEncoder
from dp3_lightning.generators.face_prior.weights import shipped
from dp3_lightning.modules.context_encoder import ContextEncoderTraining
from dp3_lightning.studies.encoder_residuals import encoder_of
from tests.face_prior_fixtures import smooth_pictures, write_shard


def random_weights(folder: Path) -> str:
    torch.manual_seed(0)
    path = folder / "start.safetensors"
    save_file(ContextEncoder().state_dict(), path)
    return str(path)


def module_of(folder: Path, **arguments: Any) -> ContextEncoderTraining:
    return ContextEncoderTraining(start_from=random_weights(folder), **arguments)


def weights_of(encoder: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in encoder.state_dict().items()}


def test_two_steps_train_judge_and_leave_a_checkpoint(tmp_path: Path) -> None:
    faces = tmp_path / "faces"
    faces.mkdir()
    for number in range(2):
        write_shard(faces, number, smooth_pictures(4, seed=number))
    module = module_of(tmp_path, warmup_steps=1)
    before = weights_of(module.encoder)
    trainer = Trainer(
        accelerator="cpu",
        max_steps=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, ContextDataModule(str(faces), 1, batch_size=2))
    metrics = trainer.callback_metrics
    assert {"train/loss", "val/explained", "val/explained_top16"} <= set(metrics)
    assert all(torch.isfinite(value) for value in metrics.values())
    now, averaged = weights_of(module.encoder), weights_of(module.averaged)
    for name in ("output.weight", "features.0.0.weight", "features.17.conv.3.running_var"):
        assert not torch.equal(now[name], before[name])
        assert not torch.equal(averaged[name], before[name])
    assert not torch.equal(averaged["output.weight"], now["output.weight"])
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    encoder = encoder_of(tmp_path / "last.ckpt")
    assert not encoder.training
    assert all(torch.equal(value, averaged[k]) for k, value in encoder.state_dict().items())


def test_checkpoints_of_other_things_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt"):
        encoder_of(tmp_path / "none.ckpt")
    torch.save({"state_dict": {"encoder.output.bias": torch.zeros(512)}}, tmp_path / "o.ckpt")
    with pytest.raises(ValueError, match=r"o\.ckpt' is not a checkpoint of"):
        encoder_of(tmp_path / "o.ckpt")


def test_average_follows_fast_at_first_and_copies_statistics(tmp_path: Path) -> None:
    module = module_of(tmp_path)
    with torch.no_grad():
        module.encoder.output.bias.fill_(1.0)
        module.encoder.features[0][1].running_mean.fill_(5.0)
    module.on_train_batch_end(None, None, 0)
    torch.testing.assert_close(module.averaged.output.bias, torch.full((512,), 0.9))
    assert (module.averaged.features[0][1].running_mean == 5.0).all()
    assert not any(p.requires_grad for p in module.averaged.parameters())


class Guess(nn.Module):
    """Answers with a share of the truth on some axes."""

    def __init__(self, truth: Tensor, shares: Tensor) -> None:
        super().__init__()
        self.answer = truth * shares

    def forward(self, aligned: Tensor, known: Tensor) -> Tensor:
        return self.answer


def judged(module: ContextEncoderTraining, shares: Tensor) -> dict[str, float]:
    style = module.space.color(torch.randn(6, 512, generator=torch.Generator().manual_seed(0)))
    truth = module.space.whiten(style)
    logged: dict[str, float] = {}
    module.log = lambda name, value, **_: logged.update({name: float(value)})  # type: ignore[method-assign]
    batch = {"style": style, "aligned": torch.zeros(6, 3, 96, 96), "known": torch.ones(6)}
    module.averaged = Guess(truth, shares)  # type: ignore[assignment]
    for part in (slice(0, 2), slice(2, 6)):
        module.averaged.answer = (truth * shares)[part]
        module.validation_step({name: value[part] for name, value in batch.items()}, 0)
    module.on_validation_epoch_end()
    module.encoder = Guess(truth, shares)  # type: ignore[assignment]
    logged["loss"] = float(module.training_step(batch, 0))
    errors = (truth * (1 - shares)).square()
    scale = module.space.scale
    logged["expected loss"] = float((errors @ scale).mean() / scale.sum())
    return logged


def test_what_is_explained(tmp_path: Path) -> None:
    module = module_of(tmp_path)
    perfect, nothing = judged(module, torch.ones(512)), judged(module, torch.zeros(512))
    assert perfect["val/explained"] == pytest.approx(1.0, abs=1e-5)
    assert perfect["loss"] == pytest.approx(0.0, abs=1e-5)
    assert nothing["val/explained"] == pytest.approx(0.0, abs=1e-5)
    half = judged(module, torch.full((512,), 0.5))
    assert half["val/explained"] == pytest.approx(0.75, abs=1e-5)
    wide = (torch.arange(512) < 16).float()
    top = judged(module, wide)
    assert top["val/explained_top16"] == pytest.approx(1.0, abs=1e-5)
    assert 16 / 512 < top["val/explained"] < 1  # wide axes count by their variance
    for found in (perfect, nothing, half, top):
        assert found["loss"] == pytest.approx(found["expected loss"], rel=1e-4, abs=1e-6)


def test_pretrained_layers_learn_at_half_the_rate(tmp_path: Path) -> None:
    module = module_of(tmp_path, learning_rate=0.01, warmup_steps=4)
    module.trainer = Trainer(accelerator="cpu", max_steps=10, logger=False, barebones=True)
    made = module.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    pretrained, new = optimizer.param_groups
    assert len(pretrained["params"]) == len(list(module.encoder.features.parameters()))
    n_trained = len(pretrained["params"]) + len(new["params"])
    assert n_trained == len(list(module.encoder.parameters()))
    rates = []
    for _ in range(11):
        assert pretrained["lr"] == pytest.approx(new["lr"] / 2)
        rates.append(new["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(0.01 / 4, rel=0.01)  # warm-up
    assert max(rates) == rates[3]
    assert rates[-1] == pytest.approx(0.01 * 0.01)  # the cosine's end


def test_training_goes_on_from_shipped_weights() -> None:
    module = ContextEncoderTraining(start_from=str(shipped("context_encoder")))
    state = module.encoder.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in module.averaged.state_dict().items())
    assert all(torch.isfinite(v).all() for v in state.values())


@pytest.mark.parametrize(
    "arguments", [{"learning_rate": 0.0}, {"warmup_steps": -1}, {"weight_decay": -0.1}]
)
def test_bad_arguments(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        ContextEncoderTraining(**arguments)


@pytest.mark.assets
def test_training_starts_from_imagenet() -> None:
    torch.manual_seed(1)
    module = ContextEncoderTraining()
    first = module.encoder.features[0][0].weight
    assert float(first[:, :3].detach().std()) > 0.1
    assert not first[:, 3].any()
    assert torch.equal(first, module.averaged.features[0][0].weight)
