from __future__ import annotations

import math

import pytest

from dp3_lightning.metrics import average_precision
from dp3_lightning.metrics.detection import overlap
from dp3_lightning.structures import Detection

HERE, THERE = (0.0, 0.0, 10.0, 10.0), (50.0, 0.0, 60.0, 10.0)


def at(box: tuple[float, float, float, float], score: float = 0.9) -> Detection:
    return Detection(box, score)


def test_overlap_by_hand() -> None:
    assert overlap(HERE, HERE) == 1
    assert overlap(HERE, THERE) == 0
    assert overlap(HERE, (5.0, 0.0, 15.0, 10.0)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 0, 0), (0, 0, 0, 0)) == 0


def test_all_none_and_half_of_the_faces() -> None:
    truth = [[at(HERE)], [at(THERE)]]
    assert average_precision(truth, truth) == 1
    assert average_precision(truth, [[], []]) == 0
    assert average_precision(truth, [[at(HERE)], []]) == 0.5
    assert math.isnan(average_precision([[]], [[at(HERE)]]))
    with pytest.raises(ValueError, match="equally many frames"):
        average_precision(truth, [[]])


def test_the_textbook_case_by_hand() -> None:
    """Hit, miss, hit over three true faces: (1 + 2/3) / 3, precision made falling."""
    truth = [[at(HERE)], [at(HERE)], [at(HERE)]]
    found = [[at(HERE, 0.9), at(THERE, 0.8)], [at(HERE, 0.7)], []]
    assert average_precision(truth, found) == pytest.approx((1 + 2 / 3) / 3)
    # The same with the miss last costs nothing of what was found before it.
    found[0][1] = at(THERE, 0.1)
    assert average_precision(truth, found) == pytest.approx(2 / 3)


def test_a_face_is_found_once_and_where_it_is() -> None:
    truth = [[at(HERE)]]
    twice = [[at(HERE, 0.5), at(HERE, 0.9)]]
    assert average_precision(truth, twice) == 1
    shifted = [[at((6.0, 0.0, 16.0, 10.0))]]
    assert average_precision(truth, shifted) == 0
    assert average_precision(truth, shifted, least_overlap=0.2) == 1
