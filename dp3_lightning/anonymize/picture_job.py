"""Anonymize one picture: the same plan, drawing and checks as a video of one frame."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from dp3_lightning.anonymize.job import Job
from dp3_lightning.anonymize.manifest import Outcome
from dp3_lightning.anonymize.pictures import read_picture as read_picture
from dp3_lightning.anonymize.pictures import write_picture as write_picture
from dp3_lightning.anonymize.planning.plan import Plan
from dp3_lightning.anonymize.planning.planner import plan_picture
from dp3_lightning.anonymize.rendering.choice import people_of, renderer_for
from dp3_lightning.anonymize.rendering.drawing import Drawing
from dp3_lightning.anonymize.rendering.pseudonyms import Pseudonyms
from dp3_lightning.anonymize.settings import Settings
from dp3_lightning.anonymize.verify import IdentityCheck, OutputCheck, hide_solid
from dp3_lightning.runtime.files import temporary_name
from dp3_lightning.structures import FaceDetector, UInt8Array


def plan_of_picture(source: Path, settings: Settings, detector: FaceDetector) -> Plan:
    """Return the plan of a picture file as a run with these settings makes it."""
    picture = read_picture(source, settings.output.deep_color)
    return plan_picture(source, picture, detector, settings.plan_options())


def anonymize_picture(
    source: Path,
    output: Path,
    drawing: Drawing,
    settings: Settings,
    detector: FaceDetector,
    plan: Plan | None = None,
) -> Outcome:
    """Anonymize one picture file; see :class:`~dp3_lightning.anonymize.job.Job`."""
    return PictureJob(source, output, drawing, settings, detector, plan).run()


class PictureJob(Job):
    """Anonymize one picture.

    Args:
        source: the picture.
        output: target; its folder must exist.
        drawing: how faces are drawn.
        settings: see :class:`Settings`.
        detector: face detector of the plan.
        plan: a plan that was made before; default: make one.

    Raises:
        FileNotFoundError: no such picture, or no folder for the output.
        FileExistsError: there is an output already.
        ValueError: output is the input, the plan is of another file, the picture cannot be read,
            or its colours are refused.
    """

    def __init__(
        self,
        source: Path,
        output: Path,
        drawing: Drawing,
        settings: Settings,
        detector: FaceDetector,
        plan: Plan | None = None,
    ) -> None:
        super().__init__(source, output, drawing, settings, detector, plan)
        self.notes: list[str] = []
        self.picture = read_picture(source, settings.output.deep_color, self.notes)
        self.secret = Pseudonyms().secret

    def run(self) -> Outcome:
        """Do it; returns what happened, which the manifest beside the output says too."""
        plan = self.given_plan or plan_picture(
            self.source, self.picture, self.detector, self.settings.plan_options()
        )
        plan = self._render_until_safe(plan)
        partial = temporary_name(self.output)
        try:
            write_picture(partial, self.frame)
            self._publish(partial, plan)
        finally:
            partial.unlink(missing_ok=True)
        return self.outcome

    def _render(self, plan: Plan, redraws: dict[str, int]) -> Outcome:
        outcome = Outcome(n_frames=1, is_verified=self.settings.check.verify, notes=self.notes)
        people = self.settings.people
        styles = self.drawing.styles(plan, people, self.secret, redraws)
        options = dataclasses.replace(self._render_options(), propagation="off")
        keyed = self.drawing.keyed(plan, people)
        renderer = renderer_for(
            plan, self.drawing, styles, options, lambda _: self.picture, keyed=keyed
        )
        outcome.redraws = dict(getattr(renderer, "redraws", {}))
        outcome.people = people_of(renderer, plan)
        rendered = renderer.render([self.picture], 0)
        outcome.n_drawn, outcome.failures = len(rendered.drawn), rendered.failures
        hide_solid(rendered.frames, 0, plan)
        self._check(plan, rendered.frames, outcome)
        self.frame = rendered.frames[0]
        return outcome

    def _check(self, plan: Plan, frames: list[UInt8Array], outcome: Outcome) -> None:
        """Look for faces that are left, blur them, and compare drawn faces with the real ones."""
        if self.settings.check.verify:
            score, treatment = self.settings.check.verify_score, self._render_options().fallback
            drawn = self.drawing.generator is not None
            check = OutputCheck(plan, self.checker, score, treatment, drawn)
            outcome.add_checked(check(frames, 0, [self.picture]))
        if self.embedder is not None:
            identity = IdentityCheck(plan, self.embedder)
            outcome.add_distances(identity([self.picture], frames, 0))
            outcome.add_not_comparable(identity.not_comparable)
