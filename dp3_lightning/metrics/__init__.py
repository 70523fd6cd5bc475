"""How steady, sharp, alive and anonymous: figures about anonymized clips, beside the original's.

Functions measure one clip or set of numbers; classes are the same figures as torchmetrics.
"""

from dp3_lightning.metrics.appearance import (
    by_group,
    color_difference,
    seam_visibility,
    size_group,
    skin_color,
    tone_group,
    touched_region,
)
from dp3_lightning.metrics.clip_metrics import (
    ClipMetric,
    Details,
    Flicker,
    FlowDifference,
    PerceptualDifference,
    WarpingError,
)
from dp3_lightning.metrics.detectability import FakeDetector, detection_auc, two_sample_auc
from dp3_lightning.metrics.detection import average_precision
from dp3_lightning.metrics.features import (
    PictureFeatures,
    inception_features,
    mobilenet_features,
)
from dp3_lightning.metrics.identity import identity_flicker, identity_stability
from dp3_lightning.metrics.landmarks import (
    MOTION_SIGNALS,
    column_correlations,
    frontal_correlation,
    landmark_correlation,
    motion_signals,
)
from dp3_lightning.metrics.motion import correlation, head_pose, mouth_opening
from dp3_lightning.metrics.paired import Interval, PairedChange, median_interval, paired_change
from dp3_lightning.metrics.privacy import (
    Identification,
    identification,
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
    "MOTION_SIGNALS",
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
    "average_precision",
    "by_group",
    "color_difference",
    "column_correlations",
    "correlation",
    "detection_auc",
    "flicker",
    "flow_difference",
    "frechet_distance",
    "frontal_correlation",
    "head_pose",
    "high_frequency_share",
    "identification",
    "identity_flicker",
    "identity_stability",
    "inception_features",
    "kernel_distance",
    "kernel_distance_interval",
    "landmark_correlation",
    "median_interval",
    "mobilenet_features",
    "motion_signals",
    "mouth_opening",
    "paired_change",
    "perceptual_difference",
    "seam_visibility",
    "sharpness",
    "size_group",
    "skin_color",
    "tar_at_far",
    "tone_group",
    "total_variation",
    "touched_region",
    "trained_attack",
    "two_sample_auc",
    "warping_errors",
]
