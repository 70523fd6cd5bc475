"""Check arguments, with errors that name the argument, its bounds and its value."""

from __future__ import annotations

from collections.abc import Collection


def check_at_least(minimum: float, **arguments: float) -> None:
    """Raise unless every argument is at least ``minimum``.

    Raises:
        ValueError: naming the first one below it.
    """
    for name, value in arguments.items():
        if not value >= minimum:
            raise ValueError(f"Expected `{name}` >= {minimum}, got {value}.")


def check_above(bound: float, **arguments: float) -> None:
    """Raise unless every argument is greater than ``bound``.

    Raises:
        ValueError: naming the first one that is not.
    """
    for name, value in arguments.items():
        if not value > bound:
            raise ValueError(f"Expected `{name}` > {bound}, got {value}.")


def check_between(low: float, high: float, **arguments: float) -> None:
    """Raise unless every argument lies in ``[low, high]``.

    Raises:
        ValueError: naming the first one outside.
    """
    for name, value in arguments.items():
        if not low <= value <= high:
            raise ValueError(f"Expected `{name}` in [{low}, {high}], got {value}.")


def check_choice(allowed: Collection[str], **arguments: str) -> None:
    """Raise unless every argument is one of the ``allowed`` words.

    Raises:
        ValueError: naming the first one that is not.
    """
    for name, value in arguments.items():
        if value not in allowed:
            raise ValueError(f"Expected `{name}` to be one of {sorted(allowed)}, got {value!r}.")
