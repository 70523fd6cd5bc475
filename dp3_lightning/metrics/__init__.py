"""How steady, how sharp, how alive: figures about anonymized clips, each beside the original's."""

from dp3_lightning.metrics.detectability import FakeDetector, detection_auc, two_sample_auc
from dp3_lightning.metrics.features import (
    PictureFeatures,
    inception_features,
    mobilenet_features,
)
from dp3_lightning.metrics.motion import correlation, head_pose, mouth_opening
from dp3_lightning.metrics.privacy import (
    identification,
    identity_stability,
    tar_at_far,
    trained_attack,
)
from dp3_lightning.metrics.quality import (
    frechet_distance,
    high_frequency_share,
    kernel_distance,
    sharpness,
    total_variation,
)
from dp3_lightning.metrics.temporal import (
    FlowDifference,
    WarpingError,
    flicker,
    flow_difference,
    warping_errors,
)

__all__ = [
    "FakeDetector",
    "FlowDifference",
    "PictureFeatures",
    "WarpingError",
    "correlation",
    "detection_auc",
    "flicker",
    "flow_difference",
    "frechet_distance",
    "head_pose",
    "high_frequency_share",
    "identification",
    "identity_stability",
    "inception_features",
    "kernel_distance",
    "mobilenet_features",
    "mouth_opening",
    "sharpness",
    "tar_at_far",
    "total_variation",
    "trained_attack",
    "two_sample_auc",
    "warping_errors",
]
