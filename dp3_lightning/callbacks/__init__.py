"""Provide additive losses, previews and the report of a run as callbacks."""

from dp3_lightning.callbacks.base import LossCallback, check_finite, collect_losses
from dp3_lightning.callbacks.clip_preview import ClipPreview
from dp3_lightning.callbacks.crop_consistency import CropConsistencyLoss
from dp3_lightning.callbacks.final_checkpoint import FinalCheckpoint
from dp3_lightning.callbacks.fit_report import FitReport
from dp3_lightning.callbacks.flow_consistency import FlowConsistencyLoss
from dp3_lightning.callbacks.identity import IdentityLoss
from dp3_lightning.callbacks.interruption import InterruptCheckpoint
from dp3_lightning.callbacks.latent_anchor import LatentAnchorLoss
from dp3_lightning.callbacks.latent_diversity import LatentDiversityLoss
from dp3_lightning.callbacks.perceptual import PerceptualLoss
from dp3_lightning.callbacks.pixel import PixelLoss
from dp3_lightning.callbacks.progress import UpdateProgressBar
from dp3_lightning.callbacks.total_variation import TemporalVariationLoss, TotalVariationLoss

__all__ = [
    "ClipPreview",
    "CropConsistencyLoss",
    "FinalCheckpoint",
    "FitReport",
    "FlowConsistencyLoss",
    "IdentityLoss",
    "InterruptCheckpoint",
    "LatentAnchorLoss",
    "LatentDiversityLoss",
    "LossCallback",
    "PerceptualLoss",
    "PixelLoss",
    "TemporalVariationLoss",
    "TotalVariationLoss",
    "UpdateProgressBar",
    "check_finite",
    "collect_losses",
]
