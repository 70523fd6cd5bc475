"""Draw the key frames of tracks with the generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dp3_lightning.anonymize.planning.plan import PlannedTrack
from dp3_lightning.anonymize.rendering.geometry import TrackGeometry
from dp3_lightning.anonymize.rendering.propagation import Motion
from dp3_lightning.anonymize.rendering.result import Failure, Rendered
from dp3_lightning.generators import GeneratorAdapter, device_of
from dp3_lightning.structures import Window

_BATCH = 8
_OFFSET_LIMIT = 0.15  # largest colour correction, of the range [-1, 1]
_RIM = 64  # a rim is this part of the crop wide
_OFFSET_SIGMA = 5.0  # frames over which corrections are averaged


@dataclass
class Run:
    """A track within a stretch, over frames that are all to be generated.

    Attributes:
        track: whose.
        geometry: crops of the whole track.
        first: index of the first frame in the video.
        style: ``(1, w_dim)``, for generators with styles.
        real: ``(T, 3, H, W)`` in [-1, 1], real crops, for their motion only.
        motion: key frames, and how the others move from them.
        safe: key frame to the crop ``(3, H, W)`` with every face blurred, which may be drawn from.
    """

    track: PlannedTrack
    geometry: TrackGeometry
    first: int
    style: Tensor | None
    real: Tensor
    motion: Motion = field(default_factory=lambda: Motion([]))
    safe: dict[int, Tensor] = field(default_factory=dict)

    @property
    def holes(self) -> list[Window]:
        """Return the hole of every frame, in pixels of the crop."""
        start = self.first - self.track.start
        return self.geometry.holes[start : start + len(self.real)]


class KeyFrameDrawer:
    """Draw key frames; a face that fails is left out and named.

    Args:
        generator: draws faces.
        batch_size: faces at a time; None: 8, and 1 on the CPU, where more are slower.
    """

    def __init__(self, generator: GeneratorAdapter, batch_size: int | None = None) -> None:
        self.generator, self.batch_size = generator, batch_size

    def __call__(self, runs: Sequence[Run], result: Rendered) -> list[dict[int, Tensor]]:
        """Draw the key frames of all runs, faces of all people and frames in common batches.

        Args:
            runs: tracks to draw.
            result: takes what was drawn, and what failed.

        Returns:
            For every run key frame to ``(3, H, W)`` in [-1, 1]; frames that failed are missing.
        """
        drawn: list[dict[int, Tensor]] = [{} for _ in runs]
        jobs = [(i, key) for i, run in enumerate(runs) for key in run.motion.keys]
        step = self._batch_size()
        for start in range(0, len(jobs), step):
            batch = jobs[start : start + step]
            try:
                images: list[Tensor | None] = list(self._generate(runs, batch))
            except Exception:  # find out which of them it was
                images = [self._generate_one(runs, job, result) for job in batch]
            for (i, key), image in zip(batch, images, strict=True):
                if image is None:
                    continue
                if not torch.isfinite(image).all():
                    reason = "the generator gave values that are not numbers"
                    index = runs[i].first + key
                    result.failures.append(Failure(index, runs[i].track.person, reason))
                    continue
                drawn[i][key] = image.clamp(-1, 1)
                result.drawn.append(runs[i].first + key)
        return drawn

    def _batch_size(self) -> int:
        if self.batch_size is not None:
            return self.batch_size
        return 1 if device_of(self.generator).type == "cpu" else _BATCH

    def _generate(self, runs: Sequence[Run], batch: Sequence[tuple[int, int]]) -> Tensor:
        """Draw a batch; ``(N, 3, H, W)`` on the CPU."""
        height, width = self.generator.image_size
        keep = torch.ones(len(batch), 1, 1, height, width)
        for n, (i, key) in enumerate(batch):
            x0, y0, x1, y1 = runs[i].holes[key]
            keep[n, :, :, y0:y1, x0:x1] = 0
        safe = torch.stack([runs[i].safe[key] for i, key in batch])[:, None]
        styles = [runs[i].style for i, _ in batch]
        device = device_of(self.generator)
        known = [s for s in styles if s is not None]
        w = torch.cat(known).to(device) if len(known) == len(styles) else None
        raw = self.generator((safe * keep).to(device), keep.to(device), w=w)
        images: Tensor = raw[:, 0].float().cpu()
        return images

    def _generate_one(
        self, runs: Sequence[Run], job: tuple[int, int], result: Rendered
    ) -> Tensor | None:
        try:
            return self._generate(runs, [job])[0]
        except Exception as error:  # fail closed: the blur stays
            run, key = runs[job[0]], job[1]
            reason = f"the generator failed: {type(error).__name__}: {error}"
            result.failures.append(Failure(run.first + key, run.track.person, reason))
            return None


def match_colors(run: Run, images: dict[int, Tensor]) -> None:
    """Shift the colours of drawn faces to those around their rim, smoothly in time.

    Args:
        run: the track.
        images: key frame to ``(3, H, W)`` in [-1, 1]; changed.
    """
    if not images:
        return
    keys = sorted(images)
    offsets, weights = [], []
    for key in keys:
        within, without = _rims(run.holes[key], images[key].shape[-2:])
        without &= (run.safe[key] > -1).any(0)  # outside the frame it is black
        offset, n_pixels = torch.zeros(3), int(without.sum())
        if n_pixels:
            offset = run.safe[key][:, without].mean(1) - images[key][:, within].mean(1)
        offsets.append(offset.clamp(-_OFFSET_LIMIT, _OFFSET_LIMIT))
        weights.append(float(n_pixels))
    times = torch.tensor(keys, dtype=torch.float32)
    near = torch.exp(-((times[:, None] - times) ** 2) / (2 * _OFFSET_SIGMA**2))
    near = near * torch.tensor(weights)
    smooth = near @ torch.stack(offsets) / near.sum(1, keepdim=True).clamp_min(1e-6)
    for key, offset in zip(keys, smooth, strict=True):
        images[key] = (images[key] + offset[:, None, None]).clamp(-1, 1)


def _rims(hole: Window, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the pixels just inside and just outside a hole, two masks ``(H, W)``."""
    x0, y0, x1, y1 = hole
    width = max(1, int(size[0]) // _RIM)
    masks = []
    for grow in (-width, 0, width):
        mask = torch.zeros(int(size[0]), int(size[1]), dtype=torch.bool)
        mask[max(y0 - grow, 0) : max(y1 + grow, 0), max(x0 - grow, 0) : max(x1 + grow, 0)] = True
        masks.append(mask)
    return masks[1] & ~masks[0], masks[2] & ~masks[1]
