"""Times of one drawn face."""

from __future__ import annotations

import pytest

from benchmarks.speed.drawn_face import drawn_face_times, targets


def test_targets_can_be_met_and_missed() -> None:
    assert [row["met"] for row in targets({"fast form": 60.0, "plain PyTorch": 200.1})] == [
        True,
        False,
    ]


@pytest.mark.assets
def test_both_forms_draw() -> None:
    rows, aims = drawn_face_times(repeats=1)
    assert [row["ms per face"]["n"] for row in rows] == [1] * 4
    assert all(row["ms per face"]["median"] > 0 for row in rows)
    assert len(aims) == 2
