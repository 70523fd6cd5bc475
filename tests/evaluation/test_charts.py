from __future__ import annotations

import math
import re

import pytest

from dp3_lightning.reports.charts import Series, scatter


@pytest.mark.parametrize(
    "values", [(0.0, 0.0), (12.65, 12.83), (1.229, 1.2301), (0.0, 3e6), (5.0, 5.0), (-2.0, 0.9)]
)
def test_the_marks_of_an_axis_can_be_told_apart_and_hold_the_points(
    values: tuple[float, float],
) -> None:
    points = [(float(i), value, "") for i, value in enumerate(values)]
    plot = scatter([Series("a", points)], "x", "y", ["first", "second"])
    marks = re.findall(r'text-anchor="end">([^<]*)</text>', plot)
    assert len(marks) >= 2
    assert len(set(marks)) == len(marks)
    assert float(marks[-1]) - float(marks[0]) < 10 * max(max(values) - min(values), 0.1)
    heights = [float(h) for h in re.findall(r'cy="([^"]*)"', plot)]
    assert all(26 <= height <= 186 for height in heights)


def test_a_mark_across_is_shown_though_no_point_reaches_it() -> None:
    plot = scatter(
        [Series("a", [(0.0, 1.0, ""), (0.01, 2.0, "")])], "x", "y", x_mark=(0.05, "here")
    )
    (at,) = re.findall(r'x1="([^"]*)" x2="[^"]*" y1="26"', plot)
    assert 300 < float(at) < 460
    assert ">here</text>" in plot


def test_what_is_not_finite_is_left_out() -> None:
    points = [(0.0, math.nan, ""), (1.0, 2.0, "")]
    assert scatter([Series("a", points)], "x", "y").count("<circle") == 1
    assert "Nothing to plot" in scatter([Series("a", points[:1])], "x", "y")
