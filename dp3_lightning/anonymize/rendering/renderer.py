"""Render pass 2, failing closed: every frame starts with all its planned faces blurred.

Generated faces are laid over that. Whatever goes wrong on the way, an exception, a value that is
not a number, the blur is what remains.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dp3_lightning.anonymize.planning.plan import Plan, PlannedTrack
from dp3_lightning.anonymize.rendering.geometry import TrackGeometry, rule_of, track_geometry
from dp3_lightning.anonymize.rendering.key_frames import KeyFrameDrawer, Run, match_colors
from dp3_lightning.anonymize.rendering.propagation import (
    Motion,
    Propagation,
    carry,
    find_keys,
    grow_hole,
)
from dp3_lightning.anonymize.rendering.result import Failure, Rendered
from dp3_lightning.checks import check_at_least, check_between, check_choice
from dp3_lightning.faces.composite import blend_outwards
from dp3_lightning.faces.feather import pixel_region
from dp3_lightning.faces.obscure import Treatment, fill_from_around, obscure
from dp3_lightning.faces.resample import cut_window
from dp3_lightning.generators import GeneratorAdapter
from dp3_lightning.optical_flow import DISFlow, FlowEstimator
from dp3_lightning.runtime.threads import single_thread
from dp3_lightning.structures import UInt8Array


@dataclass(frozen=True)
class RenderOptions:
    """Choose how planned faces are drawn.

    Attributes:
        propagation: how often faces are drawn again, see :meth:`Propagation.parse`.
        feather: width of the blending band around the box, of its longer side.
        color_match: shift the colours of a drawn face so that its rim fits what it meets.
        padded: treatment of the frames added at the ends of a track: no face was detected
            there, so a drawn one may hang in the air.
        fallback: treatment of faces that cannot or should not be drawn.
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


class FaceRenderer:
    """Render consecutive frames of a video by a plan.

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
                f"{type(generator).__name__} works on the real face: use the treatment blur, "
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
        drawn: list[dict[int, Tensor]] = []
        if self.generator is not None:
            drawn = KeyFrameDrawer(self.generator, self.options.batch_size)(runs, result)
        layers: dict[int, list[tuple[float, Run, Tensor]]] = {}
        with single_thread():
            for run, images in zip(runs, drawn, strict=True):
                if self.options.color_match:
                    match_colors(run, images)
                self._carry(run, images, layers, result)
            for index, found in layers.items():
                # The smaller first, as DeepPrivacy2: a face in front is usually the larger.
                for _, run, image in sorted(found, key=lambda layer: layer[0]):
                    self._lay(result, index - first, index, run, image)
        return result

    def _make_safe(self, frame: UInt8Array, index: int) -> None:
        """Blur every planned face that is not kept, and all of a frame whose detection failed."""
        if index in self.undetected:
            obscure(frame, (0, 0, frame.shape[1], frame.shape[0]), self.options.fallback)
            return
        for track, box in self.plan.boxes_at(index):
            if track.action != "keep":
                # What surrounds a face that will be drawn is what it is drawn to fit.
                soft = not self._is_drawn(track, index)
                obscure(frame, box, self.options.fallback, soft=soft)

    def _is_drawn(self, track: PlannedTrack, index: int) -> bool:
        """Return whether a track is to be generated in a frame that it covers."""
        if self.generator is None or track.action != "generate" or index in self.undetected:
            return False
        padded = track.origins[index - track.start] == "padded"
        return not padded or self.options.padded == "generate"

    def _runs(self, frames: Sequence[UInt8Array], result: Rendered, first: int) -> list[Run]:
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
        """Return the ranges of frames in which a track is to be generated."""
        start: int | None = None
        for index in range(max(first, track.start), min(stop, track.stop) + 1):
            wanted = index < min(stop, track.stop) and self._is_drawn(track, index)
            if wanted and start is None:
                start = index
            elif not wanted and start is not None:
                yield start, index
                start = None

    def _run(
        self,
        number: int,
        frames: Sequence[UInt8Array],
        result: Rendered,
        first: int,
        start: int,
        stop: int,
    ) -> Run:
        assert self.generator is not None
        track, geometry = self.plan.tracks[number], self.geometry(number)
        size = self.generator.image_size

        def crop(frame: UInt8Array, index: int) -> Tensor:
            levels = cut_window(frame, geometry.windows[index - track.start], size)
            return torch.from_numpy(np.clip(levels, 0, 255) / 127.5 - 1).permute(2, 0, 1)

        real = torch.stack([crop(frames[i - first], i) for i in range(start, stop)])
        run = Run(track, geometry, start, self.styles.get(track.person), real)
        try:
            run.motion = find_keys(run.real, run.holes, self.estimator, self.how)
        except Exception as error:  # no motion, no carrying: every frame is drawn
            reason = f"optical flow failed, every frame drawn: {type(error).__name__}: {error}"
            result.failures.append(Failure(start, track.person, reason, blurred=False))
            run.motion = Motion(list(range(stop - start)))
        for key in run.motion.keys:
            frame = result.frames[start + key - first]
            box = geometry.boxes[start + key - track.start].tolist()
            # The crop's kernel looks over the edge of the hole, where the blurred face would be.
            with _without_face(frame, box):
                run.safe[key] = crop(frame, start + key)
        return run

    def _carry(
        self,
        run: Run,
        images: dict[int, Tensor],
        layers: dict[int, list[tuple[float, Run, Tensor]]],
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

    def _lay(self, result: Rendered, offset: int, index: int, run: Run, image: Tensor) -> None:
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


@contextlib.contextmanager
def _without_face(frame: UInt8Array, box: Sequence[float]) -> Iterator[None]:
    """Show a frame without a face, of which only what surrounds it may be drawn from."""
    region = pixel_region(box, frame.shape[:2])
    if region is None:
        yield
        return
    x0, y0, x1, y1 = region
    blurred = frame[y0:y1, x0:x1].copy()
    fill_from_around(frame, box)
    try:
        yield
    finally:
        frame[y0:y1, x0:x1] = blurred
