"""Share what videos and pictures have in common: render, check, blur who is alike, record."""

from __future__ import annotations

import dataclasses
import os
from abc import ABC, abstractmethod
from pathlib import Path

from dp3_lightning.anonymize.manifest import (
    Outcome,
    manifest_of,
    refuse_existing,
    write_manifest,
)
from dp3_lightning.anonymize.planning.found_tracks import found_tracks
from dp3_lightning.anonymize.planning.plan import Plan, PlannedTrack
from dp3_lightning.anonymize.rendering.drawing import Drawing
from dp3_lightning.anonymize.rendering.renderer import RenderOptions
from dp3_lightning.anonymize.settings import (
    Settings,
    checking_detector,
    detectors_record,
    identity_record,
    recogniser,
)
from dp3_lightning.faces.analysis import file_hash
from dp3_lightning.structures import FaceDetector


class Job(ABC):
    """Anonymize one file; a kind of file says how its frames are read, rendered and written.

    Args:
        source: the original.
        output: target; its folder must exist.
        drawing: how faces are drawn.
        settings: see :class:`Settings`.
        detector: face detector of the plan; the check takes another one, see
            :class:`~dp3_lightning.anonymize.CheckOptions`.
        plan: a plan that was made before; default: make one.

    Attributes:
        rate: frames per second; 1 for a picture.
        outcome: what happened in the last rendering.

    Raises:
        FileNotFoundError: no such file, or no folder for the output.
        FileExistsError: there is an output already.
        ValueError: output is the input, or the plan is of another file.
    """

    rate: float = 1.0

    def __init__(
        self,
        source: Path,
        output: Path,
        drawing: Drawing,
        settings: Settings,
        detector: FaceDetector,
        plan: Plan | None = None,
    ) -> None:
        self.source, self.output = source, output
        self.drawing, self.settings, self.detector = drawing, settings, detector
        refuse_existing(source, output, settings.output.overwrite)
        self.sha256 = file_hash(source)
        if plan is not None and plan.sha256 != self.sha256:
            raise ValueError(
                f"The plan is for another file than {str(source)!r} (it says {plan.video!r}): a "
                "plan fits the very file it was made from."
            )
        self.given_plan = plan
        self.checker = checking_detector(settings.check, detector, plan is not None)
        self.embedder, self.no_identity = recogniser(settings.check)
        self.outcome = Outcome()

    @abstractmethod
    def _render(self, plan: Plan, redraws: dict[str, int]) -> Outcome:
        """Render and check all frames; ``redraws`` counts draws per person that were refused."""

    def _keep_plan(self, plan: Plan) -> Plan:
        """Store a changed plan where a run can go on from it; returns it as it was stored."""
        return plan

    def _render_until_safe(self, plan: Plan) -> Plan:
        """Render until no face passes for the real person; returns the plan that was rendered.

        A drawn face that passes for the real person is drawn anew a few times, where drawing finds
        somebody else, and then blurred, which can go on only until every track is.
        """
        redraws: dict[str, int] = {}
        found: list[tuple[int, list[float]]] | None = None  # by the first check
        while True:
            self.outcome = self._render(plan, redraws)
            if found is None:  # once: a face that is there in some frames is there between them
                found = self.outcome.blurred
                more = self._missed(plan)
                if more:
                    tracks = [*plan.tracks, *more]
                    plan = self._keep_plan(dataclasses.replace(plan, tracks=tracks))
                    continue
            alike = self._alike(plan)
            if not alike:
                break
            blurred = self._not_drawn_again(plan, alike, redraws)
            if blurred:
                no_network = self.drawing.generator is None
                plan = self._keep_plan(plan.with_blur(blurred, no_network))
        earlier = [entry for entry in found if entry not in self.outcome.blurred]
        self.outcome.blurred = sorted([*earlier, *self.outcome.blurred])
        for person, times in redraws.items():
            self.outcome.redraws[person] = self.outcome.redraws.get(person, 0) + times
        return plan

    def _missed(self, plan: Plan) -> list[PlannedTrack]:
        """Return tracks of faces that the plan missed; none where blurring does not help."""
        if self.outcome.unresolved:
            return []
        return found_tracks(plan, self.outcome.blurred, self.rate, self.settings.plan)

    def _alike(self, plan: Plan) -> dict[int, float]:
        """Return tracks whose result passes for the real person, with the least distance."""
        if self.embedder is None or self.drawing.treatment == "solid":
            return {}  # black shows nobody
        return self.outcome.alike(plan, self.embedder.threshold)

    def _not_drawn_again(
        self, plan: Plan, alike: dict[int, float], redraws: dict[str, int]
    ) -> dict[int, float]:
        """Count one more draw for people who may be drawn again; returns the other tracks."""
        drawn = [n for n in alike if plan.tracks[n].action == "generate"]
        again = {plan.tracks[number].person for number in drawn}
        again = {person for person in again if redraws.get(person, 0) < self.drawing.redraws}
        redraws |= {person: redraws.get(person, 0) + 1 for person in again}
        return {
            n: d for n, d in alike.items() if n not in drawn or plan.tracks[n].person not in again
        }

    def _render_options(self) -> RenderOptions:
        """Return the options of rendering, with the treatment that the user asked for, if any."""
        treatment = self.drawing.treatment or self.settings.render.fallback
        return dataclasses.replace(self.settings.render, fallback=treatment)

    def _publish(self, finished: Path, plan: Plan) -> None:
        """Write the manifest and give a finished file the name of the output.

        Args:
            finished: the whole result, in the folder of the output or below.
            plan: as rendered.
        """
        record = manifest_of(
            plan,
            self.outcome,
            source=self.source,
            source_sha256=self.sha256,
            output=self.output,
            output_sha256=file_hash(finished),
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
        os.replace(finished, self.output)
