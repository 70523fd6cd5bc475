from __future__ import annotations

import os
from pathlib import Path

import pytest

from dp3_lightning.anonymize.files import FilePair, pair_files


def touch(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return paths


def names(pairs: list[FilePair], source: Path, output: Path) -> dict[str, str]:
    return {
        p.source.relative_to(source).as_posix(): p.output.relative_to(output).as_posix()
        for p in pairs
    }


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.mark.parametrize(("source", "target"), [("a.mp4", "b.mkv"), ("a.JPG", "b.png")])
def test_a_file_becomes_a_file(here: Path, out: Path, source: str, target: str) -> None:
    (path,) = touch(here, source)
    (pair,) = pair_files([path], out / target)
    assert (pair.source, pair.output) == (path, out / target)
    assert pair.is_picture == (source == "a.JPG")


def test_a_file_goes_into_a_folder(here: Path, out: Path) -> None:
    (path,) = touch(here, "a.mp4")
    (pair,) = pair_files([str(path)], str(out))
    assert pair.output == out / "a.mp4"


def test_a_folder_may_look_like_a_file(here: Path, tmp_path: Path) -> None:
    (path,) = touch(here, "a.mp4")
    folder = tmp_path / "results.mp4"
    folder.mkdir()
    assert pair_files([path], folder)[0].output == folder / "a.mp4"


def test_the_tree_of_a_folder_is_repeated(here: Path, out: Path) -> None:
    touch(here, "a.mp4", "deep/er/b.mkv", "deep/c.png", "notes.txt", "deep/a.mp4")
    pairs = pair_files([here], out)
    expected = ["a.mp4", "deep/a.mp4", "deep/c.png", "deep/er/b.mkv"]
    assert names(pairs, here, out) == {n: n for n in expected}


def test_hidden_files_and_folders_are_left_out(here: Path, out: Path) -> None:
    touch(here, "a.mp4", ".b.mp4", ".c/d.mp4", "e/.out.mp4.dp3work/stretch.mp4")
    assert names(pair_files([here], out), here, out) == {"a.mp4": "a.mp4"}


def test_a_hidden_folder_that_is_named_is_searched(tmp_path: Path, out: Path) -> None:
    folder = tmp_path / ".private"
    touch(folder, "a.mp4")
    assert names(pair_files([folder], out), folder, out) == {"a.mp4": "a.mp4"}


@pytest.mark.parametrize("spelling", ["plain", "dots", "link"])
def test_results_below_the_input_are_no_input(here: Path, tmp_path: Path, spelling: str) -> None:
    touch(here, "a.mp4", "done/a.mp4", "done/deep/b.mp4")
    target = here / "done"
    if spelling == "dots":
        target = here / "x" / ".." / "done"
        (here / "x").mkdir()
    elif spelling == "link":
        target = tmp_path / "link"
        target.symlink_to(here / "done")
    pairs = pair_files([here], target)
    assert [p.source.relative_to(here).as_posix() for p in pairs] == ["a.mp4"]


def test_patterns(here: Path, out: Path) -> None:
    touch(here, "a1.mp4", "a2.mp4", "b1.mp4", "a3.txt", "deep/a4.mp4")
    assert names(pair_files([here / "a*"], out), here, out) == {
        "a1.mp4": "a1.mp4",
        "a2.mp4": "a2.mp4",
    }
    assert names(pair_files([here / "?1.mp4"], out), here, out) == {
        "a1.mp4": "a1.mp4",
        "b1.mp4": "b1.mp4",
    }
    assert names(pair_files([here / "**" / "a[34].mp4"], out), here, out) == {
        "deep/a4.mp4": "a4.mp4"
    }


def test_a_pattern_that_fits_a_folder_searches_it(here: Path, out: Path) -> None:
    touch(here, "day1/a.mp4", "day2/b.mp4")
    pairs = pair_files([here / "day*"], out)
    assert names(pairs, here, out) == {"day1/a.mp4": "a.mp4", "day2/b.mp4": "b.mp4"}


def test_several_inputs(here: Path, out: Path) -> None:
    first, second = touch(here, "a.mp4", "b.png")
    assert names(pair_files([first, second], out), here, out) == {
        "a.mp4": "a.mp4",
        "b.png": "b.png",
    }


def test_names_with_brackets_are_names(here: Path, out: Path) -> None:
    touch(here, "a[1].mp4", "a1.mp4", "[x]/b.mp4", "q?.mp4", "star*.mp4")
    for name in ("a[1].mp4", "q?.mp4", "star*.mp4"):
        assert names(pair_files([here / name], out), here, out) == {name: name}
    assert names(pair_files([here / "[x]"], out), here / "[x]", out) == {"b.mp4": "b.mp4"}
    found = names(pair_files([here / "*.mp4"], out), here, out)
    assert set(found) == {"a[1].mp4", "a1.mp4", "q?.mp4", "star*.mp4"}


def test_two_inputs_for_one_output_are_refused(here: Path, out: Path) -> None:
    first, second = touch(here, "x/a.mp4", "y/a.mp4")
    with pytest.raises(ValueError, match=r"x/a\.mp4.*y/a\.mp4.*would both become.*a\.mp4"):
        pair_files([first, second], out)


def test_one_input_named_twice_is_no_clash(here: Path, out: Path) -> None:
    (path,) = touch(here, "a.mp4")
    assert {p.source for p in pair_files([path, path], out)} == {path}


def test_many_inputs_do_not_fit_one_file(here: Path, out: Path) -> None:
    touch(here, "a.mp4", "b.mp4")
    with pytest.raises(ValueError, match=r"2 inputs cannot go to the one file.*folder"):
        pair_files([here], out / "result.mp4")


@pytest.mark.parametrize(("source", "target"), [("a.mp4", "b.png"), ("a.png", "b.mp4")])
def test_a_video_does_not_become_a_picture(here: Path, out: Path, source: str, target: str) -> None:
    (path,) = touch(here, source)
    with pytest.raises(ValueError, match="a video stays a video"):
        pair_files([path], out / target)


def test_an_unknown_suffix_is_refused(here: Path, out: Path) -> None:
    (path,) = touch(here, "a.docx")
    with pytest.raises(ValueError, match=r"a\.docx' is neither video nor picture.*\.mp4"):
        pair_files([path], out)


@pytest.mark.parametrize("name", ["absent.mp4", "absent", "*.mp4", "no[thing].mp4"])
def test_what_is_not_there_is_named(here: Path, out: Path, name: str) -> None:
    with pytest.raises(
        FileNotFoundError, match="No file or folder at .*" + name[:2].replace("*", r"\*")
    ):
        pair_files([here / name], out)


def test_a_folder_without_media_is_named(here: Path, out: Path) -> None:
    touch(here, "a.txt")
    with pytest.raises(FileNotFoundError, match=r"No videos or pictures in .*in.*\.mp4"):
        pair_files([here], out)


def test_a_loop_of_links_ends(here: Path, out: Path) -> None:
    touch(here, "a.mp4")
    os.symlink(here, here / "again")
    assert "a.mp4" in names(pair_files([here], out), here, out)
