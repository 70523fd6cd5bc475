from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dp3_lightning.anonymize import sheet
from dp3_lightning.anonymize.options import PersonOptions
from dp3_lightning.anonymize.picture_job import read_picture, write_picture
from dp3_lightning.anonymize.planning.plan import Plan
from dp3_lightning.anonymize.rendering.drawing import Drawing
from dp3_lightning.anonymize.rendering.mesh.people import DrawnFace
from dp3_lightning.anonymize.settings import Settings
from dp3_lightning.assets import asset_path
from dp3_lightning.cli.anonymize import anonymize_command
from dp3_lightning.generators.face_prior.adapter import FacePriorGenerator
from tests.anonymize.anonymize_fixtures import SquareDetector, background, settings, tiny32

PLAN = Plan("in.png", "", 1, (64, 96), [])
SQUARES = "--detector=tests.anonymize.anonymize_fixtures.SquareDetector"
Faces = dict[str, DrawnFace]


def unloaded() -> Drawing:
    """The face prior by name only: nothing here draws with it."""
    return Drawing(FacePriorGenerator.__new__(FacePriorGenerator), "face-prior", "")


def source_in(folder: Path) -> Path:
    write_picture(folder / "in.png", background())
    return folder / "in.png"


def make(folder: Path, drawing: Drawing, choices: Settings, people: int = 3) -> list[str]:
    target = folder / "sheet.png"
    source = source_in(folder)
    return sheet.make_sheet(source, target, drawing, choices, SquareDetector(), people, True, PLAN)


def face_of(level: int, side: int = 64) -> DrawnFace:
    picture = np.full((side, side, 3), level, np.uint8)
    return DrawnFace(picture, np.zeros((468, 3)), np.zeros(10), np.zeros((468, 3)))


def tiles(path: Path) -> list[tuple[int, int, int, int]]:
    """``(row, column, side, level)`` of the pictures on a sheet, in the order of reading."""
    found = read_picture(path)
    marked = (np.abs(found.astype(int) - 245).max(2) > 3).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(marked, connectivity=4)
    large = sorted(
        (int(y), int(x), int(h)) for x, y, w, h, area in stats[1:count] if area > 10_000 and w == h
    )
    return [(y, x, side, int(found[y + side // 2, x + side // 2, 0])) for y, x, side in large]


# ------------------------------------------------------------------------------ errors


@pytest.mark.parametrize("generator", [None, "tiny32"])
def test_other_generators_have_no_sheet(tmp_path: Path, generator: str | None) -> None:
    drawing = Drawing(tiny32() if generator else None, "some-name", "")
    with pytest.raises(TypeError, match=r"--sheet.*face prior.*some-name"):
        make(tmp_path, drawing, settings(seed=1))
    assert not (tmp_path / "sheet.png").exists()


def test_people_who_cannot_be_drawn_again_cannot_be_chosen(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--seed.*--pseudonym-key"):
        make(tmp_path, unloaded(), settings())


@pytest.mark.parametrize("choice", [{"seed": 0}, {"pseudonym_key": "a secret of some length"}])
def test_nobody_to_draw_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: dict[str, Any]
) -> None:
    monkeypatch.setattr(sheet, "_faces", lambda *_: {})
    with pytest.raises(ValueError, match=r"No face in .*in\.png"):
        make(tmp_path, unloaded(), settings(**choice))
    assert not (tmp_path / "sheet.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], r"-o"),
        (["--sheet=s.png", "--people=0"], "people"),
        (["--sheet=s.png"], r"--sheet.*face prior"),
        (["in.png", "--sheet=s.png"], r"one input with `--sheet`, got 2"),
    ],
)
def test_the_command_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    source_in(tmp_path)
    with pytest.raises((ValueError, TypeError), match=message):
        anonymize_command(["in.png", *arguments, "--generator=blur", "--seed=1", SQUARES])
    assert [p.name for p in tmp_path.iterdir()] == ["in.png"]


# ------------------------------------------------------------------------------ layout


def test_refused_candidates_leave_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[PersonOptions] = []

    def faces(
        plan: Plan, drawing: Drawing, settings: Settings, choice: PersonOptions, *_: Any
    ) -> Faces:
        asked.append(choice)
        found = {"ann": face_of(10 * choice.person), "bob": face_of(100 + 10 * choice.person, 300)}
        return {k: v for k, v in found.items() if (k, choice.person) != ("ann", 2)}

    monkeypatch.setattr(sheet, "_faces", faces)
    assert make(tmp_path, unloaded(), settings(seed=7)) == ["ann", "bob"]
    assert [(choice.person, choice.seed) for choice in asked] == [(1, 7), (2, 7), (3, 7)]
    found = tiles(tmp_path / "sheet.png")
    assert [level for *_, level in found] == [10, 30, 110, 120, 130]
    first, third, *below = found
    assert first[:2] == (first[0], below[0][1])
    assert third[1] == below[2][1] > below[1][1]  # the second place of the first row stays empty
    assert len({side for *_, side, _ in found}) == 1


def test_somebody_who_appears_late_has_a_row_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faces(
        plan: Plan, drawing: Drawing, settings: Settings, choice: PersonOptions, *_: Any
    ) -> Faces:
        return {"ann": face_of(50)} if choice.person == 1 else {"bob": face_of(90)}

    monkeypatch.setattr(sheet, "_faces", faces)
    assert make(tmp_path, unloaded(), settings(seed=7), people=2) == ["ann", "bob"]
    (upper, lower) = tiles(tmp_path / "sheet.png")
    assert upper[0] < lower[0]
    assert upper[1] < lower[1]


# ------------------------------------------------------------------------------ the whole thing


@pytest.mark.assets
@pytest.mark.slow
def test_a_sheet_of_a_group_and_the_person_who_is_chosen_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "sheet.png"
    source = str(asset_path("group_photo"))
    assert anonymize_command([source, f"--sheet={target}", "--people=2", "--seed=3"]) == 0
    told = capsys.readouterr().out
    assert all(f"person-{n}" in told for n in range(1, 6))
    found = tiles(target)
    assert len({row for row, *_ in found}) == 5
    assert len(found) >= 9
    sheet_picture = read_picture(target).astype(int)

    def tile(at: int) -> np.ndarray:
        row, column, side, _ = found[at]
        return sheet_picture[row : row + side, column : column + side]

    different = [np.abs(tile(a) - tile(b)).mean() for a in range(len(found)) for b in range(a)]
    assert min(different) > 8  # everybody is somebody else
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sheet.png"]


@pytest.mark.assets
@pytest.mark.slow
def test_each_candidate_is_another_person_and_the_same_in_every_run(tmp_path: Path) -> None:
    picture = read_picture(asset_path("portrait_obama"))
    scale = 320 / max(picture.shape[:2])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    write_picture(tmp_path / "in.png", small)
    drawn = []
    for name, person in (("a", 1), ("b", 2), ("c", 2)):
        target = tmp_path / f"{name}.png"
        arguments = ["--seed=3", f"--person={person}"]
        assert anonymize_command([str(tmp_path / "in.png"), "-o", str(target), *arguments]) == 0
        drawn.append(read_picture(target).astype(int))
    first, second, again = drawn
    np.testing.assert_array_equal(second, again)
    changed = np.abs(first - small).max(2) > 8
    assert np.abs(first - second)[changed].mean() > 5
