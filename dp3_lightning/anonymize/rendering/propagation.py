"""Draw a face in a few frames, and carry it to the others along the real motion.

DeepPrivacy2's generator never sees the hole, so it cannot know what the mouth does; the optical
flow of the real frames does. Only generated pixels are ever moved or mixed here. The real frames
give their motion only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from torch import Tensor

from dp3_lightning.optical_flow import FlowEstimator, backward_warp, in_bounds
from dp3_lightning.structures import Window

_GAP_SIGMA = 0.75  # pixels of forward-backward error that halve the trust, about
_SHADE_SIGMA = 0.2  # change of brightness along the flow, of the range [-1, 1]
_DETAIL_STEEPNESS = 3.0  # details pass from one key to the next in a third of the way
_MOST_GAIN = 1.25  # of details that warping and mixing have weakened
_FLOOR = 0.02  # trust in the worst pixel: where neither key is any good both count alike


@dataclass(frozen=True)
class Propagation:
    """Choose how often a face is drawn again.

    Attributes:
        mode: ``off`` draws every frame; ``fixed`` every ``every``-th; ``adaptive`` when the motion
            since the last drawn frame can no longer be followed, at the latest after ``every``.
        every: frames from one drawn frame to the next.
        max_untrusted: share of the hole whose motion cannot be followed; above it, drawn again.
        max_motion: mean motion of the hole, of its side; above it (a turning head), drawn again.
    """

    mode: str = "adaptive"
    every: int = 24
    max_untrusted: float = 0.35
    max_motion: float = 0.08

    @classmethod
    def parse(cls, text: str) -> Propagation:
        """Read ``off``, ``fixed:N``, ``adaptive`` or ``adaptive:N``.

        Raises:
            ValueError: something else.
        """
        known = re.fullmatch(r"(off)|(?:(fixed|adaptive):([0-9]+))|(adaptive)", str(text))
        if known is None:
            raise ValueError(
                f"Expected `propagation` off, fixed:N, adaptive or adaptive:N, got {text!r}."
            )
        plain, mode, number = known[1] or known[4], known[2], known[3]
        if plain:
            return cls(plain)
        if int(number) < 1:
            raise ValueError(f"Expected N >= 1 in `propagation`, got {text!r}.")
        return cls(mode, int(number))


@dataclass
class Motion:
    """Hold the motion from the frames of a run to their drawn neighbours.

    Attributes:
        keys: indices of the frames to draw, increasing; the first and the last are among them.
        links: ``(frame, key)`` to flow ``(2, H, W)`` from the frame to the key and trust ``(1, H,
            W)`` in [0, 1], for frames that are no keys.
    """

    keys: list[int]
    links: dict[tuple[int, int], tuple[Tensor, Tensor]] = field(default_factory=dict)


def find_keys(
    real: Tensor, holes: Sequence[Window], estimator: FlowEstimator, how: Propagation
) -> Motion:
    """Choose the frames to draw, and measure the motion from all others to them.

    Args:
        real: real crops ``(T, 3, H, W)`` in [-1, 1].
        holes: per frame the hole in pixels of the crop.
        estimator: optical flow.
        how: see :class:`Propagation`.
    """
    n_frames = len(real)
    motion = Motion([0])
    if how.mode == "off" or how.every == 1:
        motion.keys = list(range(n_frames))
        return motion
    for frame in range(1, n_frames):
        key = motion.keys[-1]
        due = frame == n_frames - 1 or frame - key >= how.every
        if not due:
            flow, trust = link(real, frame, key, estimator)
            if how.mode == "fixed" or _can_follow(flow, trust, holes[frame], how):
                motion.links[frame, key] = flow, trust
                continue
        motion.keys.append(frame)
        for between in range(key + 1, frame):
            motion.links[between, frame] = link(real, between, frame, estimator)
    return motion


def link(real: Tensor, frame: int, key: int, estimator: FlowEstimator) -> tuple[Tensor, Tensor]:
    """Measure the motion from a frame to a key frame, and how far it can be trusted.

    Returns:
        Flow ``(2, H, W)`` from the frame to the key in pixels, smoothed where it cannot be
        trusted, and trust ``(1, H, W)`` in [0, 1].
    """
    here, there = real[frame][None], real[key][None]
    flow, back = estimator(here, there), estimator(there, here)
    gap = (flow + backward_warp(back, flow)).square().sum(1, keepdim=True)
    shade = (backward_warp(there, flow) - here).abs().mean(1, keepdim=True)
    trust = torch.exp(-gap / (2 * _GAP_SIGMA**2) - shade.square() / (2 * _SHADE_SIGMA**2))
    trust = trust * in_bounds(flow)
    return _smoothed(flow[0], trust[0]), trust[0]


def _smoothed(flow: Tensor, trust: Tensor) -> Tensor:
    """Replace flow that cannot be trusted by the flow around it."""
    sigma = flow.shape[-1] / 24
    weight = trust[0].cpu().numpy() + 1e-3
    values = flow.permute(1, 2, 0).cpu().numpy() * weight[..., None]
    blurred = cv2.GaussianBlur(np.dstack([values, weight]), (0, 0), sigma)
    around = torch.from_numpy(blurred[..., :2] / blurred[..., 2:]).permute(2, 0, 1).to(flow)
    return trust * flow + (1 - trust) * around


def _can_follow(flow: Tensor, trust: Tensor, hole: Window, how: Propagation) -> bool:
    x0, y0, x1, y1 = hole
    inside = trust[:, y0:y1, x0:x1]
    moved = flow[:, y0:y1, x0:x1].square().sum(0).sqrt().mean() / max(x1 - x0, y1 - y0)
    untrusted = (inside < 0.5).float().mean()
    return float(untrusted) <= how.max_untrusted and float(moved) <= how.max_motion


def carry(
    motion: Motion, drawn: Mapping[int, Tensor], holes: Sequence[Window], n_frames: int
) -> list[Tensor | None]:
    """Fill the frames between drawn ones.

    Args:
        motion: from :func:`find_keys`.
        drawn: key frames to generated crops ``(3, H, W)``; a key that could not be drawn is absent.
        holes: per frame the hole in pixels of the crop. Only pixels inside the hole of a key are
            used: nothing else in its crop need be generated.
        n_frames: length of the run.

    Returns:
        Per frame ``(3, H, W)``, or None when none of its keys could be drawn.
    """
    result: list[Tensor | None] = [None] * n_frames
    energies: dict[int, float] = {}
    for key, image in drawn.items():
        grown = grow_hole(image, holes[key])
        result[key] = grown
        energies[key] = _energy(_details(grown), holes[key])
    for frame in range(n_frames):
        if frame in motion.keys:
            continue
        near = [(key, *motion.links[frame, key]) for key in _neighbours(motion.keys, frame)]
        usable = [entry for entry in near if entry[0] in drawn]
        if not usable:
            continue
        moved = torch.stack([_warped(drawn[k], flow, holes[k]) for k, flow, _ in usable])
        trust = torch.stack([trust.to(moved) + _FLOOR for _, _, trust in usable])
        span = max(near[-1][0] - near[0][0], 1)
        shares = [abs(frame - key) / span for key, _, _ in usable]
        coarse, fine = _mixed(moved, trust, shares)
        # Sampling between pixels and mixing cost contrast: as sharp as what was drawn.
        wanted = _interpolated([energies[k] for k, _, _ in usable], shares)
        gain = (wanted / max(_energy(fine, holes[frame]), 1e-12)) ** 0.5
        result[frame] = coarse + fine * min(max(gain, 1.0), _MOST_GAIN)
    return result


def _mixed(moved: Tensor, trust: Tensor, shares: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Mix two key frames into one frame: colours slowly, details from the nearer one.

    The mean of two faces that differ a little is blurred; coarse colours have nothing to lose.

    Args:
        moved: ``(K, 3, H, W)``.
        trust: ``(K, 1, H, W)``.
        shares: distance of each key, of the way between the two.

    Returns:
        Coarse colours and details, ``(3, H, W)`` each, to be added.
    """
    fine = torch.stack([_details(image) for image in moved])
    bands = []
    for band, steepness in ((moved - fine, 1.0), (fine, _DETAIL_STEEPNESS)):
        weight = torch.tensor([1 - _ease(_steep(share, steepness)) for share in shares])
        weights = weight.view(-1, 1, 1, 1) * trust + 1e-9
        bands.append((band * weights).sum(0) / weights.sum(0))
    return bands[0], bands[1]


