"""Add the identity term: away from the real person, up to a margin."""

from __future__ import annotations

from typing import Literal

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

from dp3_lightning.callbacks.base import LossCallback
from dp3_lightning.checks import check_between, check_choice
from dp3_lightning.faces.alignment import upright_points
from dp3_lightning.faces.sface_network import SFaceNetwork
from dp3_lightning.losses.identity import identity_hinge
from dp3_lightning.structures import GeneratorStep


class IdentityLoss(LossCallback):
    """Penalise the cosine between embeddings of generated and real faces above a margin.

    Evaluate privacy with another recogniser than the one used here: after a training against SFace,
    SFace no longer tells whether a person can be recognised.

    Args:
        embedder: ``sface`` for :class:`~dp3_lightning.faces.SFaceNetwork`, whose
            weights are fetched as a pinned asset when training starts; or a differentiable face
            embedder, ``(N, 3, H, W)`` in [-1, 1] to ``(N, D)``; a row of NaN or zeros means that
            the face could not be embedded and does not count. One with ``takes_landmarks = True``
            is called with ``(N, 5, 2)`` landmarks in pixels as well: the batch's (of the real
            faces; ``landmarks: true`` of the data), else those of an upright face in its box.
            Weights stay frozen and are not written into checkpoints.
        weight: see :class:`LossCallback`.
        warmup_steps: see :class:`LossCallback`.
        name: see :class:`LossCallback`.
        margin: cosine in [-1, 1] below which the term is 0.

    Raises:
        ValueError: ``embedder`` is another word, or ``margin`` is outside [-1, 1].
    """

    def __init__(
        self,
        embedder: nn.Module | Literal["sface"] = "sface",
        weight: float = 1.0,
        warmup_steps: int = 0,
        name: str | None = None,
        margin: float = 0.2,
    ) -> None:
        super().__init__(weight, warmup_steps, name)
        check_between(-1, 1, margin=margin)
        self.margin = float(margin)
        if not isinstance(embedder, nn.Module):
            check_choice(("sface",), embedder=embedder)
        # In a list, so that nothing registers it as a part of the trained module.
        self._embedder = [embedder] if isinstance(embedder, nn.Module) else []
        self._checked = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fetch the embedder where it is a shipped one, and move it to the module's device."""
        self._network().to(pl_module.device)

    def compute_loss(self, step: GeneratorStep) -> Tensor:
        """Return the hinge, averaged over frames, then clips.

        Raises:
            TypeError: the embedder passes no gradient to the generated faces.
            ValueError: it returns another shape, or needs landmarks that the batch has not.
        """
        embedder = self._network().to(step.fake)
        shape = step.fake.shape[:2]
        places = [_landmarks(step)] if getattr(embedder, "takes_landmarks", False) else []
        with torch.no_grad():
            real = embedder(step.real.flatten(0, 1), *places)
        fake = embedder(step.fake.flatten(0, 1), *places)
        if fake.ndim != 2 or fake.shape[0] != shape.numel():
            raise ValueError(
                f"Expected {type(embedder).__name__} to return (N, D) with N = {shape.numel()}, "
                f"got {tuple(fake.shape)}."
            )
        self._check_differentiable(fake, step.fake)
        per_clip = identity_hinge(fake, real, self.margin).view(shape).mean(dim=1)
        return per_clip.mean() + step.fake.sum() * 0

    def _network(self) -> nn.Module:
        if not self._embedder:
            self._embedder.append(SFaceNetwork())
        return self._embedder[0].eval().requires_grad_(False)

    def _check_differentiable(self, embedding: Tensor, fake: Tensor) -> None:
        usable = embedding.detach().isfinite().all(dim=1) & embedding.detach().any(dim=1)
        if self._checked or not fake.requires_grad or not usable.any():
            return  # without an embeddable face, no gradient is right
        gradient = None
        if embedding.requires_grad:
            (gradient,) = torch.autograd.grad(
                embedding[usable].square().sum(), fake, retain_graph=True, allow_unused=True
            )
        if gradient is None or not gradient.any():
            raise TypeError(
                f"{type(self._embedder[0]).__name__} passes no gradient from its embedding to the "
                "face, so an identity loss with it would train nothing. Give a differentiable "
                "embedder (a torch network without detach, numpy or no_grad inside)."
            )
        self._checked = True


def _landmarks(step: GeneratorStep) -> Tensor:
    """Return the landmarks of the step's real faces, ``(B * T, 5, 2)`` in pixels."""
    given, boxes = step.batch.get("landmarks"), step.batch.get("box")
    if given is not None:
        return given.flatten(0, 1).to(step.fake)  # type: ignore[no-any-return]
    if boxes is None:
        raise ValueError(
            "Expected `landmarks` or `box` in the batch, by which the embedder aligns faces: set "
            "`landmarks: true` in the data's settings."
        )
    boxes = boxes.flatten(0, 1).to(step.fake)
    upright = torch.from_numpy(upright_points((0, 0, 1, 1))).to(boxes)
    return boxes[:, None, :2] + upright * (boxes[:, None, 2:] - boxes[:, None, :2])  # type: ignore[no-any-return]
