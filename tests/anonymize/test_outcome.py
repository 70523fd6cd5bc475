"""The three verdicts, and what the manifest says of pseudonyms and of older versions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dp3_lightning.anonymize import Drawing, PersonOptions
from dp3_lightning.anonymize.manifest import is_as_safe_as_asked, manifest_path, read_manifest
from dp3_lightning.anonymize.outcome import Outcome
from dp3_lightning.anonymize.provenance import tool_commit
from tests.anonymize.anonymize_fixtures import (
    SquareDetector,
    Styled,
    done,
    moving,
    plan_for,
    run,
    square,
    write_clip,
)

BOX = [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("outcome", "verdict", "code"),
    [
        (Outcome(), "checked", 0),
        (Outcome(blurred=[(0, BOX)]), "checked", 0),
        (Outcome(is_verified=False), "not checked", 0),
        (Outcome(unchecked=[3]), "not checked", 3),
        (Outcome(unresolved=[(0, BOX)]), "faces left", 3),
        (Outcome(unresolved=[(0, BOX)], unchecked=[3]), "faces left", 3),
    ],
)
def test_verdicts_and_exit_codes_agree(outcome: Outcome, verdict: str, code: int) -> None:
    assert (outcome.verdict, outcome.exit_code) == (verdict, code)
    assert outcome.safe == (verdict == "checked")


@pytest.mark.parametrize(
    ("safe", "verify", "enough"),
    [
        ("checked", True, True),
        ("not checked", True, False),
        ("not checked", False, True),
        ("faces left", False, False),
        (True, True, True),  # version 1
        (False, True, False),
    ],
)
def test_what_counts_as_done(safe: str | bool, verify: bool, enough: bool) -> None:
    record = {"safe": safe, "settings": {"check": {"verify": verify}}}
    assert is_as_safe_as_asked(record) == enough


def test_records_of_version_1_are_read(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(3))
    run(source, tmp_path / "out.mp4")
    assert done(source, tmp_path / "out.mp4")
    path = manifest_path(tmp_path / "out.mp4")
    record = json.loads(path.read_text())
    for version, safe, is_done in ((1, True, True), (1, False, False), (3, "checked", False)):
        path.write_text(json.dumps(record | {"version": version, "safe": safe}))
        assert (read_manifest(tmp_path / "out.mp4") is not None) == (version < 3)
        assert done(source, tmp_path / "out.mp4") == is_done


def test_pseudonyms_of_labelled_people_come_from_the_key() -> None:
    plan = plan_for({"anna": [square(5)], "person-2": [square(40)], "bert": [square(70)]}, 1)
    plan.tracks[2].action = "blur"
    drawing = Drawing.prepare(Styled())
    keyed = PersonOptions(pseudonym_key="a secret of twelve letters")
    assert drawing.sources(plan, keyed) == {"anna": "key", "person-2": "random"}
    assert drawing.sources(plan, PersonOptions(seed=1)) == {"anna": "seed", "person-2": "seed"}
    assert Drawing.prepare("blur").sources(plan, keyed) == {}


def test_the_record_names_detectors_and_the_commit(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(3))
    run(source, tmp_path / "out.mp4", detector=SquareDetector("mine"))
    record = read_manifest(tmp_path / "out.mp4")
    assert record is not None
    assert record["detectors"]["plan"]["name"] == record["detectors"]["check"]["name"] == "mine"
    assert record["tool_commit"] == tool_commit()
    assert record["pseudonyms"]["from"] == "nobody is drawn"
    assert record["faces"]["weak_ignored"] == {}
