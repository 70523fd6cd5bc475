"""Anonymize whole videos: plan which face is where, render, check, record."""

from dp3_lightning.anonymize.api import anonymize_video
from dp3_lightning.anonymize.manifest import Outcome
from dp3_lightning.anonymize.options import (
    CheckOptions,
    DeviceOptions,
    OutputOptions,
    PersonOptions,
)
from dp3_lightning.anonymize.planning.plan import Plan, PlannedTrack, read_plan, write_plan
from dp3_lightning.anonymize.planning.planner import PlanOptions, plan_picture, plan_video
from dp3_lightning.anonymize.rendering.drawing import Drawing
from dp3_lightning.anonymize.rendering.renderer import RenderOptions
from dp3_lightning.anonymize.settings import Settings

__all__ = [
    "CheckOptions",
    "DeviceOptions",
    "Drawing",
    "Outcome",
    "OutputOptions",
    "PersonOptions",
    "Plan",
    "PlanOptions",
    "PlannedTrack",
    "RenderOptions",
    "Settings",
    "anonymize_video",
    "plan_picture",
    "plan_video",
    "read_plan",
    "write_plan",
]
