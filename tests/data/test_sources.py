"""From what the user names to a list of videos; errors say what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dp3_lightning.data import sources
from dp3_lightning.data.sources import VideoSource, asset_names, find_videos


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def manifest(folder: Path, *rows: Any) -> Path:
    path = folder / "videos.jsonl"
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows))
    return path


def test_one_file(tmp_path: Path) -> None:
    touch(tmp_path, "talk.mp4")
    assert find_videos(str(tmp_path / "talk.mp4")) == [VideoSource(tmp_path / "talk.mp4", "talk")]


def test_folder_is_searched_recursively_and_its_first_level_names_the_group(tmp_path: Path) -> None:
    touch(tmp_path, "b/2020/x.MP4", "b/y.mkv", "a/z.mov", "alone.webm", "notes.txt", "b/face.jpg")
    found = find_videos(tmp_path)
    assert [(v.path.relative_to(tmp_path).as_posix(), v.group) for v in found] == [
        ("a/z.mov", "a"),
        ("alone.webm", "alone"),
        ("b/2020/x.MP4", "b"),
        ("b/y.mkv", "b"),
    ]
    assert find_videos(tmp_path) == found


def test_hidden_and_unfinished_files_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.mp4", "a/._x.mp4", ".x.0af3.partial.mp4", ".Trash/old.mp4")
    assert [v.path.name for v in find_videos(tmp_path)] == ["x.mp4"]


def test_folder_below_a_hidden_folder_is_searched(tmp_path: Path) -> None:
    touch(tmp_path, ".cache/videos/x.mp4")
    assert len(find_videos(tmp_path / ".cache" / "videos")) == 1


@pytest.mark.parametrize("names", [[], ["readme.txt", "deep/photo.png"]])
def test_folder_without_video(tmp_path: Path, names: list[str]) -> None:
    touch(tmp_path, *names)
    message = r"No video in the folder .*\.mp4.*check `source`"
    with pytest.raises(ValueError, match=message) as error:
        find_videos(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_missing_name_lists_the_sample_clips(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere.*carphone"):
        find_videos(str(tmp_path / "nowhere"))


def test_models_are_no_videos() -> None:
    with pytest.raises(FileNotFoundError, match="centerface"):
        find_videos("centerface")


def test_sample_asset_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sources, "asset_path", lambda name: tmp_path / f"{name}.mp4")
    assert asset_names(["carphone", "other"]) == ["carphone"]
    assert find_videos("carphone") == [VideoSource(tmp_path / "carphone.mp4", "carphone")]


def test_existing_folder_wins_over_an_asset_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "carphone/mine.mp4")
    assert asset_names("carphone") == []
    assert [v.path.name for v in find_videos("carphone")] == ["mine.mp4"]


def test_list_of_sources_keeps_its_order(tmp_path: Path) -> None:
    touch(tmp_path, "z.mp4", "f/b.mp4", "f/a.mp4")
    found = find_videos([str(tmp_path / "z.mp4"), str(tmp_path / "f")])
    assert [v.path.name for v in found] == ["z.mp4", "a.mp4", "b.mp4"]
    with pytest.raises(ValueError, match="empty list"):
        find_videos([])


def test_the_same_frames_named_twice_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "p/a.mp4")
    # As `p` and as `a` the same video could train and validate at once.
    with pytest.raises(ValueError, match=r"a\.mp4' is named twice.*`start` and `end`"):
        find_videos([str(tmp_path), str(tmp_path / "p" / "a.mp4")])
    rows = [{"path": "p/a.mp4", "start": 0, "end": 5}, {"path": "p/a.mp4", "start": 4}]
    with pytest.raises(ValueError, match="named twice"):
        find_videos(manifest(tmp_path, *rows))


def test_manifest(tmp_path: Path) -> None:
    touch(tmp_path, "p/a.mp4", "b.mp4")
    row = {"path": "p/a.mp4", "identity": 7, "split": "val", "start": 1.5, "end": 3}
    found = find_videos(
        manifest(
            tmp_path,
            row,
            "",
            {"path": str(tmp_path / "b.mp4")},
            {"path": "p/a.mp4", "identity": None, "start": 3, "end": None},
        )
    )
    assert found == [
        VideoSource(tmp_path / "p/a.mp4", "7", "val", 1.5, 3.0),
        VideoSource(tmp_path / "b.mp4", "b"),
        VideoSource(tmp_path / "p/a.mp4", "a", None, 3.0, None),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{path: a.mp4}", "JSON object"),
        ("[1, 2]", "`path`"),
        ({"identity": "x"}, "`path`"),
        ({"path": "a.mp4", "idendity": "x"}, "idendity"),
        ({"path": "gone.mp4"}, r"gone\.mp4"),
        ({"path": 5}, "5"),
        ({"path": "a.mp4", "split": "trian"}, "'trian'"),
        ({"path": "a.mp4", "split": ["val"]}, "val"),
        ({"path": "a.mp4", "start": "soon"}, "'soon'"),
        ({"path": "a.mp4", "start": [1]}, r"\[1\]"),
        ({"path": "a.mp4", "end": float("nan")}, "nan"),
        ({"path": "a.mp4", "start": -1}, r"-1\.0"),
        ({"path": "a.mp4", "start": 2, "end": 2}, "0 <= start < end"),
    ],
)
def test_manifest_errors_name_the_line(tmp_path: Path, row: Any, message: str) -> None:
    touch(tmp_path, "a.mp4", "fine.mp4")
    path = manifest(tmp_path, {"path": "fine.mp4"}, "", row)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        find_videos(path)
    assert f"line 3 of {str(path)!r}" in str(error.value)


def test_empty_manifest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lists no video"):
        find_videos(manifest(tmp_path, "", " "))


def test_csv_manifest_is_read_like_jsonl(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    path = tmp_path / "videos.csv"
    path.write_text(
        "path,identity,split,start,end\na.mp4,ann,train,0.5,2\nb.mp4,,,,\n", "utf-8-sig"
    )
    assert find_videos(path) == [
        VideoSource(tmp_path / "a.mp4", "ann", "train", 0.5, 2.0),
        VideoSource(tmp_path / "b.mp4", "b"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,start\na.mp4,soon\n", r"`start` to be a number of seconds in line 2 .*got 'soon'"),
        ("file\na.mp4\n", r"Expected `path` and optionally .* in line 2"),
        ("path,who\na.mp4,x\n", "in line 2"),
        ("path\n", "lists no video"),
        ("path\na.mp4,more\n", "in line 2"),
    ],
)
def test_malformed_csv_manifest(tmp_path: Path, text: str, message: str) -> None:
    touch(tmp_path, "a.mp4")
    (tmp_path / "videos.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        find_videos(tmp_path / "videos.csv")


@pytest.mark.parametrize("name", ["videos.txt", "videos.json", "videos.tsv"])
def test_other_lists_are_refused_with_the_right_suffixes(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name)
    with pytest.raises(ValueError, match=r"lists of videos are \.jsonl .* or \.csv"):
        find_videos(tmp_path / name)
