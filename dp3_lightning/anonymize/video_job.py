"""One video from beginning to end: plan, render in stretches, check, join, tell."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dp3_lightning.anonymize.encoding import Encoding
from dp3_lightning.anonymize.manifest import (
    Outcome,
    manifest_of,
    refuse_existing,
    write_manifest,
)
from dp3_lightning.anonymize.planning.found_tracks import found_tracks
from dp3_lightning.anonymize.planning.plan import Plan, PlannedTrack
from dp3_lightning.anonymize.planning.planner import plan_video
from dp3_lightning.anonymize.rendering.choice import Renderer, people_of, renderer_for
from dp3_lightning.anonymize.rendering.deep_privacy2 import as_detected
from dp3_lightning.anonymize.rendering.drawing import Drawing
from dp3_lightning.anonymize.settings import (
    Settings,
    checking_detector,
    detectors_record,
    identity_record,
    recogniser,
)
from dp3_lightning.anonymize.verify import IdentityCheck, OutputCheck, hide_solid
from dp3_lightning.anonymize.workspace import Workspace, digest_of
from dp3_lightning.faces.analysis import file_hash
from dp3_lightning.structures import FaceDetector, UInt8Array
from dp3_lightning.video import FrameUnavailableError, VideoReader

# Decoded frames that are held at a time, real and rendered together.
_MEMORY = 256 * 2**20
_MOST_FRAMES, _LEAST_FRAMES = 48, 4  # of one piece
_STRETCH_FRAMES = 384  # of one file in the workspace: what is lost when a run is killed

Progress = Callable[[str, int, int], None]  # pass, frames done, frames in all


class VideoJob:
    """Anonymizes one video.

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
        self.source, self.output = source, output
        self.drawing, self.settings, self.detector = drawing, settings, detector
        self.cache = cache
        self.progress: Progress = progress or (lambda stage, done, total: None)
        refuse_existing(source, output, settings.output.overwrite)
        self.reader = VideoReader(source)
        self.encoding = Encoding(self.reader, output, settings.output)
        self.sha256 = file_hash(source)
        if plan is not None and plan.sha256 != self.sha256:
            raise ValueError(
                f"The plan is for another file than {str(source)!r} (it says {plan.video!r}): a "
                "plan fits the very video it was made from."
            )
        self.given_plan = plan
        self.checker = checking_detector(settings.check, detector, plan is not None)
        self.embedder, self.no_identity = recogniser(settings.check)
        self.outcome = Outcome()
        self._lost_now: set[int] = set()  # not decoded in pass 2

    def run(self) -> Outcome:
        """Do it; returns what happened, which the manifest beside the output says too."""
        private = self.settings.people.pseudonym_key or ""
        workspace = Workspace(self.output, self._run_key(), private)
        try:
            self.encoding.try_out(workspace.folder)
            return self._run_in(workspace)
        except BaseException:
            workspace.remove_if_unused()
            raise
        finally:
            workspace.close()

    def _run_in(self, workspace: Workspace) -> Outcome:
        # As the file has it, rounding included: a run that goes on must find the same plan.
        plan = workspace.keep_plan(self.given_plan or workspace.plan() or self._make_plan())
        redraws: dict[str, int] = {}
        found: list[tuple[int, list[float]]] | None = None  # by the first check
        # A drawn face that passes for the real person is drawn anew a few times, where drawing
        # finds somebody else, and then blurred, which can go on only until every track is.
        while True:
            labels = self.settings.people
            self.styles = self.drawing.styles(plan, labels, workspace.secret, redraws)
            self.outcome = Outcome(
                n_frames=len(self.reader),
                missing_tail=self.reader.missing_tail,
                is_verified=self.settings.check.verify,
                notes=self.encoding.notes,
            )
            self._render(plan, workspace)
            if found is None:  # once: a face that is there in some frames is there between them
                found = self.outcome.blurred
                more = self._missed(plan)
                if more:
                    tracks = [*plan.tracks, *more]
                    plan = workspace.keep_plan(dataclasses.replace(plan, tracks=tracks))
                    continue
            alike = self._alike(plan)
            if not alike:
                break
            drawn = [n for n in alike if plan.tracks[n].action == "generate"]
            again = {plan.tracks[number].person for number in drawn}
            again = {person for person in again if redraws.get(person, 0) < self.drawing.redraws}
            redraws |= {person: redraws.get(person, 0) + 1 for person in again}
            blurred = {
                n: d
                for n, d in alike.items()
                if n not in drawn or plan.tracks[n].person not in again
            }
            if blurred:
                no_network = self.drawing.generator is None
                plan = workspace.keep_plan(plan.with_blur(blurred, no_network))
        earlier = [entry for entry in found if entry not in self.outcome.blurred]
        self.outcome.blurred = sorted([*earlier, *self.outcome.blurred])
        for person, times in redraws.items():
            self.outcome.redraws[person] = self.outcome.redraws.get(person, 0) + times
        people = {track.person for track in plan.tracks if track.action == "generate"}
        self.outcome.people = {n: p for n, p in workspace.people().items() if n in people}
        self._finish(plan, workspace)
        return self.outcome

    def _missed(self, plan: Plan) -> list[PlannedTrack]:
        """Return tracks of faces that the plan missed; none where blurring does not help."""
        if self.outcome.unresolved:
            return []
        rate = float(self.reader.average_rate)
        return found_tracks(plan, self.outcome.blurred, rate, self.settings.plan)

    def _alike(self, plan: Plan) -> dict[int, float]:
        if self.embedder is None or self.drawing.treatment == "solid":
            return {}  # black shows nobody
        return self.outcome.alike(plan, self.embedder.threshold)

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
        options = self.settings.plan
        return plan_video(
            self.source,
            self.detector,
            as_detected(options) if self.settings.render.compat == "dp2" else options,
            self.cache,
            lambda done: self.progress("plan", done, total),
            self.embedder,
        )

    def _render(self, plan: Plan, workspace: Workspace) -> None:
        treatment = self.drawing.treatment or self.settings.render.fallback
        options = dataclasses.replace(self.settings.render, fallback=treatment)
        total = len(self.reader)
        renderer: Renderer | None = None  # prepared when something is left to render
        self.stretches = []
        for number, start in enumerate(range(0, total, _STRETCH_FRAMES)):
            stop = min(start + _STRETCH_FRAMES, total)
            drawn_by = {name: style.flatten().tolist() for name, style in self.styles.items()}
            key = digest_of([_slice(plan, start, stop + 1), plan.undetected, plan.lost, drawn_by])
            record = workspace.record(number, key)
            if record is None:
                if renderer is None:
                    renderer = renderer_for(
                        plan,
                        self.drawing,
                        self.styles,
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
            self.outcome.add(Outcome.from_dict(record))
            self.stretches.append(workspace.stretch(number))
            self.progress("render", stop, total)

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

    def _finish(self, plan: Plan, workspace: Workspace) -> None:
        joined = workspace.folder / f"joined{self.output.suffix}"
        self.encoding.join(joined, self.stretches)
        record = manifest_of(
            plan,
            self.outcome,
            source=self.source,
            source_sha256=self.sha256,
            output=self.output,
            output_sha256=file_hash(joined),
            drawing=self.drawing.describe(),
            settings=self.settings.recorded(),
            identity=identity_record(self.embedder, self.no_identity),
            detectors=detectors_record(
                plan, self.detector, self.checker if self.settings.check.verify else None
            ),
            pseudonyms=self.drawing.sources(plan, self.settings.people),
        )
        # The record first: an output without one could not be told from somebody else's file.
        write_manifest(self.output, record)
        os.replace(joined, self.output)
        workspace.remove()


def _repeated(last: UInt8Array | None, before: Path | None, like: UInt8Array) -> UInt8Array:
    """What stands in for a lost frame: the anonymized frame before it, or black at the begin."""
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
