"""How sure a figure is: intervals of shares and of medians."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import binomtest

from dp3_lightning.checks import check_at_least
from dp3_lightning.structures import FloatArray

_SEED = 20_240
Interval = tuple[float, float]


def wilson(hits: int, of: int) -> Interval | None:
    """Return Wilson's 95 % interval of a share, for independent cases; None without cases."""
    if of == 0:
        return None
    found = binomtest(hits, of).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)


def bootstrap(
    groups: Sequence[FloatArray],
    statistic: Callable[[FloatArray], float] = lambda values: float(np.median(values)),
    rounds: int = 1000,
) -> Interval | None:
    """Return the 95 % percentile interval of a statistic, drawing whole groups again.

    Args:
        groups: values that belong together (of one picture, one face), each ``(n,)``.
        statistic: of all values of the drawn groups.
        rounds: of drawing.

    Returns:
        Lower and upper end; None with fewer than two groups.
    """
    check_at_least(1, rounds=rounds)
    if len(groups) < 2:
        return None
    random = np.random.default_rng(_SEED)
    found = []
    for _ in range(rounds):
        drawn = random.integers(0, len(groups), len(groups))
        found.append(statistic(np.concatenate([groups[i] for i in drawn])))
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return float(low), float(high)


def share_text(hits: int, of: int) -> str:
    """Write a share with its interval, "1.2 % (0.7 to 2.1 %), 12 of 1000"."""
    interval = wilson(hits, of)
    if interval is None:
        return "none measured"
    low, high = (100 * end for end in interval)
    return f"{100 * hits / of:.3g} % ({low:.2g} to {high:.2g} %), {hits} of {of}"
