"""Collect all options of a run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from dp3_lightning.anonymize.options import CheckOptions, OutputOptions, PersonOptions
from dp3_lightning.anonymize.planning import PlanOptions
from dp3_lightning.anonymize.render import RenderOptions
from dp3_lightning.assets import AssetUnavailableError, asset_path
from dp3_lightning.faces.embedder import DlibEmbedder, FaceEmbedder
from dp3_lightning.faces.sface import SFaceEmbedder


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


def identity_record(
    embedder: FaceEmbedder | None, why_not: str, faces_are_drawn: bool
) -> dict[str, Any]:
    """Describe the identity check for the manifest: its recogniser, or why it was skipped."""
    if embedder is None:
        return {"skipped": why_not}
    if not faces_are_drawn:
        return {"skipped": "no faces are drawn"}
    return {
        "recogniser": embedder.name,
        "threshold": embedder.threshold,
        "evidence": getattr(embedder, "evidence", None),
    }
