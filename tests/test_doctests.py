"""The examples in docstrings of maths are true."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

PACKAGE = Path(__file__).parents[1] / "dp3_lightning"
ROOMS = ("losses", "metrics", "faces", "optical_flow")
MODULES = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for room in ROOMS
    for path in sorted((PACKAGE / room).glob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    """NumPy and torch are taken as imported, as in their own documentation."""
    module = importlib.import_module(name)
    known = {"np": np, "torch": torch}
    failed, tried = doctest.testmod(module, extraglobs=known, report=True)
    assert tried > 0
    assert failed == 0


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_has_examples(room: str) -> None:
    assert sum(name.split(".")[1] == room for name in MODULES) >= 1


def test_a_wrong_example_fails() -> None:
    def wrong() -> None:
        """>>> 1 + 1
        3
        """

    (example,) = doctest.DocTestFinder().find(wrong, "wrong")
    result = doctest.DocTestRunner().run(example, out=lambda _: None)
    assert (result.failed, result.attempted) == (1, 1)
