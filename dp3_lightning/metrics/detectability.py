"""Can generated faces be told from real ones? Realism as a detector sees it.

This figure describes how real the output looks. To evade detectors is no aim of this package: its
outputs are declared synthetic by the manifest beside them.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import scipy.stats
import torch
from torch import Tensor, nn

from dp3_lightning.structures import FloatArray


class FakeDetector(Protocol):
    """A detector of generated faces, a user's own model.

    Attributes:
        name: for reports.
    """

    name: str

    def __call__(self, pictures: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` in [-1, 1]: ``(N,)`` in [0, 1], larger for generated."""
        ...


def detection_auc(real: FloatArray, generated: FloatArray) -> float:
    """Area under the ROC curve: how often a generated picture scores above a real one.

    >>> detection_auc(np.array([0.1, 0.2]), np.array([0.8, 0.9]))
    1.0

    Args:
        real: scores of real pictures, larger for "generated".
        generated: scores of generated pictures.

    Returns:
        0.5 where they cannot be told apart, 1 where always; ties count half.

    Raises:
        ValueError: no scores, or scores that are not finite.
    """
    for name, scores in (("real", real), ("generated", generated)):
        if not len(scores) or not np.isfinite(scores).all():
            raise ValueError(f"Expected finite scores of at least one {name} picture.")
    statistic = scipy.stats.mannwhitneyu(generated, real).statistic
    return float(statistic) / (len(real) * len(generated))


def two_sample_auc(
    train_real: FloatArray,
    train_generated: FloatArray,
    test_real: FloatArray,
    test_generated: FloatArray,
    steps: int = 300,
    seed: int = 0,
) -> float:
    """AUC of a detector that is trained here, on features of pictures of other people.

    A classifier two-sample test (Lopez-Paz and Oquab, 2017): logistic regression with weight decay
    on standardised features. It needs no download and knows exactly this generator, so that it is
    a harder judge than a general detector.

    Args:
        train_real: ``(N, D)`` features of real pictures.
        train_generated: ``(M, D)`` features of generated ones.
        test_real: features of real pictures of people and videos that are not in the training.
        test_generated: the same of generated ones.
        steps: full-batch updates.
        seed: of the initial weights.

    Returns:
        AUC on the test pictures.

    Raises:
        ValueError: fewer than two rows to train on, or features that are not finite.
    """
    parts = (train_real, train_generated, test_real, test_generated)
    if min(len(train_real), len(train_generated)) < 2 or not all(
        np.isfinite(part).all() for part in parts
    ):
        raise ValueError("Expected at least two rows of finite features of each kind.")
    rows = np.concatenate([train_real, train_generated])
    mean, spread = rows.mean(0), rows.std(0) + 1e-6
    x, *tests = (
        torch.from_numpy((part - mean) / spread).float()
        for part in (rows, test_real, test_generated)
    )
    y = torch.cat([torch.zeros(len(train_real)), torch.ones(len(train_generated))])
    weight = torch.where(y > 0, len(y) / (2 * y.sum()), len(y) / (2 * (1 - y).sum()))
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(seed)
        head = nn.Linear(x.shape[1], 1)
        optimizer = torch.optim.AdamW(head.parameters(), lr=0.02, weight_decay=0.1)
        for _ in range(steps):
            optimizer.zero_grad()
            logits = head(x)[:, 0]
            loss = nn.functional.binary_cross_entropy_with_logits(logits, y, weight)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        scores = [head(part)[:, 0].detach().double().numpy() for part in tests]
    return detection_auc(scores[0], scores[1])
