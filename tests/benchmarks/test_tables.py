"""README's figures are those of the committed results."""

from __future__ import annotations

from typing import Any

from benchmarks.tables import FIGURES, OVERVIEW, SHORT, between_markers, overview


def ladder(**met: bool) -> dict[str, Any]:
    spread = {"median": 1.5, "q1": 1.0, "q3": 2.0, "n": 3}
    rows = [{"rung": rung, "what": "", **dict.fromkeys(FIGURES, spread)} for rung in OVERVIEW]
    rows[0]["recognised"] = None
    targets = [{"target": k, "measured": "3 against 2", "met": v} for k, v in met.items()]
    return {"results": {"rows": rows, "targets": targets}}


def test_the_overview_tells_losses_with_the_wins() -> None:
    text = overview(ladder(steady=True, sharp=False, known=True))
    assert text.count("\n|") == 1 + len(OVERVIEW)
    assert "| DeepPrivacy2 as it comes | B0 | 1.5 | 1.5 | 1.5 | 1.5 | 1.5 |  | 1.5 |" in text
    assert "2 of 3 targets are met." in text
    older = ladder()
    for row in older["results"]["rows"]:
        del row["MobileNetV2 kernel distance"]
    assert "| DeepPrivacy2 as it comes | B0 | 1.5 | 1.5 | 1.5 | 1.5 |  | 1.5 |" in overview(older)
    assert "- missed: sharp: 3 against 2" in text
    assert "steady" not in text
    assert overview(ladder(steady=True)).endswith("1 of 1 targets are met.")


def test_the_short_table_has_fewer_rungs_and_every_loss() -> None:
    text = overview(ladder(steady=True, sharp=False), SHORT)
    assert text.count("\n|") == 1 + len(SHORT)
    assert "| B0 |" in text
    assert "| B4 |" not in text
    assert "1 of 2 targets are met." in text
    assert "- missed: sharp: 3 against 2" in text


def test_only_what_lies_between_the_markers_changes() -> None:
    text = "before\n<!-- results:begin -->\nold\n<!-- results:end -->\nafter"
    assert between_markers(text, "new") == (
        "before\n<!-- results:begin -->\n\nnew\n\n<!-- results:end -->\nafter"
    )
    assert between_markers(between_markers(text, "x"), "new") == between_markers(text, "new")
