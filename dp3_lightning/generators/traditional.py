"""Fill holes without a network: bounds for benchmarks, and a fallback."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from dp3_lightning.checks import check_above, check_at_least, check_between
from dp3_lightning.generators.base import GeneratorAdapter


def _clip_of(conditions: Mapping[str, Tensor], kind: str) -> Tensor:
    if "clip" not in conditions:
        raise ValueError(f"{kind} needs the real frames: pass conditions={{'clip': clip}}.")
    return conditions["clip"]


class _TraditionalGenerator(GeneratorAdapter):
    """Share the constructor: a size, no latent."""

    def __init__(self, image_size: tuple[int, int] = (128, 128)) -> None:
        super().__init__()
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.z_dim = 0


class BlurGenerator(_TraditionalGenerator):
    """Blur the real frames (``conditions["clip"]``) by a Gaussian.

    Args:
        image_size: ``(height, width)`` in pixels.
        sigma: standard deviation in pixels.
    """

    needs_clip = True

    def __init__(self, image_size: tuple[int, int] = (128, 128), sigma: float = 7.0) -> None:
        super().__init__(image_size)
        check_above(0, sigma=sigma)
        self.sigma = float(sigma)

    def draw(
        self,
        condition: Tensor,
        keep_mask: Tensor,
        w: Tensor | None,
        conditions: Mapping[str, Tensor],
    ) -> Tensor:
        """Blur; ``(N, 3, H, W)``."""
        kernel = 2 * round(3 * self.sigma) + 1
        import kornia  # seconds; most users of this room never blur

        blurred: Tensor = kornia.filters.gaussian_blur2d(
            _clip_of(conditions, "BlurGenerator"),
            (kernel, kernel),
            (self.sigma, self.sigma),
            border_type="replicate",  # reflect cannot pad by more than the image
        )
        return blurred


class PixelateGenerator(_TraditionalGenerator):
    """Average the real frames (``conditions["clip"]``) over coarse blocks.

    Args:
        image_size: ``(height, width)`` in pixels.
        blocks: number of blocks along each side.
    """

    needs_clip = True

    def __init__(self, image_size: tuple[int, int] = (128, 128), blocks: int = 8) -> None:
        super().__init__(image_size)
        check_at_least(1, blocks=blocks)
        self.blocks = int(blocks)

    def draw(
        self,
        condition: Tensor,
        keep_mask: Tensor,
        w: Tensor | None,
        conditions: Mapping[str, Tensor],
    ) -> Tensor:
        """Average over blocks; ``(N, 3, H, W)``."""
        small = F.adaptive_avg_pool2d(_clip_of(conditions, "PixelateGenerator"), self.blocks)
        return F.interpolate(small, size=condition.shape[-2:], mode="nearest")


class SolidGenerator(_TraditionalGenerator):
    """Fill with one constant colour.

    Args:
        image_size: ``(height, width)`` in pixels.
        value: level in [-1, 1]; -1 is black, 0 mid grey.
    """

    def __init__(self, image_size: tuple[int, int] = (128, 128), value: float = -1.0) -> None:
        super().__init__(image_size)
        check_between(-1, 1, value=value)
        self.value = float(value)

    def draw(
        self,
        condition: Tensor,
        keep_mask: Tensor,
        w: Tensor | None,
        conditions: Mapping[str, Tensor],
    ) -> Tensor:
        """Fill; ``(N, 3, H, W)``."""
        return torch.full_like(condition, self.value)
