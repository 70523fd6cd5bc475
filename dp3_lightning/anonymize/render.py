"""Pass 2: change the pixels. Fail-closed: a frame starts out with every face already blurred.

Generated faces are laid over that. Whatever goes wrong on the way, an exception, a value that is
not a number, the blur is what remains.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dp3_lightning.anonymize.geometry import TrackGeometry, rule_of, track_geometry
from dp3_lightning.anonymize.plan import Plan, PlannedTrack
from dp3_lightning.anonymize.propagation import (
    Motion,
    Propagation,
    carry,
    find_keys,
    grow_hole,
)
from dp3_lightning.checks import check_at_least, check_between, check_choice
from dp3_lightning.faces.composite import blend_outwards
from dp3_lightning.faces.obscure import Treatment, obscure
from dp3_lightning.faces.resample import cut_window
from dp3_lightning.generators import GeneratorAdapter, device_of
from dp3_lightning.optical_flow import DISFlow, FlowEstimator
from dp3_lightning.structures import UInt8Array, Window
from dp3_lightning.threads import single_thread

_BATCH = 8
_OFFSET_LIMIT = 0.15  # largest colour correction, of the range [-1, 1]
_RIM = 64  # a rim is this part of the crop wide
_OFFSET_SIGMA = 5.0  # frames over which corrections are averaged


@dataclass(frozen=True)
class RenderOptions:
    """How planned faces are drawn.

    Attributes:
        propagation: how often faces are drawn anew, see :meth:`Propagation.parse`.
        feather: width of the blending band around the box, of its longer side.
        color_match: shift the colours of a drawn face so that its rim fits what it meets.
        padded: what becomes of the frames that a track was extended by at its ends: nobody was
            detected there, so a drawn face may hang in the air.
        fallback: treatment of what cannot or should not be drawn.
        batch_size: faces drawn at a time; None: 8, and 1 on the CPU, where more are slower.
        compat: ``dp2`` draws as DeepPrivacy2 does, every face in every frame, in windows of whole
            pixels, with a hard edge and boxes as detected: for comparison.

    Raises:
        ValueError: a value out of range, named.
    """

    propagation: str = "adaptive"
    feather: float = 0.03
    color_match: bool = True
    padded: Literal["blur", "generate"] = "blur"
    fallback: Treatment = "blur"
    batch_size: int | None = None
    compat: Literal["none", "dp2"] = "none"

    def __post_init__(self) -> None:
        Propagation.parse(self.propagation)
        check_between(0, 0.15, feather=self.feather)
        if self.batch_size is not None:
            check_at_least(1, batch_size=self.batch_size)
        check_choice(("blur", "generate"), padded=self.padded)
        check_choice(("blur", "pixelate", "solid"), fallback=self.fallback)
        check_choice(("none", "dp2"), compat=self.compat)


@dataclass(frozen=True)
class Failure:
    """Something that went wrong in one frame, which is blurred there.

    Attributes:
        frame: index in the video.
        person: whose face, or empty for the whole frame.
        reason: what happened.
        blurred: whether the face is blurred for it.
    """

    frame: int
    person: str
    reason: str
    blurred: bool = True


@dataclass
class Rendered:
    """Frames of one stretch and what happened to them.

    Attributes:
        frames: ``(H, W, 3)`` uint8 RGB each.
        failures: what was blurred because something failed.
        drawn: frame of every face that went through the generator.
        carried: frame of every face that was carried from drawn ones.
    """

    frames: list[UInt8Array]
    failures: list[Failure] = field(default_factory=list)
    drawn: list[int] = field(default_factory=list)
    carried: list[int] = field(default_factory=list)

    @property
    def n_drawn(self) -> int:
        """Number of faces drawn."""
        return len(self.drawn)

    @property
    def n_carried(self) -> int:
        """Number of faces carried."""
        return len(self.carried)


@dataclass
class _Run:
    """A track within a stretch, over frames that are all to be generated."""

    track: PlannedTrack
    geometry: TrackGeometry
    first: int  # index in the video
    style: Tensor | None
    real: Tensor  # (T, 3, H, W), for its motion only
    motion: Motion = field(default_factory=lambda: Motion([]))
    safe: dict[int, Tensor] = field(default_factory=dict)  # keys to (3, H, W), faces blurred

    @property
    def holes(self) -> list[Window]:
        start = self.first - self.track.start
        return self.geometry.holes[start : start + len(self.real)]


def _rims(hole: Window, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Pixels just inside and just outside a hole, two masks ``(H, W)``."""
    x0, y0, x1, y1 = hole
    width = max(1, int(size[0]) // _RIM)
    masks = []
    for grow in (-width, 0, width):
        mask = torch.zeros(int(size[0]), int(size[1]), dtype=torch.bool)
        mask[max(y0 - grow, 0) : max(y1 + grow, 0), max(x0 - grow, 0) : max(x1 + grow, 0)] = True
        masks.append(mask)
    return masks[1] & ~masks[0], masks[2] & ~masks[1]


class FaceRenderer:
    """Renders stretches of a video by a plan.

    A stretch is a pure function of its frames, the plan and the styles, so that stretches can be
    made in any order, on any machine, again after a crash.

    Args:
        plan: who is where.
        generator: draws faces; None: every face gets the fallback treatment.
        styles: person to style ``(1, w_dim)``; for generators with styles.
        options: see :class:`RenderOptions`.
        estimator: optical flow of the real frames; default :class:`DISFlow`.

    Raises:
        ValueError: a generator that needs the real face (those treatments are the fallback's).
    """

    def __init__(
        self,
        plan: Plan,
        generator: GeneratorAdapter | None,
        styles: Mapping[str, Tensor] | None = None,
        options: RenderOptions | None = None,
        estimator: FlowEstimator | None = None,
    ) -> None:
        if generator is not None and generator.needs_clip:
            raise ValueError(
                f"{type(generator).__name__} works on the real face: use the treatments blur, "
                "pixelate or solid instead."
            )
        self.plan, self.generator, self.styles = plan, generator, dict(styles or {})
        self.options = options or RenderOptions()
        self.how = Propagation.parse(self.options.propagation)
        self.estimator = estimator or DISFlow("fast")
        self.undetected = frozenset(plan.undetected)
        self._geometries: dict[int, TrackGeometry] = {}

    def geometry(self, number: int) -> TrackGeometry:
        """Return the crops of track ``number`` of the plan."""
        if number not in self._geometries:
            assert self.generator is not None
            self._geometries[number] = track_geometry(
                self.plan.tracks[number].boxes,
                self.plan.size,
                self.generator.image_size,
                rule_of(self.generator),
                self.options.feather,
            )
        return self._geometries[number]

    @torch.no_grad()
    def render(self, frames: Sequence[UInt8Array], first: int) -> Rendered:
        """Render consecutive frames.

        Args:
            frames: real frames, unchanged.
            first: index of the first of them in the video.
        """
        result = Rendered([frame.copy() for frame in frames])
        for offset, frame in enumerate(result.frames):
            self._make_safe(frame, first + offset)
        with single_thread():
            runs = self._runs(frames, result, first)
        drawn = self._draw(runs, result)
        layers: dict[int, list[tuple[float, _Run, Tensor]]] = {}
        with single_thread():
            for run, images in zip(runs, drawn, strict=True):
                self._match_colors(run, images)
                self._carry(run, images, layers, result)
            for index, found in layers.items():
                # The smaller first, as DeepPrivacy2: a face in front is usually the larger.
                for _, run, image in sorted(found, key=lambda layer: layer[0]):
                    self._lay(result, index - first, index, run, image)
        return result

    def _make_safe(self, frame: UInt8Array, index: int) -> None:
        """Blur everything that the plan does not let through."""
        if index in self.undetected:
            obscure(frame, (0, 0, frame.shape[1], frame.shape[0]), self.options.fallback)
            return
        for track, box in self.plan.boxes_at(index):
            if track.action != "keep":
                # What surrounds a face that will be drawn is what it is drawn to fit.
                soft = not self._is_drawn(track, index)
                obscure(frame, box, self.options.fallback, soft=soft)

    def _is_drawn(self, track: PlannedTrack, index: int) -> bool:
        """Whether a track is to be generated in a frame that it covers."""
        if self.generator is None or track.action != "generate" or index in self.undetected:
            return False
        padded = track.origins[index - track.start] == "padded"
        return not padded or self.options.padded == "generate"

    def _runs(self, frames: Sequence[UInt8Array], result: Rendered, first: int) -> list[_Run]:
        runs = []
        for number, track in enumerate(self.plan.tracks):
            for start, stop in self._stretches(track, first, first + len(frames)):
                try:
                    runs.append(self._run(number, frames, result, first, start, stop))
                except Exception as error:  # fail closed: the blur stays
                    reason = f"{type(error).__name__}: {error}"
                    result.failures += [
                        Failure(i, track.person, reason) for i in range(start, stop)
                    ]
        return runs

    def _stretches(self, track: PlannedTrack, first: int, stop: int) -> Iterator[tuple[int, int]]:
        """Ranges of frames in which a track is to be generated."""
        begin: int | None = None
        for index in range(max(first, track.start), min(stop, track.stop) + 1):
            wanted = index < min(stop, track.stop) and self._is_drawn(track, index)
            if wanted and begin is None:
                begin = index
            elif not wanted and begin is not None:
                yield begin, index
                begin = None

    def _run(
        self,
        number: int,
        frames: Sequence[UInt8Array],
        result: Rendered,
        first: int,
        start: int,
        stop: int,
    ) -> _Run:
        assert self.generator is not None
        track, geometry = self.plan.tracks[number], self.geometry(number)
        size = self.generator.image_size

        def crop(frame: UInt8Array, index: int) -> Tensor:
            levels = cut_window(frame, geometry.windows[index - track.start], size)
            return torch.from_numpy(np.clip(levels, 0, 255) / 127.5 - 1).permute(2, 0, 1)

        real = torch.stack([crop(frames[i - first], i) for i in range(start, stop)])
        run = _Run(track, geometry, start, self.styles.get(track.person), real)
        try:
            run.motion = find_keys(run.real, run.holes, self.estimator, self.how)
        except Exception as error:  # no motion, no carrying: every frame is drawn
            reason = f"optical flow failed, every frame drawn: {type(error).__name__}: {error}"
            result.failures.append(Failure(start, track.person, reason, blurred=False))
            run.motion = Motion(list(range(stop - start)))
        for key in run.motion.keys:
            run.safe[key] = crop(result.frames[start + key - first], start + key)
        return run

    def _draw(self, runs: Sequence[_Run], result: Rendered) -> list[dict[int, Tensor]]:
        """Draw the key frames of all runs, faces of all people and frames in common batches."""
        drawn: list[dict[int, Tensor]] = [{} for _ in runs]
        jobs = [(i, key) for i, run in enumerate(runs) for key in run.motion.keys]
        step = self._batch_size()
        for begin in range(0, len(jobs), step):
            batch = jobs[begin : begin + step]
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
        if self.options.batch_size is not None:
            return self.options.batch_size
        on_cpu = self.generator is None or device_of(self.generator).type == "cpu"
        return 1 if on_cpu else _BATCH

    def _generate(self, runs: Sequence[_Run], batch: Sequence[tuple[int, int]]) -> Tensor:
        """Draw a batch; ``(N, 3, H, W)`` on the CPU."""
        assert self.generator is not None
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
        self, runs: Sequence[_Run], job: tuple[int, int], result: Rendered
    ) -> Tensor | None:
        try:
            return self._generate(runs, [job])[0]
        except Exception as error:  # fail closed: the blur stays
            run, key = runs[job[0]], job[1]
            reason = f"the generator failed: {type(error).__name__}: {error}"
            result.failures.append(Failure(run.first + key, run.track.person, reason))
            return None

    def _match_colors(self, run: _Run, images: dict[int, Tensor]) -> None:
        """Shift drawn faces so that their rim has the colour of what it meets, smoothly in time."""
        if not self.options.color_match or not images:
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

    def _carry(
        self,
        run: _Run,
        images: dict[int, Tensor],
        layers: dict[int, list[tuple[float, _Run, Tensor]]],
        result: Rendered,
    ) -> None:
        try:
            carried = carry(run.motion, images, run.holes, len(run.real))
        except Exception as error:  # fail closed: only the drawn frames are laid over the blur
            reason = f"carrying failed: {type(error).__name__}: {error}"
            result.failures.append(Failure(run.first, run.track.person, reason))
            carried = [None] * len(run.real)
            for key, image in images.items():
                carried[key] = grow_hole(image, run.holes[key])
        for offset, layer in enumerate(carried):
            index = run.first + offset
            if layer is None or not torch.isfinite(layer).all():
                if offset not in run.motion.keys:
                    reason = "no drawn frame to carry the face from"
                    result.failures.append(Failure(index, run.track.person, reason))
                continue
            box = run.geometry.boxes[index - run.track.start]
            area = float((box[2] - box[0]) * (box[3] - box[1]))
            layers.setdefault(index, []).append((area, run, layer))
            if offset not in images:
                result.carried.append(index)

    def _lay(self, result: Rendered, offset: int, index: int, run: _Run, image: Tensor) -> None:
        at = index - run.track.start
        # NumPy: threads cost more than they bring for so few numbers.
        levels = (np.clip(image.permute(1, 2, 0).numpy(), -1, 1) + 1) * np.float32(127.5)
        geometry = run.geometry
        try:
            blend_outwards(
                result.frames[offset],
                levels,
                geometry.windows[at],
                geometry.boxes[at],
                float(geometry.bands[at]),
            )
        except Exception as error:  # fail closed: the blur stays
            reason = f"pasting failed: {type(error).__name__}: {error}"
            result.failures.append(Failure(index, run.track.person, reason))
