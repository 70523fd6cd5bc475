"""Define the contract that every generator keeps in training, preview and anonymization."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dp3_lightning.numerics import at_least_float32


def check_clip_inputs(clip: Tensor, keep_mask: Tensor, clip_name: str = "condition") -> None:
    """Raise unless a clip ``(B, T, 3, H, W)`` and a mask ``(B, T, 1, H, W)`` belong together.

    Raises:
        ValueError: naming both shapes and the expected one.
    """
    expected = (*clip.shape[:2], 1, *clip.shape[3:])
    if clip.ndim != 5 or tuple(keep_mask.shape) != expected:
        shape = expected if clip.ndim == 5 else "(B, T, 1, H, W)"
        raise ValueError(
            f"Expected `keep_mask` of shape {shape} for `{clip_name}` of shape "
            f"{tuple(clip.shape)} (B, T, 3, H, W), got {tuple(keep_mask.shape)}."
        )


def composite(real: Tensor, keep_mask: Tensor, raw: Tensor) -> Tensor:
    """Return ``keep_mask * real + (1 - keep_mask) * raw``, at least float32, plain gradient."""
    raw = at_least_float32(raw)
    return keep_mask * real + (1 - keep_mask) * raw


def groups_by_name(net: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Split the parameters of a DeepPrivacy2 generator into mapping, encoder and decoder."""
    groups: dict[str, list[nn.Parameter]] = {"mapping": [], "encoder": [], "decoder": []}
    part = {"style_net": "mapping", "from_rgb": "encoder", "encoder": "encoder"}
    for name, parameter in net.named_parameters():
        groups[part.get(name.split(".")[0], "decoder")].append(parameter)
    return groups


def device_of(module: nn.Module) -> torch.device:
    """Return the device of a module's weights; the CPU without any."""
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return torch.device("cpu")


class GeneratorAdapter(nn.Module, ABC):
    """Draw the hole of clips; fold time into the batch and hide which network draws.

    Attributes:
        image_size: ``(height, width)`` the network was made for, in pixels.
        z_dim: width of the latent; 0 for generators without one.
        default_truncation: how far latents keep from the average when nobody says otherwise.
        needs_clip: whether ``conditions["clip"]`` must hold the real frames, as for blurring.
    """

    image_size: tuple[int, int]
    z_dim: int
    needs_clip: bool = False
    default_truncation: float = 0.5  # of latents, when nobody asks for another

    @property
    def config(self) -> dict[str, Any] | None:
        """Return plain values that rebuild the network, to be kept with its weights, or None."""
        return None

    def forward(
        self,
        condition: Tensor,
        keep_mask: Tensor,
        z: Tensor | None = None,
        w: Tensor | None = None,
        conditions: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Draw raw frames, before masking.

        Args:
            condition: ``(B, T, 3, H, W)``, ``keep_mask * clip``.
            keep_mask: ``(B, T, 1, H, W)``, 1 = keep, 0 = generate.
            z: latents ``(B, z_dim)``, one per clip: all frames show the same person.
            w: styles ``(B, w_dim)``; win over ``z``.
            conditions: further inputs by name, ``(B, T, ...)`` each.

        Returns:
            ``(B, T, 3, H, W)``, about [-1, 1], not clamped; only its hole is meant to be used.

        Raises:
            ValueError: shapes that do not belong together.
        """
        check_clip_inputs(condition, keep_mask)
        if tuple(condition.shape[-2:]) != tuple(self.image_size):
            raise ValueError(
                f"Expected frames of {self.image_size} (height, width), got "
                f"{tuple(condition.shape[-2:])}: set `image_size` of the data to the generator's."
            )
        n_clips, n_frames = condition.shape[:2]
        style = self.style(z, w, n_clips, condition)
        folded = {name: value.flatten(0, 1) for name, value in (conditions or {}).items()}
        raw = self.draw(
            condition.flatten(0, 1),
            keep_mask.flatten(0, 1),
            None if style is None else style.repeat_interleave(n_frames, dim=0),
            folded,
        )
        return raw.view(n_clips, n_frames, *raw.shape[1:])

    def style(
        self, z: Tensor | None, w: Tensor | None, n_clips: int, like: Tensor
    ) -> Tensor | None:
        """Return one style per clip, ``(B, w_dim)``, or None for generators without one.

        ``w`` wins over ``z``; latents are drawn from N(0, 1) when both are None.
        """
        if w is not None or self.z_dim == 0:
            return w
        if z is None:
            z = torch.randn(n_clips, self.z_dim, device=like.device)
        return self.map_latents(z)

    def map_latents(self, z: Tensor) -> Tensor:
        """Map latents ``(B, z_dim)`` to styles ``(B, w_dim)``; without a mapping, as they are."""
        return z

    def style_centers(self, typical: bool = False) -> Tensor | None:
        """Return the styles that truncation pulls to, ``(K, w_dim)``, or None without any.

        Args:
            typical: the centres of several typical people instead of the one average.
        """
        style_net = getattr(getattr(self, "net", None), "style_net", None)
        found = getattr(style_net, "w_centers" if typical else "w_avg", None)
        return None if found is None else found.reshape(-1, found.shape[-1])

    @abstractmethod
    def draw(
        self,
        condition: Tensor,
        keep_mask: Tensor,
        w: Tensor | None,
        conditions: Mapping[str, Tensor],
    ) -> Tensor:
        """Draw frames: ``(N, 3, H, W)``, ``(N, 1, H, W)``, ``(N, w_dim)`` to ``(N, 3, H, W)``."""

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters by part, for freezing; the parts are disjoint and complete."""
        return {"all": list(self.parameters())}

    @torch.no_grad()
    def latent_sum(self, z: Tensor) -> Tensor | None:
        """Return the sum of the styles of ``z`` ``(B, z_dim)``, or None without styles."""
        del z
        return None

    def update_latent_average(self, w_mean: Tensor) -> None:
        """Move the network's average style towards ``w_mean`` ``(w_dim,)``."""
        del w_mean
