"""One picture: the same plan, drawing and checks as a video of one frame."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np

from dp3_lightning.anonymize.drawing import Drawing
from dp3_lightning.anonymize.manifest import Outcome, manifest_of, refuse_existing, write_manifest
from dp3_lightning.anonymize.plan import Plan
from dp3_lightning.anonymize.planning import plan_picture
from dp3_lightning.anonymize.pseudonyms import Pseudonyms
from dp3_lightning.anonymize.renderers import people_of, renderer_for
from dp3_lightning.anonymize.settings import (
    Settings,
    checking_detector,
    detectors_record,
    identity_record,
    recogniser,
)
from dp3_lightning.anonymize.verify import IdentityCheck, OutputCheck, hide_solid
from dp3_lightning.faces.analysis import file_hash
from dp3_lightning.structures import FaceDetector, UInt8Array
from dp3_lightning.whole_files import replaced

_QUALITY = {
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".webp": [cv2.IMWRITE_WEBP_QUALITY, 95],
}


def read_picture(path: Path, deep_color: str = "convert") -> UInt8Array:
    """Read a picture upright; ``(H, W, 3)`` uint8 RGB.

    Args:
        path: the file.
        deep_color: what to do with more than 8 bits per colour: ``refuse`` or ``convert``.

    Raises:
        ValueError: it cannot be read, or its colours are refused.
    """
    data = np.frombuffer(path.read_bytes(), np.uint8)  # by content: OpenCV dislikes some names
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    picture = cv2.imdecode(data, flags) if data.size else None
    if picture is None:
        raise ValueError(f"Cannot read {str(path)!r} as a picture: it is damaged, or none.")
    if picture.dtype != np.uint8:
        if deep_color == "refuse":
            raise ValueError(
                f"{str(path)!r} has more than 8 bits per colour, of which 8 would be left: allow "
                "it with `--deep_color convert`."
            )
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert picture is not None  # the same data a moment ago
    return np.ascontiguousarray(picture[..., ::-1])


def write_picture(path: Path, picture: UInt8Array) -> None:
    """Write a picture, all of it or nothing, with no metadata.

    Raises:
        ValueError: the suffix is no picture's.
    """
    suffix = path.suffix.lower()
    try:
        whole, data = cv2.imencode(suffix, picture[..., ::-1], _QUALITY.get(suffix, []))
    except cv2.error:
        whole = False
    if not whole:
        raise ValueError(f"Cannot write a picture as {path.suffix!r}: use .png or .jpg.")
    with replaced(path) as partial:
        partial.write_bytes(data.tobytes())


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
    picture = read_picture(source, settings.output.deep_color)
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
        outcome = Outcome(n_frames=1, is_verified=settings.check.verify)
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
