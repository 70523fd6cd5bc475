"""Compare two ways pair by pair: the same face, the same seed; intervals over faces."""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from dp3_lightning.checks import check_at_least, check_between
from dp3_lightning.structures import FloatArray

LEAST_GROUPS = 5  # of fewer, the range of all values holds the median in less than 94 of 100 cases
_ROUNDING = 1e-12  # the mean of three times 0.99 is a little less


@dataclass(frozen=True)
class Interval:
    """A median over groups, and where it may lie.

    Attributes:
        middle: median over groups of the mean within a group; NaN without any finite value.
        low: lower end of the bootstrap interval; minus infinity with too few groups.
        high: upper end; infinity with too few groups.
        n_values: finite values.
        n_groups: groups that have some.
    """

    middle: float
    low: float
    high: float
    n_values: int
    n_groups: int

    def at_most(self, limit: float) -> bool | None:
        """Whether all of the interval is at most ``limit``; None where it cannot be told."""
        return self.high <= limit + _ROUNDING if math.isfinite(self.high) else None

    def at_least(self, limit: float) -> bool | None:
        """Whether all of the interval is at least ``limit``; None where it cannot be told."""
        return self.low >= limit - _ROUNDING if math.isfinite(self.low) else None


def median_interval(
    values: Sequence[float] | FloatArray,
    groups: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Bootstrap the median over groups (Efron's percentile interval; whole groups are drawn).

    Several seeds of one face are no new faces: they are averaged, and only faces are drawn.

    >>> found = median_interval([1.0, 2, 3, 4, 5, 6, 7])
    >>> found.middle, found.at_most(10.0)
    (4.0, True)

    Args:
        values: measured; those that are not finite are left out.
        groups: who each value is of; default: each of its own.
        confidence: share of cases in which the interval is to hold the median, in (0, 1).
        samples: draws.
        seed: of the draws.

    Raises:
        ValueError: unequal lengths.
    """
    check_between(0, 1, confidence=confidence)
    check_at_least(1, samples=samples)
    rows = np.asarray(values, np.float64)
    labels: Sequence[Hashable] = range(len(rows)) if groups is None else groups
    if len(labels) != len(rows):
        raise ValueError(f"Expected one group per value, got {len(labels)} for {len(rows)}.")
    members: dict[Hashable, list[float]] = {}
    for value, label in zip(rows.tolist(), labels, strict=True):
        if math.isfinite(value):
            members.setdefault(label, []).append(value)
    means = np.array([statistics.fmean(found) for found in members.values()])
    count = sum(map(len, members.values()))
    if not len(means):
        return Interval(math.nan, -math.inf, math.inf, 0, 0)
    middle = float(np.median(means))
    if len(means) < LEAST_GROUPS:
        return Interval(middle, -math.inf, math.inf, count, len(means))
    drawn = np.random.default_rng(seed).integers(0, len(means), (samples, len(means)))
    tail = 50 * (1 - confidence)
    low, high = np.percentile(np.median(means[drawn], axis=1), [tail, 100 - tail])
    return Interval(middle, float(low), float(high), count, len(means))


@dataclass(frozen=True)
class PairedChange:
    """How one way differs from another, pair by pair.

    Attributes:
        change: of ours against theirs, see :func:`paired_change`.
        lower: pairs in which ours is lower.
        higher: pairs in which ours is higher.
        sign_probability: of so uneven a count of faces if neither way were lower (two-sided sign
            test over faces; ties left out).
        pairs: ``(group, ours, theirs)`` of every pair that counts.
    """

    change: Interval
    lower: int
    higher: int
    sign_probability: float
    pairs: tuple[tuple[Hashable, float, float], ...]


def paired_change(
    ours: Sequence[float],
    theirs: Sequence[float],
    faces: Sequence[Hashable],
    relative: bool = True,
    seed: int = 0,
) -> PairedChange:
    """Compare the values of two ways on the same faces and seeds.

    >>> theirs = [1.0, 10.0, 100.0, 3.0, 7.0]
    >>> found = paired_change([v / 2 for v in theirs], theirs, list("abcde"))
    >>> found.change.middle, found.lower
    (-0.5, 5)

    Args:
        ours: values of one way.
        theirs: of the other; entry ``i`` is of the same face and seed.
        faces: whose face entry ``i`` is; several seeds of one face share a name.
        relative: the change is ``(ours - theirs) / |theirs|``: the ratio less 1 where values are
            positive, and a share of the size where they are not. Else it is ``ours - theirs``.
        seed: of the bootstrap.

    Returns:
        Without the pairs in which a value is not finite, or a relative change would be one of 0.

    Raises:
        ValueError: unequal lengths.
    """
    if not len(ours) == len(theirs) == len(faces):
        raise ValueError(
            f"Expected pairs, got {len(ours)}, {len(theirs)} and {len(faces)} entries."
        )
    kept = [
        (face, float(a), float(b))
        for face, a, b in zip(faces, ours, theirs, strict=True)
        if math.isfinite(a) and math.isfinite(b) and not (relative and b == 0)
    ]
    changes = [(a - b) / abs(b) if relative else a - b for _, a, b in kept]
    names = [face for face, _, _ in kept]
    by_face: dict[Hashable, float] = {}
    for face, change in zip(names, changes, strict=True):
        by_face[face] = by_face.get(face, 0.0) + change
    return PairedChange(
        median_interval(changes, names, seed=seed),
        sum(a < b for _, a, b in kept),
        sum(a > b for _, a, b in kept),
        _sign_test([value for value in by_face.values() if value]),
        tuple(kept),
    )


def _sign_test(changes: Sequence[float]) -> float:
    n, fewer = len(changes), min(sum(c < 0 for c in changes), sum(c > 0 for c in changes))
    tail = sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n
    return float(min(1.0, 2 * tail))
