"""Adapt the generators of an installed DeepPrivacy2.

``dp2`` is imported inside functions only: everything else here works without it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dp3_lightning.generators.base import GeneratorAdapter, groups_by_name
from dp3_lightning.numerics import at_least_float32

_RECIPE = (
    "DeepPrivacy2 cannot be imported ({reason}). It is on no package index, and its own "
    "requirements cannot be met on Python 3.11: install what its generators need with "
    "`pip install 'dp3-lightning[deep-privacy2]'`, then a checkout of deep_privacy2 and of tops "
    "with `pip install --no-deps --no-build-isolation -e FOLDER`. Its `sg3_torch_utils` is under "
    "NVIDIA's non-commercial licence. The native generator (StyleGANUnetAdapter) needs none of it."
)


class DeepPrivacy2Generator(GeneratorAdapter):
    """Adapt a generator object of DeepPrivacy2: StyleGAN, TriA-GAN or DeepPrivacy1's.

    Args:
        net: the generator; its ``mask_output`` is switched off where it has one, because the plain
            drawing is wanted and pasted here.
        image_size: ``(height, width)``; default: the object's ``imsize``.
        z_dim: width of the latent; default: the object's.

    Raises:
        ValueError: a size that neither argument nor object gives.
    """

    def __init__(
        self,
        net: nn.Module,
        image_size: Sequence[int] | None = None,
        z_dim: int | None = None,
    ) -> None:
        super().__init__()
        size = image_size if image_size is not None else getattr(net, "imsize", None)
        if size is None:
            raise ValueError(
                f"{type(net).__name__} does not say its image size: pass `image_size`."
            )
        latent = z_dim if z_dim is not None else getattr(net, "z_channels", None)
        if latent is None:
            raise ValueError(f"{type(net).__name__} does not say its latent's width: pass `z_dim`.")
        if hasattr(net, "mask_output"):
            net.mask_output = False  # type: ignore[assignment]
        self.net = net
        self.image_size = (int(size[0]), int(size[1]))
        self.z_dim = int(latent)
        arguments = inspect.signature(net.forward).parameters
        self._arguments = None if _takes_any(arguments) else set(arguments)
        self.styled = hasattr(net, "style_net")

    @classmethod
    def wrap(cls, net: nn.Module, **options: Any) -> DeepPrivacy2Generator:
        """Wrap a generator that is already built; ``options`` as in the constructor."""
        return cls(net, **options)

    @classmethod
    def from_config(
        cls, config: str | Path, weights: bool = True, **options: Any
    ) -> DeepPrivacy2Generator:
        """Build a generator from a configuration file of a DeepPrivacy2 checkout.

        Args:
            config: for example ``configs/fdf/stylegan_fdf128.py``.
            weights: also load the published weights that it names (DeepPrivacy2 fetches them).
            options: as in the constructor.

        Raises:
            FileNotFoundError: no such file; the configurations are in a checkout, not in a wheel.
            ModuleNotFoundError: DeepPrivacy2 is not installed; says how.
        """
        path = Path(config)
        if not path.is_file():
            raise FileNotFoundError(
                f"No DeepPrivacy2 configuration at {str(path)!r}: give the path of a file below "
                "`configs/` of a checkout; its wheel has none."
            )
        try:
            from dp2.infer import build_trained_generator
            from dp2.utils import load_config
            from tops.config import instantiate
        except ImportError as error:
            raise ModuleNotFoundError(_RECIPE.format(reason=error)) from error
        loaded = load_config(str(path))
        net = build_trained_generator(loaded) if weights else instantiate(loaded.generator)
        size = options.pop("image_size", None) or tuple(loaded.data.imsize)
        return cls(net, image_size=size, **options)

    def map_latents(self, z: Tensor) -> Tensor:
        """Map latents ``(B, z_dim)`` to styles ``(B, w_dim)``."""
        return self.net.style_net(z) if self.styled else z  # type: ignore[operator]

    def draw(
        self,
        condition: Tensor,
        keep_mask: Tensor,
        w: Tensor | None,
        conditions: Mapping[str, Tensor],
    ) -> Tensor:
        """Draw single frames, see :meth:`GeneratorAdapter.draw`."""
        inputs: dict[str, Any] = {"condition": condition, "mask": keep_mask, **conditions}
        inputs["w" if self.styled else "z"] = w
        # TriA-GAN wants the picture for its composite, which is not used: known pixels will do.
        inputs["img"] = condition
        if self._arguments is not None:
            inputs = {k: v for k, v in inputs.items() if k in self._arguments}
        drawn = self.net(**inputs)
        raw: Tensor = drawn["unmasked"] if "unmasked" in drawn else drawn["img"]
        return raw

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Split into ``mapping``, ``encoder`` and ``decoder``, where the names allow it."""
        return groups_by_name(self.net)

    @torch.no_grad()
    def latent_sum(self, z: Tensor) -> Tensor | None:
        """Return the sum of the styles of ``z``, or None without styles."""
        if not self.styled:
            return None
        return at_least_float32(self.map_latents(z)).sum(dim=0)

    @torch.no_grad()
    def update_latent_average(self, w_mean: Tensor) -> None:
        """Move ``style_net.w_avg`` towards ``w_mean`` by 0.2 %, as DeepPrivacy2 does."""
        if self.styled:
            average: Tensor = self.net.style_net.w_avg  # type: ignore[union-attr, assignment]
            average.copy_(w_mean.to(average).lerp(average, 0.998))


def _takes_any(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
