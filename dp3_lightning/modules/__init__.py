"""Provide LightningModules: fine-tuning, anonymizing, and the proposal's GAN."""

from typing import TYPE_CHECKING

from dp3_lightning.modules.paper_gan import PaperGAN
from dp3_lightning.modules.video_fine_tuner import VideoFineTuner

if TYPE_CHECKING:
    from dp3_lightning.anonymize.lightning import Anonymizer, MediaFiles

__all__ = ["Anonymizer", "MediaFiles", "PaperGAN", "VideoFineTuner"]


def __getattr__(name: str) -> object:
    """Load the classes that live in ``anonymize`` when they are asked for: training needs none."""
    if name not in ("Anonymizer", "MediaFiles"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dp3_lightning.anonymize import lightning

    return getattr(lightning, name)
