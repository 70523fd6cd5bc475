"""Splits: nobody in two of them, and nobody moves when others come."""

from __future__ import annotations

import warnings

import pytest

from dp3_lightning.data.splits import assign_groups, fixed_splits, time_span

PEOPLE = [f"person{i}" for i in range(400)]
FRACTIONS = {"val": 0.2, "test": 0.1}


def test_shares_are_about_those_asked_for() -> None:
    assigned = list(assign_groups(PEOPLE, FRACTIONS).values())
    assert assigned.count("val") / 400 == pytest.approx(0.2, abs=0.05)
    assert assigned.count("test") / 400 == pytest.approx(0.1, abs=0.04)
    assert len(assigned) == 400


def test_adding_removing_and_reordering_moves_nobody() -> None:
    few = assign_groups(PEOPLE[100:300], FRACTIONS)
    many = assign_groups(PEOPLE[::-1] + PEOPLE[:50], FRACTIONS)
    assert all(many[person] == split for person, split in few.items())


def test_assignment_is_the_same_on_every_machine_and_in_every_release() -> None:
    # Recorded once. A change here would move people between the splits of existing models.
    assigned = assign_groups(PEOPLE[:12], {"val": 0.25, "test": 0.25}, seed=3)
    letters = "".join(assigned[person][1] for person in PEOPLE[:12])
    assert letters == "rrrraeraaare"  # t[r]ain, v[a]l, t[e]st
    assert assign_groups(PEOPLE, FRACTIONS, seed=1) != assign_groups(PEOPLE, FRACTIONS, seed=2)


def test_split_that_got_nobody_takes_one_with_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"`val` fraction is too small for 3 groups; 'person"):
        assigned = assign_groups(PEOPLE[:3], {"val": 1e-9})
    assert sorted(assigned.values()) == ["train", "train", "val"]


def test_too_few_groups_name_the_way_out() -> None:
    with pytest.raises(ValueError, match=r"1 groups .*`val`.*val_fraction: 0.*split_by: time"):
        assign_groups(["only"], {"val": 1e-9})


def test_fixed_groups_stay_and_the_rest_is_hashed() -> None:
    fixed = {"person0": "test", "person1": "val"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assigned = assign_groups(PEOPLE[:60], FRACTIONS, fixed)
    free = assign_groups(PEOPLE, FRACTIONS)
    assert (assigned["person0"], assigned["person1"]) == ("test", "val")
    assert all(assigned[p] == free[p] for p in PEOPLE[2:60])


def test_one_free_group_may_be_held_out_when_others_are_fixed_to_train() -> None:
    with pytest.warns(UserWarning, match="held out"):
        assigned = assign_groups(["a", "b"], {"val": 1e-9}, {"a": "train"})
    assert assigned == {"a": "train", "b": "val"}


def test_group_in_two_splits_aborts() -> None:
    with pytest.raises(ValueError, match=r"'ann' is in the splits 'train' and 'val'.*one split"):
        fixed_splits([("ann", "train"), ("bob", "val"), ("ann", "val")])


def test_group_fixed_only_in_part_aborts() -> None:
    with pytest.raises(ValueError, match=r"\['ann'\] have videos with and without"):
        fixed_splits([("ann", None), ("ann", "val"), ("bob", None)])


def test_unknown_split() -> None:
    with pytest.raises(ValueError, match="'dev' for 'ann'"):
        fixed_splits([("ann", "dev")])


def test_fixed_splits() -> None:
    pairs = [("ann", "val"), ("ann", "val"), ("bob", None)]
    assert fixed_splits(pairs) == {"ann": "val"}


@pytest.mark.parametrize("n_frames", [0, 1, 7, 10, 101])
@pytest.mark.parametrize("fractions", [FRACTIONS, {"val": 0.5}, {}, {"val": 0.33, "test": 0.34}])
def test_time_spans_share_no_frame_and_leave_none_out(
    n_frames: int, fractions: dict[str, float]
) -> None:
    spans = [time_span(n_frames, split, fractions) for split in ("train", "val", "test")]
    assert [i for span in spans for i in span] == list(range(n_frames))
    for split, span in zip(("val", "test"), spans[1:], strict=True):
        assert len(span) == pytest.approx(n_frames * fractions.get(split, 0), abs=1)
