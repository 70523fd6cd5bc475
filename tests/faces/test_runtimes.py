"""One network per size of the input, and not ever more of them."""

from __future__ import annotations

from dp3_lightning.faces.runtimes import NetPerSize


def test_every_size_has_a_network_of_its_own_which_is_used_again() -> None:
    built: list[tuple[int, int]] = []

    def build(size: tuple[int, int]) -> str:
        built.append(size)
        return f"net {size}"

    nets = NetPerSize[tuple[int, int], str](build)
    assert [nets[size] for size in ((3, 4), (5, 6), (3, 4))] == [
        "net (3, 4)", "net (5, 6)", "net (3, 4)",
    ]  # fmt: skip
    assert built == [(3, 4), (5, 6)]


def test_the_networks_that_were_not_used_for_longest_are_forgotten() -> None:
    built: list[tuple[int, ...]] = []
    nets = NetPerSize[tuple[int, ...], None](lambda size: built.append(size), most=300)
    for size in ((1, 3, 10, 10), (1, 3, 5, 20), (1, 3, 10, 10), (1, 3, 20, 10), (1, 3, 10, 10)):
        nets[size]
    assert len(built) == 3  # 100 + 100 + 200 pixels: the second one went
    nets[1, 3, 5, 20]
    assert len(built) == 4
    nets[1, 3, 90, 90]  # larger than all that is kept
    nets[1, 3, 90, 90]
    assert len(built) == 5
