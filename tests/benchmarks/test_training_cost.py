"""The cost of a term is judged round by round."""

from __future__ import annotations

import numpy as np

from benchmarks.terms import BASE, FLOW
from benchmarks.training_cost import TARGET, cost_verdict
from benchmarks.turns import Step


def steps(cost: float, jitter: float, rounds: int = 10) -> list[Step]:
    """Rounds of very different speed, in each of which the term costs about as much."""
    rng = np.random.default_rng(0)
    found = []
    for turn in range(rounds + 1):
        speed = 1.0 + turn
        for name, share in ((BASE, 1.0), (FLOW, cost + jitter * rng.normal())):
            found += [Step(name, turn, place, speed * share, 0.0, False, None) for place in (0, 1)]
    return found


def test_a_target_is_met_when_the_whole_interval_is_below_it() -> None:
    assert cost_verdict(steps(TARGET - 0.02, 0.0), 0)["met"] is True
    assert cost_verdict(steps(TARGET + 0.02, 0.0), 0)["met"] is False
    assert cost_verdict(steps(TARGET - 0.02, 0.2), 0)["met"] is False  # its median may be lower
    assert cost_verdict(steps(1.0, 0.0, rounds=3), 0)["met"] is None


def test_the_first_round_and_the_first_steps_do_not_count() -> None:
    made = steps(1.1, 0.0)
    slow = [Step(FLOW, 0, 1, 99.0, 0.0, False, None), Step(FLOW, 3, 0, 999.0, 0.0, False, None)]
    assert cost_verdict(made + slow, 1)["measured"] == "1.1 (1.1 to 1.1), 10 rounds"
