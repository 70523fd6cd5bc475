"""Is the person still known? Verification, re-identification, and what training attackers brings.

Everything here takes embeddings or distances and knows no recogniser. Use one that had no part in
training the generator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.spatial.distance
import scipy.stats
import torch
from torch import nn

from dp3_lightning.checks import check_at_least, check_between
from dp3_lightning.structures import FloatArray

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Verification:
    """How often an attacker accepts anonymized faces as the real people.

    Attributes:
        far: rate at which the threshold accepts two different people.
        threshold: distance below which a pair is accepted.
        tar: share of genuine pairs (anonymized, original) accepted. Low is private.
        interval: 95 % confidence interval of ``tar`` (Clopper and Pearson), with as many trials
            as there are people among the genuine pairs: frames of one person are no new trials.
        n_genuine: genuine pairs of pictures.
        n_people: people among them.
        n_impostor: impostor pairs of pictures.
        n_people_pairs: pairs of distinct people that those show, which decide how fine a rate
            can be told: more pictures of the same people say little new.
        note: why ``far`` is not the one asked for; else empty.
    """

    far: float
    threshold: float
    tar: float
    interval: tuple[float, float]
    n_genuine: int
    n_people: int
    n_impostor: int
    n_people_pairs: int
    note: str = ""


def binomial_interval(hits: float, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a rate (Clopper and Pearson 1934); hits may be a mean, with a fraction.

    >>> low, high = binomial_interval(0, 10)
    >>> low, round(high, 3)
    (0.0, 0.308)
    """
    alpha = 1 - confidence
    low = scipy.stats.beta.ppf(alpha / 2, hits, trials - hits + 1) if hits else 0.0
    high = scipy.stats.beta.ppf(1 - alpha / 2, hits + 1, trials - hits) if hits < trials else 1.0
    return float(low), float(high)


def tar_at_far(
    genuine: Sequence[float] | FloatArray,
    impostor: Sequence[float] | FloatArray,
    far: float = 1e-3,
    min_pairs: float = 2.0,
    people_pairs: int | None = None,
    people: int | None = None,
) -> Verification:
    """True accept rate at a false accept rate.

    The threshold is the largest distance at which at most ``far`` of the impostor pairs are
    accepted. With fewer than ``min_pairs / far`` pairs of distinct people (2,000 for 1e-3) that
    rate cannot be told; the finest one that they support is used instead, and the note says so.

    >>> found = tar_at_far([0.1, 0.9], np.linspace(0.5, 1.5, 100), far=0.05)
    >>> found.tar, found.far
    (0.5, 0.05)

    Args:
        genuine: distances between anonymized and original faces of one person.
        impostor: distances between faces of different people.
        far: wanted false accept rate, in (0, 1].
        min_pairs: impostor pairs that must be expected below the threshold.
        people_pairs: pairs of distinct people that the impostor distances are of; default: each
            distance is of a pair of its own.
        people: people among the genuine pairs; default: each pair is of a person of its own.

    Raises:
        ValueError: no genuine or too few impostor pairs, or distances that are not finite.
    """
    check_between(0, 1, far=far)
    real, other = np.asarray(genuine, np.float64), np.sort(np.asarray(impostor, np.float64))
    for name, values in (("genuine", real), ("impostor", other)):
        if not np.isfinite(values).all():
            raise ValueError(f"Expected finite `{name}` distances, got some that are not.")
    known = len(other) if people_pairs is None else min(people_pairs, len(other))
    if len(real) < 1 or known < min_pairs:
        raise ValueError(
            f"Expected at least 1 genuine and {math.ceil(min_pairs)} impostor pairs, got "
            f"{len(real)} and {known}: more people are needed for a rate of false accepts."
        )
    used, note = far, ""
    if known * far < min_pairs:
        used = min_pairs / known
        note = f"{known} pairs of distinct people support no finer rate than {used:.2g}"
    accepted = math.floor(len(other) * used + 1e-9)
    threshold = float(other[accepted]) if accepted < len(other) else math.inf
    rate = float((real < threshold).mean())
    trials = len(real) if people is None else min(people, len(real))
    return Verification(
        used, threshold, rate, binomial_interval(rate * trials, trials), len(real), trials,
        len(other), known, note,
    )  # fmt: skip


@dataclass(frozen=True)
class Identification:
    """How often the right person is among the nearest of a gallery.

    Attributes:
        rates: k to share of queries whose person is among the k nearest people.
        chance: k to the mean share over permuted labels: what guessing gives on this very set.
        chance_high: k to the 95th percentile over permutations.
        n_queries: queries.
        n_people: people in the gallery.
    """

    rates: dict[int, float]
    chance: dict[int, float]
    chance_high: dict[int, float]
    n_queries: int
    n_people: int


