"""Add the perceptual term."""

from __future__ import annotations

from typing import Literal, get_args

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn

from dp3_lightning.assets import asset_path
from dp3_lightning.callbacks.base import LossCallback
from dp3_lightning.callbacks.pixel import warn_without_identity_term
from dp3_lightning.checks import check_choice
from dp3_lightning.losses.perceptual import (
    MobileNetV2Distance,
    lpips_distance,
    lpips_trunk,
    perceptual_loss,
)
from dp3_lightning.structures import GeneratorStep

PerceptualNet = Literal["auto", "alex", "vgg", "mobilenet_v2"]
PerceptualMode = Literal["ring", "full"]


class PerceptualLoss(LossCallback):
    """Penalise the perceptual distance of the composite to the real frame.

    Args:
        weight: see :class:`LossCallback`.
        warmup_steps: see :class:`LossCallback`.
        name: see :class:`LossCallback`.
        net: ``alex`` or ``vgg``: LPIPS, whose trunk must lie in the torch hub cache;
            ``mobilenet_v2``: distance of MobileNetV2 features (fetched as a pinned asset);
            ``auto``: the first of alex, vgg, mobilenet_v2 that is available; its name is printed.
        weights: file of the MobileNetV2 weights; default: the asset.
        mode: ``ring`` or ``full``, see :func:`dp3_lightning.losses.perceptual_loss`; ``full`` warns
            unless an :class:`IdentityLoss` is attached.
    """

    def __init__(
        self,
        weight: float = 1.0,
        warmup_steps: int = 0,
        name: str | None = None,
        net: PerceptualNet = "auto",
        weights: str | None = None,
        mode: PerceptualMode = "ring",
    ) -> None:
        super().__init__(weight, warmup_steps, name)
        check_choice(get_args(PerceptualNet), net=net)
        check_choice(get_args(PerceptualMode), mode=mode)
        self.net, self.weights, self.mode = net, weights, mode
        self._distance: tuple[nn.Module, ...] = ()

    def _build(self) -> nn.Module:
        net = self.net
        if net == "auto":
            at_hand = [n for n in ("alex", "vgg") if lpips_trunk(n).is_file()]
            net = at_hand[0] if at_hand else "mobilenet_v2"  # type: ignore[assignment]
        if net in ("alex", "vgg"):
            rank_zero_info(f"PerceptualLoss: LPIPS with the {net} trunk.")
            return lpips_distance(net)
        rank_zero_info("PerceptualLoss: MobileNetV2 feature distance (not LPIPS).")
        return MobileNetV2Distance(self.weights or asset_path("mobilenet_v2"))

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Build the network; warn about ``full`` without an identity term."""
        if stage != "fit":
            return
        if not self._distance:
            self._distance = (self._build(),)
        if self.mode == "full":
            warn_without_identity_term(self, trainer)

    def compute_loss(self, step: GeneratorStep) -> Tensor:
        """Return the perceptual loss per generated fraction."""
        if not self._distance:
            self._distance = (self._build(),)
        distance = self._distance[0].to(step.fake)
        return perceptual_loss(step.fake, step.real, step.keep_mask, distance, self.mode)
