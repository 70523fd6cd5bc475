"""How steady, sharp, alive and anonymous: figures about anonymized clips, beside the original's.

Functions measure one clip or set of numbers; classes are the same figures as torchmetrics.
"""

from dp3_lightning.metrics.clip_metrics import (
    ClipMetric,
    Details,
    Flicker,
    FlowDifference,
    PerceptualDifference,
    WarpingError,
)
from dp3_lightning.metrics.detectability import FakeDetector, detection_auc, two_sample_auc
from dp3_lightning.metrics.features import (
    PictureFeatures,
    inception_features,
    mobilenet_features,
)
from dp3_lightning.metrics.motion import correlation, head_pose, mouth_opening
from dp3_lightning.metrics.paired import Interval, PairedChange, median_interval, paired_change
from dp3_lightning.metrics.privacy import (
    Identification,
    identification,
    identity_stability,
    tar_at_far,
    trained_attack,
)
from dp3_lightning.metrics.quality import (
    frechet_distance,
    high_frequency_share,
    kernel_distance,
    kernel_distance_interval,
    sharpness,
    total_variation,
)
from dp3_lightning.metrics.set_metrics import (
    FeatureDistance,
    IdentityStability,
    ReIdentification,
    VerificationRate,
)
from dp3_lightning.metrics.temporal import (
    flicker,
    flow_difference,
    perceptual_difference,
    warping_errors,
)

__all__ = [
    "ClipMetric",
    "Details",
    "FakeDetector",
    "FeatureDistance",
    "Flicker",
    "FlowDifference",
    "Identification",
    "IdentityStability",
    "Interval",
    "PairedChange",
    "PerceptualDifference",
    "PictureFeatures",
    "ReIdentification",
    "VerificationRate",
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
    "kernel_distance_interval",
    "median_interval",
    "mobilenet_features",
    "mouth_opening",
    "paired_change",
    "perceptual_difference",
    "sharpness",
    "tar_at_far",
    "total_variation",
    "trained_attack",
    "two_sample_auc",
    "warping_errors",
]
