"""How steady, how sharp, how alive: figures about anonymized clips, each beside the original's."""

from dp3_lightning.metrics.motion import correlation, mouth_opening
from dp3_lightning.metrics.quality import FeaturePool, frechet_distance, sharpness
from dp3_lightning.metrics.temporal import flow_difference, warping_errors

__all__ = [
    "FeaturePool",
    "correlation",
    "flow_difference",
    "frechet_distance",
    "mouth_opening",
    "sharpness",
    "warping_errors",
]
