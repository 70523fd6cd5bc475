"""Fold time into the batch for discriminators, as the generator adapter does for generators."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from dp3_lightning.discriminators.stylegan2 import StyleGAN2Discriminator
from dp3_lightning.generators.checkpoints import (
    discriminator_state,
    load_state,
    read_checkpoint,
)


class DiscriminatorAdapter(nn.Module):
    """Score every frame of clips with an image discriminator.

    Args:
        net: a preset name or a network called as
            ``net(img=..., condition=..., mask=..., **conditions)["score"]``.
        weights: training checkpoint of DeepPrivacy2 or of this package; None or ``random`` starts
            from random weights.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no discriminator in the file, or one that does not fit (keys are listed).
    """

    def __init__(self, net: nn.Module | str = "fdf128", weights: str | None = None) -> None:
        super().__init__()
        self.net = StyleGAN2Discriminator.from_preset(net) if isinstance(net, str) else net
        if weights not in (None, "random"):
            path = Path(str(weights)).expanduser()
            if not path.is_file():
                raise FileNotFoundError(
                    f"No training checkpoint at {str(weights)!r}: give the discriminator's "
                    "`weights` a file, or leave them out to start from random ones."
                )
            load_state(self.net, discriminator_state(read_checkpoint(path)), str(path))

    def forward(
        self,
        clip: Tensor,
        condition: Tensor,
        keep_mask: Tensor,
        conditions: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Score clips ``(B, T, 3, H, W)``; returns ``(B, T)``, larger is more real.

        Clip-major folding puts frames of the same time in one group of the minibatch statistic
        whenever the number of clips is a multiple of the group, so that it compares people and not
        neighbouring frames, and so that the groups of a rank are the groups of one large batch.
        """
        folded = {name: value.flatten(0, 1) for name, value in (conditions or {}).items()}
        score: Tensor = self.net(
            img=clip.flatten(0, 1),
            condition=condition.flatten(0, 1),
            mask=keep_mask.flatten(0, 1),
            **folded,
        )["score"]
        return score.view(clip.shape[:2])
