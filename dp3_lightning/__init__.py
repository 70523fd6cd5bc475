"""dp3_lightning: fine-tune DeepPrivacy2's face anonymizer on video with PyTorch Lightning."""

from dp3_lightning import torchvision_compat

torchvision_compat.install()  # before anything that imports torchvision; see that file

__version__ = "0.1.0"

__all__ = ["__version__"]
