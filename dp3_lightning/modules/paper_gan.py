"""Train the GAN of the DeepPrivacy3 proposal, with the same additive terms: a baseline."""

from __future__ import annotations

from torch import Tensor

from dp3_lightning.discriminators import DiscriminatorAdapter, PaperDiscriminator
from dp3_lightning.generators import PaperGenerator
from dp3_lightning.modules.batches import Batch
from dp3_lightning.modules.video_fine_tuner import VideoFineTuner

_NEVER = 10**9


class PaperGAN(VideoFineTuner):
    """Train the proposal's small generator against its small discriminator.

    The discriminator has batch norm too, see :class:`PaperDiscriminator`.

    Trained on single frames (``clip_length: 1``) of 128 x 128 pixels in [-1, 1], batches of 32, by
    Adam, with binary cross-entropy and nothing else: no R1, no penalty on scores, no average of the
    weights. TV and pixel terms are added as callbacks, as everywhere.

    Args:
        image_size: side of the pictures in pixels.
        z_dim: width of the latent.
        base_channels: width of both networks.
        condition_size: side of the shrunk surroundings that the generator sees; 0 for none.
        dropout: of the discriminator.
        learning_rate: Adam's, of both networks. The proposal gives none; this is DCGAN's.
        betas: Adam's; DCGAN's.
        adversarial_weight: factor on the adversarial term.
        seed: of latents.

    Raises:
        ValueError: an argument out of range, named.
    """

    def __init__(
        self,
        image_size: int = 128,
        z_dim: int = 100,
        base_channels: int = 64,
        condition_size: int = 16,
        dropout: float = 0.3,
        learning_rate: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        adversarial_weight: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(
            PaperGenerator(image_size, z_dim, base_channels, condition_size),
            DiscriminatorAdapter(PaperDiscriminator(image_size, base_channels, dropout)),
            generator_lr=learning_rate,
            betas=betas,
            adversarial_weight=adversarial_weight,
            r1_weight=0.0,
            r1_interval=_NEVER,
            epsilon_weight=0.0,
            seed=seed,
        )

    def _averaging_decay(self, n_images: int) -> float:
        return 0.0  # the proposal averages no weights: the averaged ones are those of the update

    def _discriminator_terms(self, batch: Batch, z: Tensor, lazy: bool) -> dict[str, Tensor]:
        del lazy
        terms = super()._discriminator_terms(batch, z, lazy=False)
        return {"adversarial": terms["adversarial"]}
