"""Load clips for training and evaluation."""

from dp3_lightning.data.clips import VideoClips
from dp3_lightning.data.datamodule import VideoClipDataModule
from dp3_lightning.data.synthetic import SyntheticClip, synthetic_clip

__all__ = ["SyntheticClip", "VideoClipDataModule", "VideoClips", "synthetic_clip"]
