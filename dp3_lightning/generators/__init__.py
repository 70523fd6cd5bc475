"""Provide generators: DeepPrivacy2's network, the face prior, and some without a network."""

from dp3_lightning.generators.base import GeneratorAdapter, composite, device_of
from dp3_lightning.generators.deep_privacy2 import DeepPrivacy2Generator
from dp3_lightning.generators.face_prior.adapter import FacePriorGenerator
from dp3_lightning.generators.inference import InferenceGenerator, optimize_for_inference
from dp3_lightning.generators.loading import load_generator
from dp3_lightning.generators.masking import mask_output
from dp3_lightning.generators.native import StyleGANUnetAdapter
from dp3_lightning.generators.paper import PaperGenerator
from dp3_lightning.generators.stylegan_unet import StyleGANUnet
from dp3_lightning.generators.traditional import BlurGenerator, PixelateGenerator, SolidGenerator

__all__ = [
    "BlurGenerator",
    "DeepPrivacy2Generator",
    "FacePriorGenerator",
    "GeneratorAdapter",
    "InferenceGenerator",
    "PaperGenerator",
    "PixelateGenerator",
    "SolidGenerator",
    "StyleGANUnet",
    "StyleGANUnetAdapter",
    "composite",
    "device_of",
    "load_generator",
    "mask_output",
    "optimize_for_inference",
]
