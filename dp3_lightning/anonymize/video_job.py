"""Anonymize one video: plan, render in stretches, check, join, record."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dp3_lightning.anonymize.encoding import Encoding
from dp3_lightning.anonymize.job import Job
from dp3_lightning.anonymize.manifest import Outcome
from dp3_lightning.anonymize.planning.plan import Plan
from dp3_lightning.anonymize.planning.planner import plan_video
from dp3_lightning.anonymize.rendering.choice import Renderer, people_of, renderer_for
from dp3_lightning.anonymize.rendering.drawing import Drawing
from dp3_lightning.anonymize.settings import Settings
from dp3_lightning.anonymize.verify import IdentityCheck, OutputCheck, hide_solid
from dp3_lightning.anonymize.workspace import Workspace, digest_of
from dp3_lightning.faces.embedder import FaceEmbedder
from dp3_lightning.structures import FaceDetector, UInt8Array
from dp3_lightning.video import FrameUnavailableError, VideoReader

# Decoded frames that are held at a time, real and rendered together.
_MEMORY = 256 * 2**20
_MOST_FRAMES, _LEAST_FRAMES = 48, 4  # of one piece
_STRETCH_FRAMES = 384  # of one file in the workspace: what is lost when a run is killed

Progress = Callable[[str, int, int], None]  # pass, frames done, frames in all


class VideoJob(Job):
    """Anonymize one video.

    Args:
        source: the video.
        output: target; its folder must exist.
        drawing: how faces are drawn.
        settings: see :class:`Settings`.
        detector: face detector of the plan; the check takes another one, see
            :class:`~dp3_lightning.anonymize.CheckOptions`.
        plan: a plan that was made before; default: make one.
        cache: folder of the detector's answers; default: the user's cache.
        progress: told about every pass.

    Raises:
        FileNotFoundError: no such video, or no folder for the output.
        FileExistsError: there is an output already.
        UnreadableVideoError: the video cannot be read.
        ValueError: output is the input, the plan is of another video, or the colours are refused.
    """

    def __init__(
        self,
        source: Path,
        output: Path,
        drawing: Drawing,
        settings: Settings,
        detector: FaceDetector,
        plan: Plan | None = None,
        cache: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        super().__init__(source, output, drawing, settings, detector, plan)
        self.cache = cache
        self.progress: Progress = progress or (lambda stage, done, total: None)
        self.reader = VideoReader(source)
        self.rate = float(self.reader.average_rate)
        self.encoding = Encoding(self.reader, output, settings.output)
        self._lost_now: set[int] = set()  # not decoded in pass 2

    def run(self) -> Outcome:
        """Do it; returns what happened, which the manifest beside the output says too."""
        private = self.settings.people.pseudonym_key or ""
        self.workspace = Workspace(self.output, self._run_key(), private)
        try:
            self.encoding.try_out(self.workspace.folder)
            return self._run()
        except BaseException:
            self.workspace.remove_if_unused()
            raise
        finally:
            self.workspace.close()

    def _run(self) -> Outcome:
        # As the file has it, rounding included: a run that goes on must find the same plan.
        plan = self._keep_plan(self.given_plan or self.workspace.plan() or self._make_plan())
        plan = self._render_until_safe(plan)
        people = {track.person for track in plan.tracks if track.action == "generate"}
        drawn = self.workspace.people()
        self.outcome.people = {name: face for name, face in drawn.items() if name in people}
        joined = self.workspace.folder / f"joined{self.output.suffix}"
        self.encoding.join(joined, self.stretches)
        self._publish(joined, plan)
        self.workspace.remove()
        return self.outcome

    def _keep_plan(self, plan: Plan) -> Plan:
        return self.workspace.keep_plan(plan)

    def _run_key(self) -> str:
        given = None if self.given_plan is None else dataclasses.asdict(self.given_plan)
        return digest_of(
            [
                self.sha256,
                self.drawing.describe(),
                self.settings.recorded(),
                given,
                self.detector.name,
                self.checker.name,
                self.output.suffix,
            ]
        )

    def _make_plan(self) -> Plan:
        total = len(self.reader)
        return plan_of_video(
            self.source,
            self.settings,
            self.detector,
            self.cache,
            lambda done: self.progress("plan", done, total),
            self.embedder,
        )

    def _render(self, plan: Plan, redraws: dict[str, int]) -> Outcome:
        workspace, options = self.workspace, self._render_options()
        styles = self.drawing.styles(plan, self.settings.people, workspace.secret, redraws)
        drawn_by = {name: style.flatten().tolist() for name, style in styles.items()}
        total = len(self.reader)
        outcome = Outcome(
            n_frames=total,
            missing_tail=self.reader.missing_tail,
            is_verified=self.settings.check.verify,
            notes=self.encoding.notes,
        )
        renderer: Renderer | None = None  # prepared when something is left to render
        self.stretches: list[Path] = []
        for number, start in enumerate(range(0, total, _STRETCH_FRAMES)):
            stop = min(start + _STRETCH_FRAMES, total)
            key = digest_of([_slice(plan, start, stop + 1), plan.undetected, plan.lost, drawn_by])
            record = workspace.record(number, key)
            if record is None:
                if renderer is None:
                    renderer = renderer_for(
                        plan,
                        self.drawing,
                        styles,
                        options,
                        self._real,
                        lambda done: self.progress("follow", done, total),
                        self.drawing.keyed(plan, self.settings.people),
                    )
                    workspace.keep_people(people_of(renderer, plan))
                part = Outcome(redraws=dict(getattr(renderer, "redraws", {})))
                before = workspace.stretch(number - 1) if number else None
                frames = self._rendered(renderer, start, stop, part, before)
                self.encoding.write_stretch(workspace.stretch(number), frames, start, stop)
                record = part.as_dict()
                workspace.keep_record(number, key, record)
            outcome.add(Outcome.from_dict(record))
            self.stretches.append(workspace.stretch(number))
            self.progress("render", stop, total)
        return outcome

    def _rendered(
        self,
        renderer: Renderer,
        start: int,
        stop: int,
        part: Outcome,
        before: Path | None,
    ) -> Iterator[UInt8Array]:
        """Rendered and checked frames of one stretch, made piece by piece.

        A piece shares its last frame with the next, so that faces are carried up to it from both
        sides and pieces do not show.
        """
        height, width = self.reader.size
        length = min(max(_MEMORY // (6 * height * width), _LEAST_FRAMES), _MOST_FRAMES)
        check = OutputCheck(
            renderer.plan,
            self.checker,
            self.settings.check.verify_score,
            renderer.options.fallback,
            self.drawing.generator is not None,
        )
        identity = None
        if self.embedder is not None:
            every = self.settings.check.identity_every
            identity = IdentityCheck(renderer.plan, self.embedder, every)
        shared: UInt8Array | None = None
        last: UInt8Array | None = None
        for first in range(start, stop, length):
            end = min(first + length, stop)
            reach = range(first, min(end + 1, len(self.reader)))
            real = [self._real(i) if shared is None or i != first else shared for i in reach]
            shared = real[-1] if len(reach) > end - first else None
            rendered = renderer.render(real, first)
            frames = rendered.frames[: end - first]
            part.n_drawn += sum(index < end for index in rendered.drawn)
            part.n_carried += sum(index < end for index in rendered.carried)
            part.failures += [f for f in rendered.failures if f.frame < end]
            hide_solid(frames, first, renderer.plan)
            if self.settings.check.verify:
                part.add_checked(check(frames, first, real[: end - first]))
            if identity is not None:
                part.add_distances(identity(real[: end - first], frames, first))
            for index, frame in enumerate(frames, start=first):
                if index in renderer.plan.lost or index in self._lost_now:
                    frame = _repeated(last, before, frame)
                    part.repeated.append(index)
                last = frame
                yield frame
            self.progress("render", end, len(self.reader))
        if identity is not None:
            part.add_not_comparable(identity.not_comparable)

    def _real(self, index: int) -> UInt8Array:
        try:
            return self.reader.frame(index)
        except FrameUnavailableError:
            self._lost_now.add(index)
            return np.zeros((*self.reader.size, 3), np.uint8)


def plan_of_video(
    source: Path,
    settings: Settings,
    detector: FaceDetector,
    cache: Path | None = None,
    progress: Callable[[int], None] | None = None,
    embedder: FaceEmbedder | None = None,
) -> Plan:
    """Return the plan of a video as a run with these settings makes it.

    Args:
        source: the video.
        settings: all options.
        detector: face detector.
        cache: folder of the detector's answers; default: the user's cache.
        progress: called with the number of frames done.
        embedder: recogniser by which people keep their labels across cuts.
    """
    return plan_video(source, detector, settings.plan_options(), cache, progress, embedder)


def _repeated(last: UInt8Array | None, before: Path | None, like: UInt8Array) -> UInt8Array:
    """Return a stand-in for a lost frame: the anonymized frame before it, or black at the start."""
    if last is None and before is not None:
        with VideoReader(before) as reader:
            last = reader.frame(-1)
    return np.zeros_like(like) if last is None else last


def _slice(plan: Plan, start: int, stop: int) -> list[Any]:
    """What of a plan decides frames ``start`` to ``stop - 1``; tracks as wholes: they smooth."""
    return [
        dataclasses.asdict(track)
        for track in plan.tracks
        if track.start < stop and track.stop > start
    ]
