"""Provide discriminators of clips."""

from dp3_lightning.discriminators.base import DiscriminatorAdapter
from dp3_lightning.discriminators.paper import PaperDiscriminator
from dp3_lightning.discriminators.stylegan2 import StyleGAN2Discriminator, minibatch_stddev

__all__ = [
    "DiscriminatorAdapter",
    "PaperDiscriminator",
    "StyleGAN2Discriminator",
    "minibatch_stddev",
]
