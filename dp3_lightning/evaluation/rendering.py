"""Anonymize a video with given settings and detect its faces, as every study does."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from dp3_lightning.anonymize import (
    CheckOptions,
    Drawing,
    OutputOptions,
    PersonOptions,
    PlanOptions,
    RenderOptions,
    Settings,
    anonymize_video,
    plan_video,
)
from dp3_lightning.anonymize.planning.plan import Plan
from dp3_lightning.anonymize.rendering.deep_privacy2 import as_detected
from dp3_lightning.faces import CenterFace
from dp3_lightning.faces.embedder import FaceEmbedder


def render(
    source: Path,
    output: Path,
    drawing: Drawing,
    cache: Path,
    compat: Literal["none", "dp2"] = "none",
    truncation: float | None = PersonOptions.truncation,
    seed: int = 0,
) -> None:
    """Anonymize a video for measuring: with fine compression, and without the blur of the check.

    The drawings of a generator are to be measured; never publish such a video.

    Args:
        source: video.
        output: written; replaced if there.
        drawing: the network or treatment that draws the faces.
        cache: folder of detections.
        compat: ``dp2`` draws as DeepPrivacy2 does.
        truncation: of the latents.
        seed: of the latents; with one seed a person has one face in every rendering.
    """
    settings = Settings(
        render=RenderOptions(compat=compat),
        people=PersonOptions(truncation=truncation, seed=seed),
        output=OutputOptions(overwrite=True, crf=12),
        check=CheckOptions(verify=False, identity_check="off"),
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    anonymize_video(source, output, drawing, settings=settings, cache=cache)


def detected_plan(
    source: Path, cache: Path | None = None, embedder: FaceEmbedder | None = None
) -> Plan:
    """Return the detected faces of an original, without anything added for safety.

    Args:
        source: video.
        cache: folder of detections; default: the user's cache.
        embedder: recogniser by which people keep their label across cuts and gaps. Without one,
            everybody is somebody else after a cut.
    """
    detector, options = CenterFace(runtime="auto"), as_detected(PlanOptions())
    return plan_video(source, detector, options, cache, embedder=embedder)
