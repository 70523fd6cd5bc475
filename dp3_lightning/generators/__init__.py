"""Generators: DeepPrivacy2's network, the adapter contract, and generators without a network."""

from dp3_lightning.generators.base import GeneratorAdapter, composite
from dp3_lightning.generators.masking import mask_output
from dp3_lightning.generators.native import StyleGANUnetAdapter
from dp3_lightning.generators.stylegan_unet import StyleGANUnet
from dp3_lightning.generators.traditional import BlurGenerator, PixelateGenerator, SolidGenerator

__all__ = [
    "BlurGenerator",
    "GeneratorAdapter",
    "PixelateGenerator",
    "SolidGenerator",
    "StyleGANUnet",
    "StyleGANUnetAdapter",
    "composite",
    "mask_output",
]
