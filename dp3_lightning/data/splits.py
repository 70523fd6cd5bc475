"""Assign clips to training, validation and test, so that nobody is in two of them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

from dp3_lightning.randomness import stable_hash

SPLITS = ("train", "val", "test")


def _position(group: str, seed: int) -> float:
    return stable_hash(seed, "split", group) / 2**63


def assign_groups(
    groups: Sequence[str],
    fractions: Mapping[str, float],
    fixed: Mapping[str, str] | None = None,
    seed: int = 0,
) -> dict[str, str]:
    """Assign groups (people, or sources) to splits by a stable hash.

    A group stays where it is when others are added or removed. Only when a split that was asked
    for got nobody does it take the group with the nearest hash from ``train``, with a warning.

    Args:
        groups: names; repetitions allowed.
        fractions: share of ``val`` and ``test`` in [0, 1]; ``train`` takes the rest.
        fixed: groups whose split is given.
        seed: another seed gives another assignment.

    Returns:
        Split by group.

    Raises:
        ValueError: too few groups for the splits asked for.
    """
    fixed = dict(fixed or {})
    val, test = fractions.get("val", 0.0), fractions.get("test", 0.0)
    free = sorted(set(groups) - set(fixed), key=lambda g: _position(g, seed))
    assigned = dict(fixed)
    for group in free:
        position = _position(group, seed)
        assigned[group] = "val" if position < val else "test" if position < val + test else "train"
    for split in ("val", "test"):
        if not fractions.get(split) or split in assigned.values():
            continue
        spare = [g for g in free if assigned[g] == "train"]
        if not spare or list(assigned.values()).count("train") < 2:
            raise ValueError(
                f"{len(set(groups))} groups are too few for a `{split}` split without the same "
                f"person in two splits. Add people, set `{split}_fraction: 0`, or `split_by: time` "
                "to hold out the end of each video (the same people are then in both)."
            )
        assigned[spare[0]] = split
        warnings.warn(
            f"The `{split}` fraction is too small for {len(set(groups))} groups; {spare[0]!r} is "
            "held out for it.",
            stacklevel=2,
        )
    return assigned


def fixed_splits(pairs: Sequence[tuple[str, str | None]]) -> dict[str, str]:
    """Return the splits that a manifest fixes, and refuse groups that span two.

    Args:
        pairs: (group, split or None) of every video.

    Raises:
        ValueError: unknown split, or a group in two splits.
    """
    fixed: dict[str, str] = {}
    for group, split in pairs:
        if split is None:
            continue
        if split not in SPLITS:
            raise ValueError(
                f"Expected `split` to be one of {SPLITS}, got {split!r} for {group!r}."
            )
        if fixed.setdefault(group, split) != split:
            raise ValueError(
                f"The group {group!r} is in the splits {fixed[group]!r} and {split!r}: "
                "held-out results would be those of people seen in training. Put all its videos "
                "into one split."
            )
    mixed = sorted({g for g, s in pairs if s is None} & set(fixed))
    if mixed:
        raise ValueError(f"The groups {mixed} have videos with and without a fixed split: fix all.")
    return fixed


def time_span(n_frames: int, split: str, fractions: Mapping[str, float]) -> range:
    """Return the frames of one video that belong to a split: train first, then val, then test."""
    val, test = fractions.get("val", 0.0), fractions.get("test", 0.0)
    bounds = [0, round(n_frames * (1 - val - test)), round(n_frames * (1 - test)), n_frames]
    position = SPLITS.index(split)
    return range(bounds[position], bounds[position + 1])
