"""Compute losses as plain functions of tensors, without any trainer."""

from dp3_lightning.losses.adversarial import (
    discriminator_adversarial_loss,
    epsilon_penalty,
    generator_adversarial_loss,
    r1_gradient_penalty,
)
from dp3_lightning.losses.flow_consistency import flow_consistency, warping_error
from dp3_lightning.losses.identity import identity_hinge
from dp3_lightning.losses.latent_diversity import latent_diversity
from dp3_lightning.losses.perceptual import perceptual_loss
from dp3_lightning.losses.pixel import pixel_loss, ring_error
from dp3_lightning.losses.total_variation import temporal_variation, total_variation

__all__ = [
    "discriminator_adversarial_loss",
    "epsilon_penalty",
    "flow_consistency",
    "generator_adversarial_loss",
    "identity_hinge",
    "latent_diversity",
    "perceptual_loss",
    "pixel_loss",
    "r1_gradient_penalty",
    "ring_error",
    "temporal_variation",
    "total_variation",
    "warping_error",
]
