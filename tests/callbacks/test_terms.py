from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from dp3_lightning.callbacks import (
    CropConsistencyLoss,
    FlowConsistencyLoss,
    IdentityLoss,
    LatentDiversityLoss,
    LossCallback,
    PerceptualLoss,
    PixelLoss,
    TemporalVariationLoss,
    TotalVariationLoss,
)
from dp3_lightning.losses import flow_consistency
from dp3_lightning.losses.flow_consistency import pair_visibility
from dp3_lightning.optical_flow import FarnebackFlow, FlowEstimator
from dp3_lightning.structures import GeneratorStep
from tests.training_fixtures import batch_of


def step_of(n_frames: int = 3, flow: bool = True) -> GeneratorStep:
    batch = batch_of(2, n_frames)
    if not flow:
        batch = {k: v for k, v in batch.items() if not k.startswith("flow_")}
    real, mask = batch["clip"], batch["keep_mask"]
    torch.manual_seed(0)
    fake = (mask * real + (1 - mask) * torch.randn_like(real) * 0.3).requires_grad_()
    return GeneratorStep(real, fake, mask, batch, generator_step=0)


class Embedder(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(2).mean(2)


TERMS: list[LossCallback] = [
    TotalVariationLoss(),
    TemporalVariationLoss(),
    PixelLoss(),
    PixelLoss(loss="mae", mode="full"),
    FlowConsistencyLoss(),
    IdentityLoss(Embedder(), margin=-0.5),
]


@pytest.mark.parametrize("term", TERMS, ids=lambda t: t.name)
def test_gradient_reaches_the_hole(term: LossCallback) -> None:
    step = step_of()
    loss = term.compute_loss(step)
    assert loss.ndim == 0
    assert loss > 0
    loss.backward()
    hole = (1 - step.keep_mask).expand_as(step.fake).bool()
    assert step.fake.grad[hole].abs().sum() > 0
    assert torch.isfinite(step.fake.grad).all()


@pytest.mark.parametrize("term", TERMS, ids=lambda t: t.name)
def test_batch_is_the_mean_of_its_clips(term: LossCallback) -> None:
    step = step_of()
    parts = []
    for i in range(2):
        batch = {k: v[i : i + 1] for k, v in step.batch.items()}
        parts.append(
            GeneratorStep(
                step.real[i : i + 1], step.fake[i : i + 1], step.keep_mask[i : i + 1], batch, 0
            )
        )
    mean = torch.stack([term.compute_loss(part) for part in parts]).mean()
    torch.testing.assert_close(term.compute_loss(step), mean, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "term", [*TERMS, LatentDiversityLoss(), CropConsistencyLoss()], ids=lambda t: t.name
)
def test_clips_of_one_frame_work(term: LossCallback) -> None:
    loss = term.compute_loss(step_of(n_frames=1))
    loss.backward()  # connected to the graph even where it does not apply
    assert torch.isfinite(loss)


def test_flow_term_is_short_plus_long_by_hand() -> None:
    step = step_of()
    b, fake, hole = step.batch, step.fake, 1 - step.keep_mask
    valid = torch.ones(2, 2, dtype=torch.bool)
    short = flow_consistency(
        fake[:, 1:],
        fake[:, :-1],
        b["flow_to_previous"],
        hole[:, 1:] * pair_visibility(b["flow_to_previous"], b["flow_from_previous"], valid),
    )
    long = flow_consistency(
        fake[:, 2:],
        fake[:, :1],
        b["flow_to_first"][:, 1:],
        hole[:, 2:] * pair_visibility(b["flow_to_first"], b["flow_from_first"], valid)[:, 1:],
    )
    term = FlowConsistencyLoss(short_weight=2.0, long_weight=0.5)
    torch.testing.assert_close(term.compute_loss(step), 2.0 * short + 0.5 * long)


def test_flow_is_measured_when_the_batch_has_none() -> None:
    calls = []

    class Spy(FarnebackFlow):
        def __call__(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            calls.append(source.shape)
            return super().__call__(source, target)

    estimator: FlowEstimator = Spy()
    term = FlowConsistencyLoss(estimator=estimator)
    assert term.compute_loss(step_of()) > 0
    assert not calls
    assert term.compute_loss(step_of(flow=False)) > 0
    assert len(calls) == 4


def test_frozen_output_has_no_flow_loss_only_where_nothing_moves() -> None:
    step = step_of()
    still = step.real[:, :1].expand_as(step.real) * 1.0
    frozen = GeneratorStep(step.real, still, step.keep_mask, step.batch, 0)
    real = GeneratorStep(step.real, step.real * 1.0, step.keep_mask, step.batch, 0)
    term = FlowConsistencyLoss()
    assert term.compute_loss(real) < term.compute_loss(frozen)


def test_identity_term_refuses_an_embedder_without_gradient() -> None:
    class Detached(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.detach().flatten(2).mean(2)

    with pytest.raises(TypeError, match=r"Detached.*no gradient"):
        IdentityLoss(Detached()).compute_loss(step_of())


def test_identity_term_keeps_its_network_out_of_checkpoints() -> None:
    term = IdentityLoss(nn.Linear(4, 2))
    assert term.state_dict() == {}
    assert not any(isinstance(v, nn.Module) for v in vars(term).values())


def test_latent_diversity_draws_the_first_frame_again() -> None:
    step = step_of()
    z = torch.randn(2, 8)
    asked = []

    def generate(
        other: torch.Tensor | None, frames: slice, *_: torch.Tensor | None
    ) -> torch.Tensor:
        asked.append((other, frames))
        return step.fake[:, frames]  # ignores the latent: the loss is at its ceiling

    inert = GeneratorStep(
        step.real, step.fake, step.keep_mask, step.batch, 5, z=z, generate=generate, seed=3
    )
    assert LatentDiversityLoss(target=0.1).compute_loss(inert).item() == pytest.approx(0.1)
    assert asked[0][1] == slice(0, 1)
    assert asked[0][0] is not None
    assert not torch.equal(asked[0][0], z)


def drawn(clip: torch.Tensor, keep_mask: torch.Tensor, anchored: bool) -> torch.Tensor:
    """A face that follows what is seen, or one that hangs on the crop's coordinates."""
    ramp = torch.linspace(-1, 1, clip.shape[-1]).expand_as(clip)
    face = ramp if anchored else -0.5 * clip
    return keep_mask * clip + (1 - keep_mask) * face


class Again:
    """Draws once more, and remembers what it was asked."""

    clip: torch.Tensor
    keep_mask: torch.Tensor
    frames: slice

    def __init__(self, anchored: bool) -> None:
        self.anchored = anchored

    def __call__(
        self,
        z: torch.Tensor | None,
        frames: slice,
        clip: torch.Tensor | None = None,
        keep_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        assert clip is not None
        assert keep_mask is not None
        self.clip, self.keep_mask, self.frames = clip, keep_mask, frames
        return drawn(clip, keep_mask, self.anchored)


@pytest.mark.parametrize(("anchored", "jitter"), [(False, 0.1), (True, 0.1), (True, 0.0)])
def test_crop_consistency_punishes_faces_that_hang_on_the_crop(
    anchored: bool, jitter: float
) -> None:
    plain = step_of(4)
    again = Again(anchored)
    fake = drawn(plain.real, plain.keep_mask, anchored).requires_grad_()
    step = GeneratorStep(plain.real, fake, plain.keep_mask, plain.batch, 6, generate=again, seed=1)
    term = CropConsistencyLoss(hole_jitter=0.1, window_jitter=jitter)
    loss = term.compute_loss(step)
    assert again.frames == slice(2, 3)  # of four frames, at update 6
    assert not torch.equal(again.keep_mask, plain.keep_mask[:, 2:3])
    assert torch.equal(term.compute_loss(step), loss)  # the same draws for the same update
    if anchored and jitter:
        assert loss > 0.01
        loss.backward()
        assert fake.grad is not None
        assert fake.grad[:, 2].abs().sum() > 0
        assert fake.grad[:, :2].abs().sum() == 0
    else:  # only the hole moved, or the face follows the scene
        assert loss.item() == pytest.approx(0, abs=1e-6)


def test_crop_consistency_leaves_windows_with_embeddings_in_place() -> None:
    plain = step_of(1)
    batch = {**plain.batch, "embedding": torch.zeros(2, 1, 16, *plain.real.shape[-2:])}
    again = Again(anchored=False)
    step = GeneratorStep(plain.real, plain.fake, plain.keep_mask, batch, 0, generate=again)
    CropConsistencyLoss(window_jitter=0.2).compute_loss(step)
    assert torch.equal(again.clip, plain.real)


@pytest.mark.parametrize("term", [PixelLoss(mode="full"), PerceptualLoss(mode="full", net="alex")])
def test_full_modes_warn_without_an_identity_term(
    term: LossCallback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "dp3_lightning.callbacks.perceptual.lpips_distance", lambda _: nn.Identity()
    )
    with pytest.warns(UserWarning, match=r"reproduce the people"):
        term.setup(SimpleNamespace(callbacks=[term]), None, "fit")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        term.setup(SimpleNamespace(callbacks=[term, IdentityLoss(Embedder())]), None, "fit")


def test_lpips_without_its_trunk_says_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"alexnet-owt-7be5be79.pth"):
        PerceptualLoss(net="alex").compute_loss(step_of())


@pytest.mark.assets
def test_perceptual_term_falls_back_to_mobilenet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    step = step_of()
    loss = PerceptualLoss().compute_loss(step)
    loss.backward()
    assert loss > 0
    assert step.fake.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PixelLoss(mode="rim"), "rim"),
        (lambda: PixelLoss(loss="l3"), "l3"),
        (lambda: IdentityLoss(Embedder(), margin=2.0), "margin"),
        (lambda: LatentDiversityLoss(target=0.0), "target"),
        (lambda: CropConsistencyLoss(hole_jitter=0.5), "hole_jitter"),
        (lambda: FlowConsistencyLoss(short_weight=-1.0), "short_weight"),
    ],
)
def test_bad_arguments_are_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_identity_term_waits_for_a_face_before_it_judges_the_embedder() -> None:
    class Fussy(nn.Module):
        faces = False

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(2).mean(2) * (1.0 if self.faces else 0.0)

    embedder = Fussy()
    term = IdentityLoss(embedder)
    assert term.compute_loss(step_of()).item() == 0  # no face found in any frame
    embedder.faces = True
    term.compute_loss(step_of()).backward()


@pytest.mark.parametrize(("argument", "value"), [("net", "foo"), ("mode", "rings")])
def test_perceptual_term_knows_its_words(argument: str, value: str) -> None:
    with pytest.raises(ValueError, match=rf"`{argument}`.*'{value}'"):
        PerceptualLoss(**{argument: value})  # type: ignore[arg-type]
