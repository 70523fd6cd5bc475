"""Fit the linear-Gaussian model of latents to measured drawn faces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from dp3_lightning.data.face_shards import read_measures
from dp3_lightning.faces.expression import (
    SIGNALS,
    expression_signals,
    frontalise,
    mean_mesh,
    pose_angles,
)
from dp3_lightning.generators.face_prior.latent_model import (
    EXPRESSION,
    LOOK,
    MOTION,
    N_IDENTITY,
    LatentModel,
    fit_masculine,
    fit_response,
    fit_young,
    shrunk_covariance,
    with_direction,
)
from dp3_lightning.generators.face_prior.latent_space import LatentSpace
from dp3_lightning.structures import FloatArray

_MESHES_FOR_MEAN = 2000
_CLOSED, _UNSMILING, _SMILE_SPREAD = 0.02, 0.005, 0.012  # of a face at rest


def fit_latent_model(
    shards: Sequence[Path], space: LatentSpace, residuals: FloatArray | None = None
) -> tuple[LatentModel, dict[str, float]]:
    """Fit the linear-Gaussian model to shards.

    Args:
        shards: measured faces.
        space: of the latents.
        residuals: ``(N, 512)`` latents minus the encoder's guesses on faces it was not trained on;
            None: people as they come, ignoring context.

    Returns:
        The model, and for every attribute the share of its variance that latents explain on faces
        that were not fitted; ``identity`` is the mean over its components by their variance.
    """
    parts = [read_measures(shard) for shard in shards]
    valid = torch.cat([part["valid"] for part in parts]).bool().numpy()

    def column(name: str) -> FloatArray:
        values: FloatArray = torch.cat([part[name] for part in parts]).numpy()[valid]
        return values

    meshes = column("mesh").astype(np.float64)
    reference = mean_mesh(meshes[:_MESHES_FOR_MEAN])
    faces = frontalise(meshes, reference)
    signals = expression_signals(faces.points)
    expression = signals[:, [SIGNALS.index(name) for name in EXPRESSION]]
    angles = pose_angles(faces.rotation)[:, :2]
    embeddings = column("embedding").astype(np.float64)
    others = np.concatenate([angles, expression, column("appearance")], axis=1)
    # Without what tone, glasses, pose and expression explain of it, or a drawn identity would ask
    # for another tone and for glasses than the context does.
    design = np.column_stack([others, np.ones(len(others))])
    rest_of_it = embeddings - design @ np.linalg.lstsq(design, embeddings, rcond=None)[0]
    identity_mean = embeddings.mean(0)
    axes = np.linalg.svd(rest_of_it, full_matrices=False)[2][:N_IDENTITY]
    identity = rest_of_it @ axes.T
    natural = np.concatenate([others, identity], axis=1)
    mean, deviation = natural.mean(0), natural.std(0)
    latents = space.whiten(torch.from_numpy(column("styles"))).double().numpy()
    response, noise, explained = fit_response(
        latents, space.scale.double().numpy(), (natural - mean) / deviation
    )
    first = len(MOTION)
    look = (natural[:, first : first + len(LOOK)] - mean[first : first + len(LOOK)]) / deviation[
        first : first + len(LOOK)
    ]
    attributes = (response, noise, mean, deviation)
    for direction in (fit_masculine(latents, look), fit_young(latents, faces.points)):
        attributes = with_direction(*attributes, direction)
    response, noise, mean, deviation = attributes
    spread = np.eye(latents.shape[1]) if residuals is None else shrunk_covariance(residuals)
    rest = _at_rest(signals)
    model = LatentModel(
        response, noise, mean, deviation, spread, identity_mean, axes, reference, rest
    )
    quality = dict(zip(MOTION + LOOK, explained.round(3).tolist(), strict=False))
    first = len(MOTION) + len(LOOK)
    quality["identity"] = float(np.average(explained[first:], weights=identity.var(0)).round(3))
    return model, quality


def _at_rest(signals: FloatArray) -> FloatArray:
    """Return the mean signals of faces with a closed mouth that do not smile."""
    opened, lift = signals[:, 0], signals[:, 2]
    weights = np.exp(-((opened / _CLOSED) ** 2) - ((lift - _UNSMILING) / _SMILE_SPREAD) ** 2)
    rest: FloatArray = (weights @ signals) / weights.sum()
    return rest