def _details(image: Tensor) -> Tensor:
    return image - _blurred(image, image.shape[-1] / 32)


def _energy(details: Tensor, hole: Window) -> float:
    """Return the mean square of the pixels in a hole."""
    x0, y0, x1, y1 = hole
    return float(details[:, y0:y1, x0:x1].square().mean())


def _interpolated(values: Sequence[float], shares: Sequence[float]) -> float:
    nearness = [1 - share for share in shares]
    return sum(v * n for v, n in zip(values, nearness, strict=True)) / max(sum(nearness), 1e-9)


def _steep(share: float, steepness: float) -> float:
    return min(max((share - 0.5) * steepness + 0.5, 0.0), 1.0)


def _blurred(image: Tensor, sigma: float) -> Tensor:
    levels = image.permute(1, 2, 0).contiguous().numpy()
    blurred = cv2.GaussianBlur(levels, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return torch.from_numpy(blurred).permute(2, 0, 1)


def _neighbours(keys: Sequence[int], frame: int) -> tuple[int, int]:
    after = next(k for k in keys if k > frame)
    return max(k for k in keys if k < frame), after


def _ease(share: float) -> float:
    """Ease from 0 to 1 with flat ends, so that the change from one key to the next is not seen."""
    return share * share * (3 - 2 * share)


def _warped(image: Tensor, flow: Tensor, hole: Window) -> Tensor:
    """Sample a drawn crop along the flow, never outside its hole."""
    height, width = flow.shape[-2:]
    x = torch.arange(width, dtype=flow.dtype, device=flow.device)
    y = torch.arange(height, dtype=flow.dtype, device=flow.device)[:, None]
    to_x = (flow[0] + x).clamp(hole[0], hole[2] - 1) - x
    to_y = (flow[1] + y).clamp(hole[1], hole[3] - 1) - y
    kept = torch.stack([to_x, to_y])[None].to(image.device)
    # Bicubic sampling looks two pixels further: give it generated pixels there as well.
    return backward_warp(grow_hole(image, hole)[None], kept, mode="bicubic")[0]


def grow_hole(image: Tensor, hole: Window) -> Tensor:
    """Continue the border of the hole outwards over the whole crop ``(3, H, W)``."""
    height, width = image.shape[-2:]
    rows = torch.arange(height, device=image.device).clamp(hole[1], hole[3] - 1)
    columns = torch.arange(width, device=image.device).clamp(hole[0], hole[2] - 1)
    return image[:, rows][:, :, columns]
