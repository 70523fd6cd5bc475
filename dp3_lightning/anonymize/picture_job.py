"""One picture: the same plan, drawing and checks as a video of one frame."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from dp3_lightning.anonymize.manifest import Outcome, manifest_of, refuse_existing, write_manifest
from dp3_lightning.anonymize.pictures import read_picture as read_picture
from dp3_lightning.anonymize.pictures import write_picture as write_picture
from dp3_lightning.anonymize.planning.plan import Plan
from dp3_lightning.anonymize.planning.planner import plan_picture
from dp3_lightning.anonymize.rendering.choice import people_of, renderer_for
from dp3_lightning.anonymize.rendering.drawing import Drawing
from dp3_lightning.anonymize.rendering.pseudonyms import Pseudonyms
from dp3_lightning.anonymize.settings import (
    Settings,
    checking_detector,
    detectors_record,
    identity_record,
    recogniser,
)
from dp3_lightning.anonymize.verify import IdentityCheck, OutputCheck, hide_solid
from dp3_lightning.faces.analysis import file_hash
from dp3_lightning.structures import FaceDetector


def plan_of_picture(source: Path, settings: Settings, detector: FaceDetector) -> Plan:
    """Return the plan of a picture file."""
    return plan_picture(source, read_picture(source), detector, settings.plan)


def anonymize_picture(
    source: Path,
    output: Path,
    drawing: Drawing,
    settings: Settings,
    detector: FaceDetector,
    plan: Plan | None = None,
) -> Outcome:
    """Anonymize one picture file; see :class:`~dp3_lightning.anonymize.video_job.VideoJob`."""
    refuse_existing(source, output, settings.output.overwrite)
    notes: list[str] = []
    picture = read_picture(source, settings.output.deep_color, notes)
    sha256 = file_hash(source)
    checker = checking_detector(settings.check, detector, plan is not None)
    if plan is None:
        plan = plan_picture(source, picture, detector, settings.plan)
    elif plan.sha256 != sha256:
        raise ValueError(f"The plan is for another file than {str(source)!r}.")
    embedder, why_not = recogniser(settings.check)
    styles = drawing.styles(plan, settings.people, Pseudonyms().secret)
    treatment = drawing.treatment or settings.render.fallback
    options = dataclasses.replace(settings.render, fallback=treatment, propagation="off")
    while True:
        outcome = Outcome(n_frames=1, is_verified=settings.check.verify, notes=notes)
        keyed = drawing.keyed(plan, settings.people)
        renderer = renderer_for(plan, drawing, styles, options, lambda _: picture, keyed=keyed)
        outcome.redraws = getattr(renderer, "redraws", {})
        rendered = renderer.render([picture], 0)
        outcome.n_drawn, outcome.failures = len(rendered.drawn), rendered.failures
        hide_solid(rendered.frames, 0, plan)
        if settings.check.verify:
            drawn = drawing.generator is not None
            check = OutputCheck(plan, checker, settings.check.verify_score, treatment, drawn)
            outcome.add_checked(check(rendered.frames, 0, [picture]))
        if embedder is None:
            break
        identity = IdentityCheck(plan, embedder)
        outcome.add_distances(identity([picture], rendered.frames, 0))
        outcome.add_not_comparable(identity.not_comparable)
        alike = {} if drawing.treatment == "solid" else outcome.alike(plan, embedder.threshold)
        if not alike:
            break
        plan = plan.with_blur(alike, drawing.generator is None)
    outcome.people = people_of(renderer, plan)
    write_picture(output, rendered.frames[0])
    record = manifest_of(
        plan,
        outcome,
        source=source,
        source_sha256=sha256,
        output=output,
        output_sha256=file_hash(output),
        drawing=drawing.describe(),
        settings=settings.recorded(),
        identity=identity_record(embedder, why_not),
        detectors=detectors_record(plan, detector, checker if settings.check.verify else None),
        pseudonyms=drawing.sources(plan, settings.people),
    )
    write_manifest(output, record)
    return outcome
