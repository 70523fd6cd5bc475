"""Collect all options of a run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from dp3_lightning.anonymize.options import CheckOptions, OutputOptions, PersonOptions
from dp3_lightning.anonymize.planning.plan import Plan
from dp3_lightning.anonymize.planning.planner import PlanOptions
from dp3_lightning.anonymize.rendering.deep_privacy2 import as_detected
from dp3_lightning.anonymize.rendering.renderer import RenderOptions
from dp3_lightning.assets import AssetUnavailableError, asset_path
from dp3_lightning.faces import UnionDetector, detector_named
from dp3_lightning.faces.choice import describe_detector, detector_of_another_family
from dp3_lightning.faces.embedder import DlibEmbedder, FaceEmbedder
from dp3_lightning.faces.sface import SFaceEmbedder
from dp3_lightning.structures import FaceDetector


@dataclass(frozen=True)
class Settings:
    """Group all options of a run.

    Attributes:
        plan: how detections become tracks.
        render: how faces are drawn.
        people: which fake person each person becomes.
        output: how the result is written.
        check: how it is checked.
    """

    plan: PlanOptions = field(default_factory=PlanOptions)
    render: RenderOptions = field(default_factory=RenderOptions)
    people: PersonOptions = field(default_factory=PersonOptions)
    output: OutputOptions = field(default_factory=OutputOptions)
    check: CheckOptions = field(default_factory=CheckOptions)

    def plan_options(self) -> PlanOptions:
        """Return the options that a plan is made with: ``compat: dp2`` overrules some of them."""
        return as_detected(self.plan) if self.render.compat == "dp2" else self.plan

    def recorded(self) -> dict[str, Any]:
        """Return plain values without the pseudonym key."""
        values = dataclasses.asdict(self)
        key = values["people"].pop("pseudonym_key")
        values["people"]["pseudonym_key_given"] = key is not None
        return values


def recogniser(check: CheckOptions) -> tuple[FaceEmbedder | None, str]:
    """Return the recogniser of the identity check, or None and the reason.

    Raises:
        ModuleNotFoundError: it is required and not installed.
        AssetUnavailableError: it is required and its model cannot be fetched.
    """
    if check.identity_check == "off":
        return None, "switched off"
    try:
        embedder: FaceEmbedder
        if check.recogniser == "dlib":
            embedder = DlibEmbedder()
        else:
            asset_path("sface")
            embedder = SFaceEmbedder()
    except (ModuleNotFoundError, AssetUnavailableError) as error:
        if check.identity_check == "required":
            raise
        return None, str(error)
    if check.identity_threshold is not None:
        embedder.threshold = check.identity_threshold
    return embedder, ""


def checking_detector(
    check: CheckOptions, detector: FaceDetector, plan_was_given: bool = False
) -> FaceDetector:
    """Return what looks for faces in the result.

    Args:
        check: the user's choice.
        detector: of the plan.
        plan_was_given: whether the plan was read from a file. It may have been edited, so that its
            own detector has something to find, too.
    """
    choice = check.check_detector.lower()
    if choice == "same":
        return detector
    if choice != "auto":
        return detector_named(choice)
    other = detector_of_another_family(detector)
    return UnionDetector([other, detector]) if plan_was_given else other


def detectors_record(
    plan: Plan, detector: FaceDetector, checker: FaceDetector | None
) -> dict[str, Any]:
    """Return what the manifest says of the detectors of both passes.

    Args:
        plan: as rendered; it knows which detector it was made with.
        detector: of this run.
        checker: of the check; None when there was none.
    """
    made_with = plan.settings.get("detector", detector.name)
    same = made_with == detector.name
    return {
        "plan": describe_detector(detector, plan.size) if same else {"name": made_with},
        "check": None if checker is None else describe_detector(checker, plan.size),
    }


def identity_record(embedder: FaceEmbedder | None, why_not: str) -> dict[str, Any]:
    """Describe the identity check for the manifest: its recogniser, or why it was skipped."""
    if embedder is None:
        return {"skipped": why_not}
    return {
        "recogniser": embedder.name,
        "models_sha256": dict(getattr(embedder, "files", {})),
        "threshold": embedder.threshold,
        "evidence": getattr(embedder, "evidence", None),
    }
