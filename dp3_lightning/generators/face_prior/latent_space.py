"""The space of styles in whitened coordinates: axes of the people that the network draws."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from dp3_lightning.generators.face_prior.weights import shipped


class LatentSpace(nn.Module):
    """Mean and principal axes of the styles of random people.

    Args:
        mean: average style ``(512,)``.
        axes: ``(512, 512)``, one principal axis per column, the widest first.
        scale: ``(512,)`` standard deviation along each axis.
    """

    mean: Tensor
    axes: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, axes: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.float(), persistent=False)
        self.register_buffer("axes", axes.float(), persistent=False)
        self.register_buffer("scale", scale.float(), persistent=False)

    @classmethod
    def load(cls, path: str | Path | None = None) -> LatentSpace:
        """Read a latent space; None takes the shipped one."""
        stored = load_file(shipped("latent_space") if path is None else path)
        return cls(stored["mean"], stored["axes"], stored["scale"])

    def whiten(self, w: Tensor) -> Tensor:
        """Map styles ``(..., 512)`` to coordinates of variance 1."""
        return (w - self.mean) @ self.axes / self.scale

    def color(self, u: Tensor) -> Tensor:
        """Map whitened coordinates ``(..., 512)`` to styles; the inverse of :meth:`whiten`."""
        return self.mean + (u * self.scale) @ self.axes.T
