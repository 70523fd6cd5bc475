"""Anonymize one picture as DeepPrivacy2 does, step by step: the baseline to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from dp3_lightning.anonymize.planning.plan import Plan, PlannedTrack
from dp3_lightning.anonymize.planning.planner import PlanOptions
from dp3_lightning.anonymize.rendering.geometry import rule_of
from dp3_lightning.anonymize.rendering.renderer import RenderOptions
from dp3_lightning.anonymize.rendering.result import Failure, Rendered
from dp3_lightning.faces.composite import paste_hole
from dp3_lightning.faces.crop import ExpansionRule, box_in_crop, crop_frame, expand_box, hole_mask
from dp3_lightning.faces.obscure import obscure
from dp3_lightning.generators import (
    GeneratorAdapter,
    InferenceGenerator,
    StyleGANUnetAdapter,
    device_of,
)
from dp3_lightning.structures import UInt8Array


def latent_of(z_index: int, z_dim: int) -> Tensor:
    """Return DeepPrivacy2's latent of an index, ``(1, z_dim)`` float32."""
    drawn = np.random.RandomState(z_index).normal(size=(1, z_dim))
    return torch.from_numpy(drawn.astype(np.float32))


@torch.no_grad()
def anonymize_frame(
    frame: UInt8Array,
    boxes: Sequence[Sequence[float]],
    generator: StyleGANUnetAdapter | InferenceGenerator,
    z_indices: Sequence[int],
    truncation: float = 0.0,
    rule: ExpansionRule = "fdf256",
) -> UInt8Array:
    """Anonymize the faces of one picture one after another, the smallest first.

    Each crop is cut from what has been anonymized so far, the hole is the box rounded to whole
    pixels, and the result is pasted with a hard edge.

    Args:
        frame: ``(H, W, 3)`` uint8 RGB; unchanged.
        boxes: ``(x0, y0, x1, y1)`` in pixels.
        generator: native generator.
        z_indices: one index per box, in the order of area.
        truncation: 0 gives every person the mean face, 1 the face of the latent.
        rule: how a box grows to the crop.

    Returns:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        ValueError: boxes and indices differ in number.
    """
    if len(boxes) != len(z_indices):
        raise ValueError(f"Expected one z index per box, got {len(z_indices)} for {len(boxes)}.")
    result = frame.copy()
    by_area = sorted(boxes, key=lambda box: _rounded_area(box))
    for box, z_index in zip(by_area, z_indices, strict=True):
        z = latent_of(z_index, generator.z_dim)
        w = generator.net.style_net.get_truncated(truncation, z=z)
        draw_box(result, box, generator, w, rule)
    return result


def draw_box(
    frame: UInt8Array,
    box: Sequence[float],
    generator: GeneratorAdapter,
    w: Tensor | None,
    rule: ExpansionRule,
) -> None:
    """Replace one face in place, as DeepPrivacy2 does.

    Args:
        frame: ``(H, W, 3)`` uint8 RGB, changed in place, in one step at the end.
        box: ``(x0, y0, x1, y1)`` in pixels.
        generator: draws it.
        w: style ``(1, w_dim)``; None for generators without one.
        rule: how the box grows to the crop.

    Raises:
        FloatingPointError: the generator gave values that are not numbers.
    """
    size = generator.image_size
    whole = [round(float(v)) for v in box]
    window = expand_box(whole, frame.shape[:2], rule)
    crop = torch.from_numpy(crop_frame(frame, window, size)).permute(2, 0, 1)[None]
    mask = torch.from_numpy(hole_mask(box_in_crop(whole, window, size).tolist(), size))[None, None]
    condition = (crop.float() - 127.5) / 127.5 * mask
    device = device_of(generator)
    raw = generator(condition[None].to(device), mask[None].to(device), w=w)[0, 0].cpu()
    pasted = mask[0] * condition[0] + (1 - mask[0]) * raw
    if not torch.isfinite(pasted).all():
        raise FloatingPointError("the generator returned values that are not numbers")
    paste_hole(frame, pasted, mask[0], window)


def _rounded_area(box: Sequence[float]) -> int:
    x0, y0, x1, y1 = (round(float(v)) for v in box)
    return (x1 - x0) * (y1 - y0)


class CompatRenderer:
    """Render frames as DeepPrivacy2 does: the baseline for our own rendering.

    Fails closed as :class:`~dp3_lightning.anonymize.rendering.renderer.FaceRenderer` does: what
    cannot be drawn is blurred.

    Args:
        plan: who is where; DeepPrivacy2's own boxes are neither filled nor smoothed, see
            :func:`as_detected`.
        generator: draws faces.
        styles: person to style ``(1, w_dim)``.
        options: of which the fallback treatment is used.
    """

    def __init__(
        self,
        plan: Plan,
        generator: GeneratorAdapter,
        styles: Mapping[str, Tensor],
        options: RenderOptions,
    ) -> None:
        self.plan, self.generator, self.styles, self.options = plan, generator, styles, options
        self.rule = rule_of(generator)

    @torch.no_grad()
    def render(self, frames: Sequence[UInt8Array], first: int) -> Rendered:
        """Render consecutive frames; see :meth:`FaceRenderer.render`."""
        result = Rendered([frame.copy() for frame in frames])
        for index, frame in enumerate(result.frames, start=first):
            if index in self.plan.undetected:
                obscure(frame, (0, 0, frame.shape[1], frame.shape[0]), self.options.fallback)
                continue
            for track, box in sorted(
                self.plan.boxes_at(index), key=lambda found: _rounded_area(found[1])
            ):
                if track.action == "generate":
                    self._draw(result, frame, index, track, box)
                elif track.action != "keep":
                    obscure(frame, box, self.options.fallback)
        return result

    def _draw(
        self,
        result: Rendered,
        frame: UInt8Array,
        index: int,
        track: PlannedTrack,
        box: Sequence[float],
    ) -> None:
        try:
            draw_box(frame, box, self.generator, self.styles.get(track.person), self.rule)
            result.drawn.append(index)
        except Exception as error:  # fail closed
            obscure(frame, box, self.options.fallback)
            reason = f"{type(error).__name__}: {error}"
            result.failures.append(Failure(index, track.person, reason))


def as_detected(options: PlanOptions) -> PlanOptions:
    """Return options that leave the detector's boxes as they are, as DeepPrivacy2 does."""
    return replace(options, smooth_window=1, max_gap=0.0, min_generate_size=1.0, weak_frames=0)
