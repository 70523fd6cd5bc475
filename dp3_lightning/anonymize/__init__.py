"""Anonymize whole videos. So far pass 1: the plan of who is where, as a file people can edit."""

from dp3_lightning.anonymize.plan import Plan, PlannedTrack, read_plan, write_plan
from dp3_lightning.anonymize.planning import PlanOptions, plan_video

__all__ = ["Plan", "PlanOptions", "PlannedTrack", "plan_video", "read_plan", "write_plan"]
