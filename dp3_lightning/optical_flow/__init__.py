"""Estimate optical flow, warp along it, and find occlusions."""

from dp3_lightning.optical_flow.estimator import DISFlow, FarnebackFlow, FlowEstimator
from dp3_lightning.optical_flow.raft import RAFTFlow
from dp3_lightning.optical_flow.warp import (
    backward_warp,
    in_bounds,
    occlusion_mask,
    visibility_mask,
)

__all__ = [
    "DISFlow",
    "FarnebackFlow",
    "FlowEstimator",
    "RAFTFlow",
    "backward_warp",
    "in_bounds",
    "occlusion_mask",
    "visibility_mask",
]
