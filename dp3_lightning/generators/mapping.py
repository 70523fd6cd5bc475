"""Map latents ``z`` to styles ``w``, with moving average and truncation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dp3_lightning.generators.layers import EqualizedLinear

W_AVG_DECAY = 0.998


class MappingNetwork(nn.Module):
    """Map a normalised latent by two equalised layers (`style_net` in DeepPrivacy2's weights).

    Args:
        z_dim: width of the latent.
        w_dim: width of the style.
    """

    w_avg: Tensor
    w_centers: Tensor

    def __init__(self, z_dim: int, w_dim: int) -> None:
        super().__init__()
        self.z_dim, self.w_dim = z_dim, w_dim
        self.fc0 = EqualizedLinear(z_dim, w_dim, activation="lrelu", lr_multiplier=0.01)
        self.fc1 = EqualizedLinear(w_dim, w_dim, activation="lrelu", lr_multiplier=0.01)
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor, update_emas: bool = False) -> Tensor:
        """Map latents ``(N, z_dim)`` to styles ``(N, w_dim)``.

        Args:
            z: latents; their length does not matter, only their direction.
            update_emas: move ``w_avg`` towards the mean of this batch.
        """
        z = z.to(self.fc0.weight.dtype)
        z = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
        w: Tensor = self.fc1(self.fc0(z))
        if update_emas:
            self.update_average(w.detach().mean(dim=0))
        return w

    @torch.no_grad()
    def update_average(self, w_mean: Tensor) -> None:
        """Move ``w_avg`` towards ``w_mean`` ``(w_dim,)`` by 0.2 %."""
        self.w_avg.copy_(w_mean.to(self.w_avg.dtype).lerp(self.w_avg, W_AVG_DECAY))

    def _sample_w(self, z: Tensor | None, n: int | None) -> Tensor:
        if z is None:
            if n is None:
                raise ValueError("Expected `z` or the number of samples `n`, got neither.")
            z = torch.randn(n, self.z_dim, device=self.w_avg.device)
        w: Tensor = self(z.to(self.w_avg.device))
        return w

    @staticmethod
    def _truncate(center: Tensor, w: Tensor, truncation_value: float) -> Tensor:
        return center.to(w.dtype).lerp(w, min(max(float(truncation_value), 0.0), 1.0))

    def get_truncated(
        self,
        truncation_value: float,
        condition: Tensor | None = None,
        z: Tensor | None = None,
        n: int | None = None,
    ) -> Tensor:
        """Pull styles towards the average person.

        Args:
            truncation_value: 0 gives ``w_avg`` whatever ``z`` is, 1 the style of ``z``; clipped to
                [0, 1].
            condition: used for its batch size only, when neither ``z`` nor ``n`` is given.
            z: latents ``(N, z_dim)``; drawn from N(0, 1) when None.
            n: number of latents to draw.

        Returns:
            ``(N, w_dim)``.
        """
        if n is None and condition is not None:
            n = condition.shape[0]
        w = self._sample_w(z, n)
        return self._truncate(self.w_avg.expand_as(w), w, truncation_value)

    def multi_modal_truncate(
        self,
        truncation_value: float,
        w_indices: Tensor | np.ndarray | list[int] | None = None,
        z: Tensor | None = None,
        n: int | None = None,
    ) -> Tensor:
        """Pull styles towards one of several typical people (``w_centers``) instead of the average.

        Args:
            truncation_value: as in :meth:`get_truncated`.
            w_indices: index of the centre per sample; None draws from NumPy's global generator.
            z: latents ``(N, z_dim)``; drawn when None.
            n: number of latents to draw.

        Raises:
            ValueError: when the loaded weights have no centres.
        """
        centers = getattr(self, "w_centers", None)
        if centers is None:
            raise ValueError(
                "Expected weights with `style_net.w_centers` for multi-modal truncation, got none: "
                "load a checkpoint that carries them or use `get_truncated`."
            )
        w = self._sample_w(z, n)
        if w_indices is None:
            w_indices = np.random.randint(0, len(centers), size=(len(w),))
        indices = torch.as_tensor(w_indices, device=centers.device, dtype=torch.long)
        return self._truncate(centers[indices], w, truncation_value)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        """Accept centres where the state has them: checkpoints then load without their origin."""
        centers = state_dict.get(f"{prefix}w_centers")
        if centers is not None and getattr(self, "w_centers", None) is None:
            self.set_centers(centers)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def set_centers(self, centers: Tensor) -> None:
        """Attach centres ``(K, w_dim)`` for multi-modal truncation; they enter the state dict."""
        self.register_buffer("w_centers", centers.to(self.w_avg.device, torch.float32))
