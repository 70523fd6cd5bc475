"""Pairs of people drawn by keys: which are compared, and what they add up to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.quality import pseudonyms
from benchmarks.quality.identities import JUDGING, Judge
from benchmarks.quality.key_pairs import CONTROL, OTHERS, SAME_PERSON, pairs, shares, targets
from benchmarks.quality.pseudonyms import KeyStudy, key_of, looks
from benchmarks.quality.still_sources import Still
from dp3_lightning.anonymize import Drawing
from dp3_lightning.anonymize.picture_job import write_picture
from dp3_lightning.anonymize.planning.plan import Plan, PlannedTrack
from dp3_lightning.faces.sface import SFaceEmbedder
from dp3_lightning.video import write_video

JUDGES = [Judge(name, SFaceEmbedder()) for name in (*JUDGING, "SFace")]
PEOPLE = {"a1": "a", "a2": "a", "b": ""}
BOX = (4.0, 4.0, 20.0, 20.0)


def drawn(axis: int, other: int | None = None) -> dict[str, Any]:
    """Somebody who points along an axis; MobileFaceNet may see somebody else."""
    eye = np.eye(6).tolist()
    vectors = {judge.name: eye[axis] for judge in JUDGES}
    if other is not None:
        vectors["MobileFaceNet"] = eye[other]
    return {"why": "", "vectors": vectors}


def kinds(rows: list[dict[str, Any]]) -> dict[str, int]:
    return {k: sum(row["kind"] == k for row in rows) for k in (SAME_PERSON, OTHERS, CONTROL)}


def test_pairs_are_of_one_key_or_of_one_source() -> None:
    found = {(k, name): drawn(k) for k in range(2) for name in PEOPLE}
    rows = pairs(found, PEOPLE, JUDGES)
    assert kinds(rows) == {SAME_PERSON: 2, OTHERS: 4, CONTROL: 3}
    assert all(row["same"] for row in rows if row["kind"] != CONTROL)
    assert all(row["different"] for row in rows if row["kind"] == CONTROL)
    assert all(row["met"] for row in targets(rows))
    same, others, control = shares(rows, JUDGES)
    assert same["to both judges"] == "1 (1 to 1)"
    assert others["one person to SFace"] == 1
    assert control["two people to both"] == "1"


def test_one_judge_is_not_enough() -> None:
    found = {(0, "a1"): drawn(0), (0, "a2"): drawn(0, other=3), (0, "b"): drawn(0)}
    rows = pairs(found, PEOPLE, JUDGES)
    assert [row["same"] for row in rows] == [False, True, False]
    assert not any(row["different"] for row in rows)
    assert [row["met"] for row in targets(rows)] == [False, False]
    assert [row["met"] for row in targets([])] == [None, None]


def test_blurred_faces_are_not_compared() -> None:
    blurred = {"why": "no mesh", "vectors": {}}
    unseen = drawn(0)
    unseen["vectors"]["dlib"] = None
    found = {(0, "a1"): drawn(0), (0, "a2"): blurred, (0, "b"): unseen}
    assert pairs(found, PEOPLE, JUDGES) == []


def test_keys_are_long_and_differ() -> None:
    assert len({key_of(0, 0), key_of(0, 1), key_of(1, 0)}) == 3
    assert len(key_of(0, 0)) >= 12


def test_everybody_gets_the_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = KeyStudy(Drawing(None, "blur", "", "blur"), [], tmp_path, seed=0)
    tracks = [PlannedTrack("person-1", 0, [BOX], ["detected"])]
    made = Plan("", "", 1, (32, 32), tracks)
    monkeypatch.setattr(pseudonyms, "plan_of_picture", lambda *_: made)
    plan = study.plan_of(Still("a", tmp_path / "a.png"))
    assert plan is not None
    assert [track.person for track in plan.tracks] == ["somebody"]
    made.tracks = tracks * 2
    assert study.plan_of(Still("a", tmp_path / "a.png")) is None
    assert study.draw(Still("a", tmp_path / "a.png"), 0)["why"] == "not one face"


def test_only_frames_with_a_drawn_face_are_looked_at(tmp_path: Path) -> None:
    frames = [np.full((32, 32, 3), 10 * n, np.uint8) for n in range(20)]
    path = write_video(tmp_path / "out.mp4", frames, 25, crf=0)
    origins = ["padded" if n < 2 else "detected" for n in range(20)]
    track = PlannedTrack("somebody", 0, [BOX] * 20, origins)  # type: ignore[arg-type]
    levels = [round(frame.mean() / 10) for frame, _ in looks(path, track, {2, 19})]
    assert len(levels) == 8
    assert (levels[0], levels[-1]) == (3, 18)
    assert looks(path, track, set(range(20))) == []
    write_picture(tmp_path / "out.png", frames[5])
    (found,) = looks(tmp_path / "out.png", track, set())
    assert found[0].mean() == 50
