"""Provide LightningModules: fine-tuning, anonymizing, and the proposal's GAN."""

from dp3_lightning.modules.anonymizer import Anonymizer, MediaFiles
from dp3_lightning.modules.paper_gan import PaperGAN
from dp3_lightning.modules.video_fine_tuner import VideoFineTuner

__all__ = ["Anonymizer", "MediaFiles", "PaperGAN", "VideoFineTuner"]
