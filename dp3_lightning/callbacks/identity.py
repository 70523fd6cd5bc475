"""Add the identity term: away from the real person, up to a margin."""

from __future__ import annotations

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

from dp3_lightning.callbacks.base import LossCallback
from dp3_lightning.checks import check_between
from dp3_lightning.losses.identity import identity_hinge
from dp3_lightning.structures import GeneratorStep


class IdentityLoss(LossCallback):
    """Penalise the cosine between embeddings of generated and real faces above a margin.

    Evaluate privacy with another recogniser than the one used here.

    Args:
        embedder: differentiable face embedder, ``(N, 3, H, W)`` in [-1, 1] to ``(N, D)``; a row of
            NaN or zeros means that the face could not be embedded and does not count. Its weights
            stay frozen and are not written into checkpoints.
        weight: see :class:`LossCallback`.
        warmup_steps: see :class:`LossCallback`.
        name: see :class:`LossCallback`.
        margin: cosine in [-1, 1] below which the term is 0.
    """

    def __init__(
        self,
        embedder: nn.Module,
        weight: float = 1.0,
        warmup_steps: int = 0,
        name: str | None = None,
        margin: float = 0.2,
    ) -> None:
        super().__init__(weight, warmup_steps, name)
        check_between(-1, 1, margin=margin)
        self.margin = float(margin)
        # In a tuple, so that nothing registers it as a part of the trained module.
        self._embedder = (embedder.eval().requires_grad_(False),)
        self._checked = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Move the embedder to the module's device."""
        self._embedder[0].to(pl_module.device)

    def compute_loss(self, step: GeneratorStep) -> Tensor:
        """Return the hinge, averaged over frames, then clips.

        Raises:
            TypeError: the embedder passes no gradient to the generated faces.
        """
        embedder = self._embedder[0].to(step.fake)
        shape = step.fake.shape[:2]
        with torch.no_grad():
            real = embedder(step.real.flatten(0, 1))
        fake = embedder(step.fake.flatten(0, 1))
        if fake.ndim != 2 or fake.shape[0] != shape.numel():
            raise ValueError(
                f"Expected {type(embedder).__name__} to return (N, D) with N = {shape.numel()}, "
                f"got {tuple(fake.shape)}."
            )
        self._check_differentiable(fake, step.fake)
        per_clip = identity_hinge(fake, real, self.margin).view(shape).mean(dim=1)
        return per_clip.mean() + step.fake.sum() * 0

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