def identification(
    queries: FloatArray,
    query_people: Sequence[int],
    gallery: FloatArray,
    gallery_people: Sequence[int],
    ks: Sequence[int] = (1, 5),
    permutations: int = 200,
    seed: int = 0,
) -> Identification:
    """Rank-k re-identification against chance.

    A person's distance to a query is that of the nearest of their gallery pictures.

    >>> people = np.eye(3)
    >>> identification(people, [0, 1, 2], people, [0, 1, 2], ks=(1,)).rates
    {1: 1.0}

    Args:
        queries: ``(N, D)`` embeddings of anonymized faces, or their means over tracks (the honest
            attacker on video averages).
        query_people: N labels.
        gallery: ``(M, D)`` embeddings of originals.
        gallery_people: M labels; every query's person must be among them.
        ks: ranks.
        permutations: of the people's labels, for chance.
        seed: of the permutations.

    Raises:
        ValueError: fewer than two people, unequal lengths, a query without its person in the
            gallery, or embeddings that are not finite.
    """
    people = np.unique(np.asarray(gallery_people))
    wanted = np.asarray(query_people)
    if len(people) < 2:
        raise ValueError(f"Expected at least two people in the gallery, got {len(people)}.")
    if len(queries) != len(wanted) or len(gallery) != len(gallery_people) or not len(queries):
        raise ValueError("Expected one label per embedding, and at least one query.")
    if not np.isin(wanted, people).all():
        raise ValueError("Expected every query's person in the gallery.")
    if not (np.isfinite(queries).all() and np.isfinite(gallery).all()):
        raise ValueError("Expected finite embeddings.")
    check_at_least(1, permutations=permutations)
    gaps = scipy.spatial.distance.cdist(queries, gallery)
    labels = np.asarray(gallery_people)
    nearest = np.stack([gaps[:, labels == p].min(axis=1) for p in people], axis=1)
    order = people[np.argsort(nearest, axis=1, kind="stable")]

    def rates(truth: np.ndarray) -> dict[int, float]:
        place = (order == truth[:, None]).argmax(axis=1)
        return {k: float((place < k).mean()) for k in ks}

    rng = np.random.default_rng(seed)
    guesses = []
    for _ in range(permutations):
        renamed = dict(zip(people, rng.permutation(people), strict=True))
        guesses.append(rates(np.array([renamed[p] for p in wanted])))
    return Identification(
        rates=rates(wanted),
        chance={k: float(np.mean([g[k] for g in guesses])) for k in ks},
        chance_high={k: float(np.percentile([g[k] for g in guesses], 95)) for k in ks},
        n_queries=len(queries),
        n_people=len(people),
    )


def trained_attack(
    train: FloatArray,
    train_people: Sequence[int],
    test: FloatArray,
    test_people: Sequence[int],
    steps: int = 300,
    seed: int = 0,
) -> tuple[float, float]:
    """Accuracy of an attacker who learned on anonymized faces ("parrot"), and of guessing.

    A linear classifier on standardised embeddings, trained with Adam and weight decay. It finds
    what a fixed recogniser overlooks: traces of the person that survive anonymization alike in
    every clip.

    Args:
        train: ``(N, D)`` embeddings of anonymized faces, of clips that are not in ``test``.
        train_people: N labels.
        test: ``(M, D)``.
        test_people: M labels, all of them in ``train_people``.
        steps: full-batch updates.
        seed: of the initial weights.

    Returns:
        Accuracy, and the share of the most frequent person in ``test``.

    Raises:
        ValueError: fewer than two people, people in ``test`` who were not trained on, or
            embeddings that are not finite (they would make the attacker fail, and look private).
    """
    people = np.unique(np.asarray(train_people))
    if not (np.isfinite(train).all() and np.isfinite(test).all()):
        raise ValueError("Expected finite embeddings.")
    if len(people) < 2:
        raise ValueError(f"Expected at least two people to tell apart, got {len(people)}.")
    if not np.isin(np.asarray(test_people), people).all():
        raise ValueError("Expected everybody in `test` to be in `train` too.")
    mean, spread = train.mean(0), train.std(0) + 1e-6
    x, y = (torch.from_numpy((part - mean) / spread).float() for part in (train, test))
    targets = torch.from_numpy(np.searchsorted(people, np.asarray(train_people)))
    truth = np.searchsorted(people, np.asarray(test_people))
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(seed)
        head = nn.Linear(x.shape[1], len(people))
        optimizer = torch.optim.AdamW(head.parameters(), lr=0.02, weight_decay=0.1)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(head(x), targets)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        guessed = head(y).argmax(1).numpy()
    most = np.bincount(truth).max() / len(truth)
    return float((guessed == truth).mean()), float(most)
