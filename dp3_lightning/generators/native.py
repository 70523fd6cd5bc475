"""Adapt the native DeepPrivacy2 generator to clips."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dp3_lightning.generators.base import GeneratorAdapter, groups_by_name
from dp3_lightning.generators.checkpoints import load_weights
from dp3_lightning.generators.stylegan_unet import StyleGANUnet
from dp3_lightning.numerics import at_least_float32


class StyleGANUnetAdapter(GeneratorAdapter):
    """Draw clips with a :class:`StyleGANUnet`.

    Args:
        net: a preset name (``fdf128``, ``fdf256``, ``fdh_cse``, ``fdh_nocse``, ``small128``,
            ``small64``, ``tiny32``) or a built network.
        weights: where its weights come from: the name of published weights, a checkpoint file of
            DeepPrivacy2 or of this package, or a safetensors file; ``random`` or None starts from
            random weights.

    Raises:
        ValueError: unknown preset, or weights whose keys do not fit (they are listed).
        FileNotFoundError: no such file and no such name.
    """

    def __init__(self, net: StyleGANUnet | str = "fdf128", weights: str | None = None) -> None:
        super().__init__()
        self.net = StyleGANUnet.from_preset(net) if isinstance(net, str) else net
        # "random" besides None, because the command line cannot parse a nested `null`.
        if weights not in (None, "random"):
            load_weights(self.net, weights)
        self.image_size = self.net.imsize
        self.z_dim = self.net.z_channels

    @property
    def config(self) -> dict[str, Any]:
        """Return the constructor arguments of the :class:`StyleGANUnet`."""
        return self.net.config

    def map_latents(self, z: Tensor) -> Tensor:
        """Map latents ``(B, z_dim)`` to styles ``(B, w_dim)``."""
        styles: Tensor = self.net.style_net(z)
        return styles

    def draw(
        self,
        condition: Tensor,
        keep_mask: Tensor,
        w: Tensor | None,
        conditions: Mapping[str, Tensor],
    ) -> Tensor:
        """Draw single frames, see :meth:`GeneratorAdapter.draw`."""
        known = {k: conditions[k] for k in ("embedding", "keypoints", "E_mask") if k in conditions}
        x, features = self.net.encode(condition, keep_mask, **known)
        return self.net.decode(x, features, w)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Split into ``mapping`` (z to w), ``encoder`` and ``decoder`` (bridges, output)."""
        return groups_by_name(self.net)

    @torch.no_grad()
    def latent_sum(self, z: Tensor) -> Tensor | None:
        """Return the sum of the styles of ``z`` ``(B, z_dim)``, shape ``(w_dim,)``."""
        return at_least_float32(self.map_latents(z)).sum(dim=0)

    def update_latent_average(self, w_mean: Tensor) -> None:
        """Move ``style_net.w_avg`` towards ``w_mean`` ``(w_dim,)``."""
        self.net.style_net.update_average(w_mean)
