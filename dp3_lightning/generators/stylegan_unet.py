"""Draw as DeepPrivacy2 does, natively: a U-Net whose decoder is modulated by a style.

Clean-room implementation in pure PyTorch; constructor arguments, call signature and state-dict keys
are DeepPrivacy2's, so its checkpoints load unchanged. Source of the architecture: Hukkelaas and
Lindseth, "DeepPrivacy2: Towards Realistic Full-Body Anonymization" (WACV 2023).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dp3_lightning.generators.layers import EqualizedConv2d, ResidualBlock, channels_at
from dp3_lightning.generators.mapping import MappingNetwork
from dp3_lightning.generators.masking import mask_output
from dp3_lightning.generators.presets import GENERATOR_PRESETS, preset


class StyleGANUnet(nn.Module):
    """Draw the hole of an image from its surroundings and a style.

    Args:
        imsize: ``(height, width)`` in pixels.
        cnum: channels at full resolution.
        max_cnum_mul: largest multiple of ``cnum`` at low resolutions.
        min_fmap_resolution: longer side of the lowest level, in pixels.
        z_channels: width of the latent.
        w_dim: width of the style.
        conv_clamp: limit of the activations, for half precision; None for no limit.
        im_channels: colour channels.
        mask_output: paste the known pixels over the output.
        scale_grad: kept for DeepPrivacy2's configurations; the gradient is rescaled either way.
        input_cse: take a surface embedding (``embedding``, ``E_mask``) as further input.
        cse_nc: channels of that embedding.
        input_keypoints: take key points as further input; excludes ``input_cse``.
        n_keypoints: number of key points in a batch.
        input_keypoint_indices: which of them are used.
        n_middle_blocks: must be 0; DeepPrivacy2's middle blocks cannot run.
        fix_errors: linear skips and the right U-Net gain; False for the ``fdh_nocse`` model only.

    Attributes:
        config: the constructor arguments, as plain values that JSON can hold.
    """

    def __init__(
        self,
        imsize: Sequence[int],
        cnum: int,
        max_cnum_mul: int,
        min_fmap_resolution: int = 8,
        z_channels: int = 512,
        w_dim: int = 512,
        conv_clamp: float | None = 256,
        im_channels: int = 3,
        mask_output: bool = True,
        scale_grad: bool = True,
        input_cse: bool = False,
        cse_nc: int | None = None,
        input_keypoints: bool = False,
        n_keypoints: int | None = None,
        input_keypoint_indices: Sequence[int] = (),
        n_middle_blocks: int = 0,
        fix_errors: bool = True,
    ) -> None:
        super().__init__()
        if n_middle_blocks != 0:
            raise ValueError(f"Expected `n_middle_blocks` to be 0, got {n_middle_blocks}.")
        if input_cse and input_keypoints:
            raise ValueError("`input_cse` and `input_keypoints` exclude each other; got both.")
        if input_cse and not cse_nc:
            raise ValueError(f"Expected `cse_nc` > 0 with `input_cse`, got {cse_nc}.")
        del scale_grad
        self.config: dict[str, Any] = {
            "imsize": [int(imsize[0]), int(imsize[1])],
            "cnum": cnum,
            "max_cnum_mul": max_cnum_mul,
            "min_fmap_resolution": min_fmap_resolution,
            "z_channels": z_channels,
            "w_dim": w_dim,
            "conv_clamp": conv_clamp,
            "im_channels": im_channels,
            "mask_output": mask_output,
            "input_cse": input_cse,
            "cse_nc": cse_nc,
            "input_keypoints": input_keypoints,
            "n_keypoints": n_keypoints,
            "input_keypoint_indices": [int(i) for i in input_keypoint_indices],
            "fix_errors": fix_errors,
        }
        self.imsize = (int(imsize[0]), int(imsize[1]))
        self.z_channels, self.w_dim, self.im_channels = z_channels, w_dim, im_channels
        self.cnum, self.max_cnum_mul = cnum, max_cnum_mul
        self.mask_output, self.input_cse, self.input_keypoints = (
            mask_output,
            input_cse,
            input_keypoints,
        )
        self.input_keypoint_indices = [int(i) for i in input_keypoint_indices]
        self.n_keypoints = n_keypoints
        longest = max(self.imsize)
        self.n_levels = math.floor(math.log2(longest) - math.log2(min_fmap_resolution)) + 1

        self.style_net = MappingNetwork(z_channels, w_dim)
        in_channels = im_channels + 1
        if input_cse:
            in_channels += (cse_nc or 0) + 1
        if input_keypoints:
            in_channels += len(self.input_keypoint_indices)
        self.from_rgb = EqualizedConv2d(in_channels, cnum, kernel_size=1)
        self.encoder = self._build_encoder(conv_clamp, fix_errors)
        decoder = self._build_decoder(conv_clamp, fix_errors)
        self.decoder = decoder
        self.to_rgb = EqualizedConv2d(
            cnum, im_channels, kernel_size=1, activation="linear", clamp=conv_clamp
        )

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> StyleGANUnet:
        """Build one of DeepPrivacy2's models, or a small one for trials, with random weights.

        Args:
            name: ``fdf128``, ``fdf256``, ``fdh_cse``, ``fdh_nocse`` (as published), ``small128``,
                ``small64``, ``tiny32`` (ours).
            overrides: constructor arguments to change.

        Raises:
            ValueError: unknown name; the message lists the known ones.
        """
        return cls(**{**preset(GENERATOR_PRESETS, name), **overrides})

    def _channels(self, level: int) -> int:
        longest = max(self.imsize)
        return channels_at(longest // 2**level, longest, self.cnum, self.max_cnum_mul)

    def _build_encoder(self, clamp: float | None, fix_errors: bool) -> nn.ModuleList:
        last = self.n_levels - 1
        return nn.ModuleList(
            ResidualBlock(
                self._channels(i),
                self._channels(min(i + 1, last)),
                down=1 if i == 0 else 2,
                clamp=clamp,
                linear_skip=fix_errors,
            )
            for i in range(self.n_levels)
        )

    def _build_decoder(self, clamp: float | None, fix_errors: bool) -> nn.ModuleList:
        blocks = nn.ModuleList()
        for i in range(self.n_levels):
            level = self.n_levels - 1 - i
            c_in = self._channels(level if i == 0 else level + 1)
            if i > 0:
                gain = (1 / 3) ** 0.5 if fix_errors else 0.5**0.5
                block = EqualizedConv2d(
                    c_in, c_in, kernel_size=1, gain=gain, clamp=clamp, norm=True
                )
                self.add_module(f"unet_block{i}", block)
            blocks.append(
                ResidualBlock(
                    c_in,
                    self._channels(level),
                    up=2 if level > 0 else 1,
                    gain=(1 / 3) ** 0.5,
                    clamp=clamp,
                    linear_skip=fix_errors,
                    w_dim=self.w_dim,
                    norm=True,
                )
            )
        return blocks

    def encode(
        self,
        condition: Tensor,
        mask: Tensor,
        embedding: Tensor | None = None,
        keypoints: Tensor | None = None,
        E_mask: Tensor | None = None,  # noqa: N803 - upstream's name
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the lowest feature map and the U-Net features, highest resolution first."""
        inputs = [condition, mask]
        if self.input_cse:
            if embedding is None or E_mask is None:
                raise ValueError("This generator needs `embedding` and `E_mask`; got none.")
            inputs += [embedding, E_mask]
        if self.input_keypoints:
            if keypoints is None:
                raise ValueError("This generator needs `keypoints` of shape (B, K, 3); got none.")
            chosen = keypoints[:, self.input_keypoint_indices]
            inputs.append(keypoint_maps(chosen, condition.shape[-2:]).to(condition.dtype))
        x = self.from_rgb(torch.cat(inputs, dim=1))
        features = []
        for block in self.encoder:
            x = block(x)
            features.append(x)
        return features.pop(), features

    def decode(
        self,
        x: Tensor,
        unet_features: Sequence[Tensor],
        w: Tensor | None,
        s: Iterable[Tensor] | None = None,
    ) -> Tensor:
        """Draw the raw image ``(B, 3, H, W)`` from encoder outputs and a style."""
        styles: Iterator[Tensor] | None = None if s is None else iter(s)
        for i, block in enumerate(self.decoder):
            if i > 0:
                x = x + self.get_submodule(f"unet_block{i}")(unet_features[-i])
            x = block(x, w, styles)
        image: Tensor = self.to_rgb(x)
        return image

    def forward(
        self,
        condition: Tensor,
        mask: Tensor,
        z: Tensor | None = None,
        embedding: Tensor | None = None,
        w: Tensor | None = None,
        update_emas: bool = False,
        x: Tensor | None = None,
        s: Iterable[Tensor] | None = None,
        keypoints: Tensor | None = None,
        unet_features: Sequence[Tensor] | None = None,
        E_mask: Tensor | None = None,  # noqa: N803 - upstream's name
        **_: Any,
    ) -> dict[str, Tensor]:
        """Anonymize one image per sample.

        Args:
            condition: ``(B, 3, H, W)`` in [-1, 1], 0 inside the hole.
            mask: ``(B, 1, H, W)``, 1 = keep, 0 = generate.
            z: latents ``(B, z_channels)``; drawn from N(0, 1) without ``z`` and ``w``.
            embedding: ``(B, cse_nc, H, W)``, models with ``input_cse`` only.
            w: styles ``(B, w_dim)``; win over ``z``.
            update_emas: update ``style_net.w_avg``.
            x: encoder output, with ``unet_features``: skips the encoder (eval mode only).
            s: rows of (gamma, beta), two per decoder block in order; replace ``w``.
            keypoints: ``(B, K, 3)`` x, y in [0, 1] and visibility, for ``input_keypoints``.
            unet_features: see ``x``.
            E_mask: ``(B, 1, H, W)``, models with ``input_cse`` only.
            _: further batch keys are ignored, so that ``G(**batch)`` works as in DeepPrivacy2.

        Returns:
            ``{"img": (B, 3, H, W)}``, about [-1, 1], not clamped.
        """
        if condition.shape[-2:] != mask.shape[-2:] or mask.shape[1] != 1:
            raise ValueError(
                f"Expected `mask` of shape (B, 1, H, W) for `condition` {tuple(condition.shape)}, "
                f"got {tuple(mask.shape)}."
            )
        if w is None and s is None:
            if z is None:
                z = torch.randn(len(condition), self.z_channels, device=condition.device)
            w = self.style_net(z, update_emas=update_emas)
        if x is None or unet_features is None:
            x, unet_features = self.encode(condition, mask, embedding, keypoints, E_mask)
        elif self.training:
            raise ValueError("Encoder outputs `x` can be reused in eval mode only; call .eval().")
        image = self.decode(x, unet_features, w, s)
        if self.mask_output:
            image = mask_output(condition, mask, image)
        return {"img": image}

    @torch.no_grad()
    def sample(self, truncation_value: float | None = None, **batch: Any) -> dict[str, Tensor]:
        """Call :meth:`forward` with a truncated style; None for no truncation. No gradient."""
        if truncation_value is None:
            return self(**batch)  # type: ignore[no-any-return]
        condition, z = batch["condition"], batch.pop("z", None)
        w = self.style_net.get_truncated(truncation_value, condition=condition, z=z)
        return self(**{**batch, "w": w})  # type: ignore[no-any-return]


def keypoint_maps(keypoints: Tensor, size: Sequence[int]) -> Tensor:
    """Draw each visible key point as one pixel of its own channel.

    Args:
        keypoints: ``(B, K, 3)``: x and y in [0, 1], visibility.
        size: ``(height, width)``.

    Returns:
        ``(B, K, height, width)`` with ones at the points; pixels are rounded half to even, then
        clipped to the image.
    """
    height, width = int(size[0]), int(size[1])
    x = (keypoints[..., 0] * width).round().long().clamp(0, width - 1)
    y = (keypoints[..., 1] * height).round().long().clamp(0, height - 1)
    visible = (keypoints[..., 2].round() != 0).float()
    maps = torch.zeros(*keypoints.shape[:2], height * width, device=keypoints.device)
    maps.scatter_(2, (y * width + x).unsqueeze(-1), visible.unsqueeze(-1))
    return maps.view(*keypoints.shape[:2], height, width)
