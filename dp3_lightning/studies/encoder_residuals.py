"""Measure the context encoder's errors on people whom it was not trained on."""

from __future__ import annotations

from pathlib import Path

import torch

from dp3_lightning.data.context_samples import ContextDataModule
from dp3_lightning.generators.face_prior.context_encoder import ContextEncoder
from dp3_lightning.generators.face_prior.latent_space import LatentSpace
from dp3_lightning.structures import FloatArray

_VIEWS = 4  # of every face: other damage, other holes


def encoder_of(checkpoint: Path) -> ContextEncoder:
    """Read the averaged encoder out of a checkpoint of its training.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it holds no such encoder.
    """
    if not checkpoint.is_file():
        raise FileNotFoundError(f"No checkpoint at {str(checkpoint)!r}.")
    state = torch.load(checkpoint, map_location="cpu", weights_only=True).get("state_dict", {})
    own = {k.removeprefix("averaged."): v for k, v in state.items() if k.startswith("averaged.")}
    if not own:
        raise ValueError(f"{str(checkpoint)!r} is not a checkpoint of `ContextEncoderTraining`.")
    encoder = ContextEncoder()
    encoder.load_state_dict(own)
    return encoder.eval()


@torch.no_grad()
def residuals_of(
    encoder: ContextEncoder, faces: Path, space: LatentSpace
) -> tuple[FloatArray, float]:
    """Return latents minus guesses on the validation shards, and the share explained.

    Args:
        encoder: trained.
        faces: folder of measured faces.
        space: of the latents.

    Returns:
        ``(N, 512)`` and the share of the variance of styles.
    """
    data = ContextDataModule(str(faces))
    data.setup("validate")
    errors, targets = [], []
    for view in range(_VIEWS):
        if data.validation is not None:
            data.validation.epoch = view
        for batch in data.val_dataloader():
            target = space.whiten(batch["style"])
            errors.append(target - encoder(batch["aligned"], batch["known"]))
            targets.append(target)
    missed, known = torch.cat(errors), torch.cat(targets)
    variance = space.scale.square()
    explained = 1 - float((missed.square() * variance).sum() / (known.square() * variance).sum())
    residuals: FloatArray = missed.double().numpy()
    return residuals, explained
