"""The identity term with an embedder that aligns faces, and with the shipped one."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser

from dp3_lightning.callbacks import IdentityLoss, LossCallback
from dp3_lightning.callbacks.base import collect_losses
from dp3_lightning.faces import YuNet
from dp3_lightning.faces.alignment import upright_points
from dp3_lightning.faces.sface import SFace, align_face
from dp3_lightning.structures import GeneratorStep, UInt8Array
from tests.callbacks.test_terms import Embedder, step_of
from tests.faces.test_sface import picture


class Placed(Embedder):
    """Stands in for SFace: takes landmarks, and sees no face where they are NaN."""

    takes_landmarks = True

    def forward(self, images: torch.Tensor, landmarks: torch.Tensor) -> torch.Tensor:
        self.landmarks = landmarks
        unknown = landmarks.isnan().flatten(1).any(1)[:, None]
        return torch.where(unknown, torch.nan, images.flatten(2).mean(2))


def test_identity_term_gives_landmarks_of_the_batch_or_upright_ones_in_the_box() -> None:
    plain, embedder = step_of(), Placed()
    term = IdentityLoss(embedder, margin=-0.5)
    term.compute_loss(plain)
    boxes = plain.batch["box"].flatten(0, 1)
    expected = [upright_points(box) for box in boxes.numpy()]
    torch.testing.assert_close(embedder.landmarks, torch.tensor(np.array(expected)).float())
    marks = torch.rand(2, 3, 5, 2)
    term.compute_loss(replace(plain, batch={**plain.batch, "landmarks": marks}))
    assert torch.equal(embedder.landmarks, marks.flatten(0, 1))
    bare = {k: v for k, v in plain.batch.items() if k != "box"}
    with pytest.raises(ValueError, match="`landmarks` or `box` in the batch"):
        term.compute_loss(replace(plain, batch=bare))


def test_identity_term_is_zero_where_no_face_can_be_embedded() -> None:
    plain, term = step_of(), IdentityLoss(Placed(), margin=-0.5)
    marks = torch.full((2, 3, 5, 2), torch.nan)
    loss = term.compute_loss(replace(plain, batch={**plain.batch, "landmarks": marks}))
    loss.backward()
    assert loss == 0
    assert not plain.fake.grad.any()


def test_identity_term_fetches_sface_when_training_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Placed] = []
    monkeypatch.setattr(
        "dp3_lightning.callbacks.identity.SFaceNetwork", lambda: built.append(Placed()) or built[0]
    )
    term = IdentityLoss(embedder="sface", margin=-0.5)
    assert built == []  # reading a configuration fetches nothing
    term.on_fit_start(SimpleNamespace(), SimpleNamespace(device=torch.device("cpu")))
    assert term.compute_loss(step_of()) > 0
    assert len(built) == 1
    with pytest.raises(ValueError, match=r"`embedder` to be one of \['sface'\], got 'arcface'"):
        IdentityLoss("arcface")


def test_identity_term_is_read_from_yaml() -> None:
    parser = ArgumentParser()
    parser.add_argument("--term", type=LossCallback)
    for given in ({}, {"embedder": "sface"}):
        read = parser.parse_object({"term": {"class_path": "IdentityLoss", "init_args": given}})
        assert parser.instantiate_classes(read).term._embedder == []
    path = f"{__name__}.Placed"
    given = {"embedder": {"class_path": path}}
    read = parser.parse_object({"term": {"class_path": "IdentityLoss", "init_args": given}})
    (embedder,) = parser.instantiate_classes(read).term._embedder
    assert type(embedder).__name__ == "Placed"


@pytest.mark.assets
def test_identity_term_with_sface_in_bfloat16_training() -> None:
    step = step_of()
    term = IdentityLoss(margin=-1.0, name="sface")
    owner: Any = SimpleNamespace(trainer=SimpleNamespace(callbacks=[term]))
    with torch.autocast("cpu", torch.bfloat16):
        low = replace(step, fake=step.fake.bfloat16())
        mixed = collect_losses(owner, low, log=lambda *_: None)["sface"]
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, term.compute_loss(step), rtol=0.05, atol=0.01)
    mixed.backward()
    hole = (1 - step.keep_mask).expand_as(step.fake).bool()
    assert step.fake.grad[hole].abs().sum() > 0
    assert all(p.grad is None for p in term._embedder[0].parameters())


@pytest.mark.assets
def test_following_the_gradient_makes_opencv_take_a_face_for_another() -> None:
    frame = cv2.resize(picture("portrait_obama"), None, fx=0.3, fy=0.3)
    marks = np.array(YuNet()([frame])[0][0].landmarks)
    real = torch.from_numpy(frame).permute(2, 0, 1)[None, None].float() / 127.5 - 1
    batch = {"landmarks": torch.from_numpy(marks)[None, None]}
    term = IdentityLoss(margin=0.2)
    # A little beside the real face: at the face itself the cosine has its maximum and no slope.
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(0))
    fake = (real + 0.02 * noise).clamp(-1, 1).requires_grad_()
    for _ in range(12):
        step = GeneratorStep(real, fake, torch.zeros_like(real[:, :, :1]), batch, 0)
        (slope,) = torch.autograd.grad(term.compute_loss(step), fake)
        fake = (fake - 0.01 * slope.sign()).clamp(-1, 1).detach().requires_grad_()

    def cut(pixels: torch.Tensor) -> UInt8Array:
        levels = ((pixels[0, 0].detach() + 1) * 127.5).round().byte()
        return align_face(np.ascontiguousarray(levels.permute(1, 2, 0).numpy()), marks)

    before, after = SFace().embed(np.stack([cut(real), cut(fake)]))
    assert before @ after < 0.363  # the cosine above which OpenCV sees one person; 1 at first
