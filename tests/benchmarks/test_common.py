"""What may be published, and what is a draft."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import common


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A clean checkout on an idle machine; the tests change that."""
    state: dict[str, Any] = {"status": "", "load": 0.1}

    def git(*arguments: str) -> str:
        return state["status"] if arguments[0] == "status" else "abc1234"

    monkeypatch.setattr(common, "_git", git)
    monkeypatch.setattr(common.os, "getloadavg", lambda: (state["load"], 0.0, 0.0))
    return state


def content(described: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": described, "settings": {}, "results": {"rows": []}}


def test_a_clean_idle_machine_publishes(machine: dict[str, Any], tmp_path: Path) -> None:
    written = common.write_results(tmp_path / "a.json", content(common.metadata("cpu")))
    assert written == tmp_path / "a.json"
    assert json.loads(written.read_text())["metadata"]["draft"] is False


@pytest.mark.parametrize(
    ("change", "message"),
    [({"status": " M x.py"}, "has changes"), ({"load": 0.3}, "load 0.3"), ({"load": 2.0}, "busy")],
)
def test_what_nobody_could_repeat_is_refused_before_it_is_measured(
    machine: dict[str, Any], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    machine |= change
    with pytest.raises(SystemExit, match=message):
        common.metadata("cpu")
    draft = common.metadata("cpu", draft=True)
    written = common.write_results(tmp_path / "a.json", content(draft))
    assert written.name == "a.draft.json"
    assert not (tmp_path / "a.json").exists()
    with pytest.raises(SystemExit, match=message):  # not by leaving the word out either
        common.write_results(tmp_path / "a.json", content({**draft, "draft": False}))


def test_files_that_change_during_a_run_make_it_a_draft(
    machine: dict[str, Any], tmp_path: Path
) -> None:
    described = common.metadata("cpu")
    machine["status"] = " M x.py"
    written = common.write_results(tmp_path / "a.json", content(described))
    assert written.name == "a.draft.json"
    assert json.loads(written.read_text())["metadata"]["draft"] is True


def test_drafts_are_in_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import tables

    (tmp_path / "results").mkdir()
    (tmp_path / "results/a.draft.json").write_text("{}")
    monkeypatch.setattr(tables, "HERE", tmp_path)
    assert tables.all_sections() == "No results are committed yet."


def test_every_study_asks_whether_it_may_be_published() -> None:
    scripts = [
        path
        for path in Path(common.__file__).parent.rglob("*.py")
        if "metadata(" in path.read_text() and path.name != "common.py"
    ]
    assert len(scripts) > 10
    for path in scripts:
        text = path.read_text()
        assert re.search(r"add_draft\((parser|counter)\)", text), path
        assert ".draft)" in text, path
