"""The sheet that is shown to somebody who knows nothing, and the count of verdicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.quality import passes_for_real
from benchmarks.quality.passes_for_real import (
    chosen_faces,
    crop,
    make,
    read_verdicts,
    score,
    square_around,
)
from benchmarks.quality.still_faces import output_of
from benchmarks.quality.still_sources import Still
from dp3_lightning.anonymize.picture_job import write_picture
from dp3_lightning.anonymize.planning.plan import Plan, PlannedTrack

BOX = (30.0, 20.0, 90.0, 100.0)
N = 6
KEY: dict[str, Any] = {f"{n:03d}": {"truth": "real" if n % 2 else "drawn"} for n in range(1, 9)}


def test_crops_are_squares_inside_the_picture() -> None:
    assert square_around((100, 100, 150, 150), (300, 300)) == [85, 85, 165, 165]
    assert square_around((0, 0, 50, 50), (300, 300)) == [0, 0, 80, 80]
    assert square_around((280, 280, 300, 300), (300, 300)) == [268, 268, 300, 300]
    left, top, right, bottom = square_around(BOX, (110, 100))
    assert (right - left, bottom - top) == (100, 100)
    assert top >= 0
    assert bottom <= 110
    data = crop(np.full((110, 100, 3), (200, 100, 50), np.uint8), BOX)
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert read is not None
    assert read.shape == (192, 192, 3)
    assert np.abs(read[..., ::-1].astype(int) - (200, 100, 50)).max() < 6  # nothing black


def test_only_drawn_faces_of_some_size_are_chosen() -> None:
    rows = [{"still": str(n), "track": 0, "outcome": "drawn", "side": 80.0} for n in range(20)]
    rows.append({"still": "x", "track": 0, "outcome": "blurred", "side": 80.0})
    rows.append({"still": "y", "track": 0, "outcome": "drawn", "side": 20.0})
    names = [face["still"] for face in chosen_faces(rows, 20, 1, 60.0)]
    assert set(names) == {str(n) for n in range(20)}
    assert names != [face["still"] for face in chosen_faces(rows, 20, 2, 60.0)]
    with pytest.raises(ValueError, match=r"Expected 21 drawn faces.*got 20"):
        chosen_faces(rows, 21, 1, 60.0)


@pytest.fixture
def sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Real pictures are green, drawn ones red."""
    track = PlannedTrack("person-1", 0, [BOX], ["detected"])
    plan = Plan("", "", 1, (110, 120), [track])
    monkeypatch.setattr(passes_for_real, "plan_of_picture", lambda *_: plan)
    stills = {}
    for n in range(N):
        stills[f"s/{n}"] = Still(f"s/{n}", tmp_path / f"{n}.png")
        write_picture(tmp_path / f"{n}.png", np.full((110, 120, 3), (0, 200, 0), np.uint8))
        red = np.full((110, 120, 3), (200, 0, 0), np.uint8)
        write_picture(output_of(tmp_path, f"s/{n}"), red)
    faces = [{"still": name, "track": 0} for name in stills]
    make(faces, stills, tmp_path, tmp_path / "sheet", seed=7)
    with pytest.raises(FileExistsError, match="sheet"):
        make(faces, stills, tmp_path, tmp_path / "sheet", seed=7)
    return tmp_path


def test_the_key_tells_what_the_folder_hides(sheet: Path) -> None:
    files = sorted((sheet / "sheet").iterdir())
    assert [f.name for f in files] == [f"{n:03d}.jpg" for n in range(1, 2 * N + 1)]
    key = json.loads((sheet / "sheet.key.json").read_text())["pictures"]
    truths = []
    for file in files:
        picture = cv2.imread(str(file))
        assert picture is not None
        assert picture.shape == (192, 192, 3)
        truths.append("drawn" if picture[..., 2].mean() > 100 else "real")
    assert truths == [key[file.stem]["truth"] for file in files]
    assert truths.count("drawn") == N
    assert truths != sorted(truths)
    assert truths != [truths[0], truths[1]] * N  # not by turns
    assert {row["still"] for row in key.values()} == {f"s/{n}" for n in range(N)}


def written(folder: Path, *lines: str, heading: str = "number,verdict") -> Path:
    path = folder / "verdicts.csv"
    path.write_text("\n".join([heading, *lines]) + "\n")
    return path


def test_verdicts_are_read_as_people_write_them(tmp_path: Path) -> None:
    lines = ["1, Real", "002.jpg,drawn", *(f"{n},real" for n in range(3, 9))]
    found = read_verdicts(written(tmp_path, *lines), KEY)
    assert found == {**dict.fromkeys(KEY, "real"), "002": "drawn"}


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["9,real"], "got '9'"),
        (["1,real", "001,drawn"], "001 has two"),
        (["1,perhaps"], "got 'perhaps'"),
        (["1,real"], "No verdict on 7 pictures, the first is 002"),
        ([], "heading"),
    ],
)
def test_verdicts_that_cannot_be_counted(tmp_path: Path, lines: list[str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read_verdicts(written(tmp_path, *lines), KEY)
    with pytest.raises(ValueError, match="heading"):
        read_verdicts(written(tmp_path, "1,real", heading="picture,answer"), KEY)


def test_verdicts_are_counted() -> None:
    truth = {number: row["truth"] for number, row in KEY.items()}
    rows, (target,) = score(KEY, truth)
    assert rows[0]["share"].startswith("100 % (68 to 1e+02 %), 8 of 8")
    assert not target["met"]
    rows, (target,) = score(KEY, dict.fromkeys(KEY, "drawn"))
    assert [row["share"].split(",")[1] for row in rows] == [" 4 of 8", " 4 of 4", " 4 of 4"]
    assert target["met"]
    assert rows[1][""] == "real called drawn"
