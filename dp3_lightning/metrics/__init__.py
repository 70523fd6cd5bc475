"""How steady, how sharp, how alive: figures about anonymized clips, each beside the original's."""

from dp3_lightning.metrics.motion import correlation, mouth_opening
from dp3_lightning.metrics.privacy import (
    identification,
    identity_stability,
    tar_at_far,
    trained_attack,
)
from dp3_lightning.metrics.quality import FeaturePool, frechet_distance, sharpness
from dp3_lightning.metrics.temporal import (
    FlowDifference,
    WarpingError,
    flow_difference,
    warping_errors,
)

__all__ = [
    "FeaturePool",
    "FlowDifference",
    "WarpingError",
    "correlation",
    "flow_difference",
    "frechet_distance",
    "identification",
    "identity_stability",
    "mouth_opening",
    "sharpness",
    "tar_at_far",
    "trained_attack",
    "warping_errors",
]
