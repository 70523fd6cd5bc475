"""Prepare a batch of clips before any network sees it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import Tensor

from dp3_lightning.structures import EXTRA_INPUTS

Batch = dict[str, Any]


def frame_conditions(batch: Batch) -> dict[str, Tensor]:
    """Return the further generator inputs that the batch has, ``(B, T, ...)`` each."""
    return {name: batch[name] for name in EXTRA_INPUTS if name in batch}


def sample_keys(batch: Batch, rank: int) -> list[int]:
    """Return one number per clip that keys its randomness: ``sample_index``, else its place."""
    if "sample_index" in batch:
        keys: list[int] = batch["sample_index"].tolist()
        return keys
    n_clips = len(batch["clip"])
    return [rank * n_clips + i for i in range(n_clips)]


def track_keys(batch: Batch, rank: int) -> list[int]:
    """Return one number per clip that keys its pseudonym: ``track_key``, else as in training."""
    if "track_key" in batch:
        keys: list[int] = batch["track_key"].tolist()
        return keys
    return sample_keys(batch, rank)


def split_batch(batch: Batch, n_parts: int) -> list[tuple[Batch, float]]:
    """Split a batch along its clips.

    Args:
        batch: tensors and lists with one entry per clip.
        n_parts: number of parts; fewer when there are fewer clips.

    Returns:
        Parts with their share of the clips; the shares sum to 1.
    """
    n_clips = len(batch["clip"])
    n_parts = min(n_parts, n_clips)
    if n_parts == 1:
        return [(batch, 1.0)]
    bounds = [round(i * n_clips / n_parts) for i in range(n_parts + 1)]
    return [
        ({key: value[low:high] for key, value in batch.items()}, (high - low) / n_clips)
        for low, high in pairwise(bounds)
    ]
