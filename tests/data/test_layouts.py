"""Every layout on a tiny folder of exactly its shape: people, official split, traps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dp3_lightning.data.layouts import LAYOUTS, find_layout
from dp3_lightning.data.sources import VideoSource, find_videos

CELEBA = {
    "identity_CelebA.txt": "000001.jpg 7\n000002.jpg 7\n000003.jpg 9\n",
    "list_eval_partition.txt": "000001.jpg 0\n000002.jpg 0\n000003.jpg 2\n",
}
CELEBA_PICTURES = [f"img_align_celeba/00000{i}.jpg" for i in (1, 2, 3)]
BOX = {"left": 0.25, "top": 0.0, "right": 0.75, "bottom": 0.5}


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def write(folder: Path, tables: dict[str, Any]) -> None:
    for name, content in tables.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_text(text)


def read(folder: Path, stills: bool = False) -> dict[str, tuple[str, str | None]]:
    """Return (group, split) by file."""
    videos = find_videos(folder, stills)
    return {v.path.relative_to(folder).as_posix(): (v.group, v.split) for v in videos}


# ---------------------------------------------------------------------- one test per layout


@pytest.mark.parametrize(("name", "person"), [("voxceleb2", "id00012"), ("voxceleb1", "id10001")])
def test_voxceleb(tmp_path: Path, name: str, person: str) -> None:
    other = person[:-1] + "9"
    dev, test = f"dev/mp4/{person}/yt_a/00001.mp4", f"test/mp4/{other}/yt_b/00002.mp4"
    touch(tmp_path, dev, test)
    # VoxCeleb1's split for identification has the same people in all parts: not used.
    write(tmp_path, {"iden_split.txt": f"1 {person}/yt_a/00001\n2 {person}/yt_a/00002\n"})
    assert read(tmp_path) == {dev: (person, None), test: (other, "test")}
    assert find_layout(tmp_path).name == name
    below = tmp_path / "test" / "mp4"
    assert read(below) == {f"{other}/yt_b/00002.mp4": (other, "test")}
    assert [v.split for v in find_videos(tmp_path / "test")] == ["test"]
    touch(tmp_path, f"test/{name}/{person}/yt_a/1.mp4")  # a folder further up says nothing
    assert [v.split for v in find_videos(tmp_path / "test" / name)] == [None]


def test_strangers_beside_voxceleb_are_kept(tmp_path: Path) -> None:
    touch(tmp_path, "id00012/a/1.mp4", "ann/b/2.mp4", "alone.mp4")
    assert {g for g, _ in read(tmp_path).values()} == {"id00012", "ann", "alone"}


@pytest.mark.parametrize("part", ["dfdc_train_part_0/", ""])
def test_dfdc_keeps_fakes_with_their_originals(tmp_path: Path, part: str) -> None:
    touch(tmp_path, f"{part}real.mp4", f"{part}fake.mp4", f"{part}other.mp4")
    table = {
        "real.mp4": {"label": "REAL", "split": "train"},
        "fake.mp4": {"label": "FAKE", "split": "train", "original": "real.mp4"},
        "other.mp4": {"label": "REAL", "split": "train", "original": None},
        "absent.mp4": {"label": "REAL", "split": "train"},
    }
    write(tmp_path, {f"{part}metadata.json": table})
    groups = {Path(p).stem: g for p, (g, _) in read(tmp_path).items()}
    assert groups == {"real": "real", "fake": "real", "other": "other"}
    touch(tmp_path, f"{part}unlisted.mp4")
    with pytest.raises(ValueError, match=r"name the original of 'unlisted\.mp4'"):
        find_videos(tmp_path)


def test_metadata_of_something_else_is_no_dfdc(tmp_path: Path) -> None:
    touch(tmp_path, "ann/a.mp4")
    for text in ("{", "[]", '{"title": "holiday"}'):
        write(tmp_path, {"metadata.json": text})
        assert find_layout(tmp_path).name == "folder"


def test_faceforensics(tmp_path: Path) -> None:
    real = "original_sequences/youtube/c23/videos/{}.mp4"
    fake = "manipulated_sequences/Deepfakes/c23/videos/{}.mp4"
    actor = "original_sequences/actors/c23/videos/01__walking.mp4"
    names = [real.format("000"), real.format("003"), real.format("005"), fake.format("003_000")]
    touch(tmp_path, *names, actor)
    assert [read(tmp_path)[name][0] for name in names] == ["000", "000", "005", "000"]
    assert read(tmp_path)[actor] == ("actor 01", None)
    write(tmp_path, {"splits/train.json": [["000", "003"]], "splits/test.json": [["005", "009"]]})
    assert [read(tmp_path)[name][1] for name in names] == ["train", "train", "test", "train"]


def test_celebv_hq_finished_and_whole_videos(tmp_path: Path) -> None:
    touch(tmp_path, "processed/yt_a_0.mp4", "downloaded/yt_b.mp4")
    duration = {"start_sec": 1.5, "end_sec": 4.0}
    clips = {
        key: {"ytb_id": key[:4], "duration": duration, "bbox": BOX} for key in ("yt_a_0", "yt_b_0")
    } | {"yt_b_1": {"ytb_id": "yt_b", "duration": duration, "bbox": BOX | {"left": 0.5}}}
    write(tmp_path, {"celebvhq_info.json": {"meta_info": {}, "clips": clips}})
    finished, whole, second = find_videos(tmp_path)
    assert finished == VideoSource(
        tmp_path / "processed/yt_a_0.mp4", "yt_a", licence="non-commercial research"
    )
    assert (whole.group, whole.start, whole.end) == ("yt_b", 1.5, 4.0)
    assert whole.box == (0.25, 0.0, 0.75, 0.5)
    assert second.box == (0.5, 0.0, 0.75, 0.5)  # two faces at one time are one group


def celebv_text(folder: Path, **changes: Any) -> Path:
    clip = {
        "ytb_id": "yt_a",
        "duration": {"start_frame": 12.2, "end_frame": 19.7},
        "bbox": {"left": 100, "top": 50, "right": 400, "bottom": 350},
    } | changes
    touch(folder, "raw/yt_a.mp4")
    write(folder, {"celebvtext_info.json": {"clips": {"yt_a_3": clip}}})
    return folder


def test_celebv_text_has_pixels_and_seconds_called_frames(tmp_path: Path) -> None:
    (video,) = find_videos(celebv_text(tmp_path))
    assert (video.group, video.start, video.end) == ("yt_a", 12.2, 19.7)
    assert video.box == (100, 50, 400, 350)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"duration": {"start_frame": 300, "end_frame": 1200}}, "numbers of frames"),
        ({"bbox": BOX}, "box in pixels"),
        ({"bbox": {"left": 1}}, "Expected `top`"),
        ({"bbox": {"left": 9, "top": 0, "right": 3, "bottom": 9}}, "x0 < x1"),
        ({"duration": {"start_sec": "x", "end_sec": 2}}, "Expected a number for `start_sec`"),
    ],
)
def test_wrong_units_in_celebv_text(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        find_videos(celebv_text(tmp_path, **changes))
    assert "yt_a_3" in str(error.value)


def test_hdtf(tmp_path: Path) -> None:
    names = ["RD_Radio1_000", "RD_Radio2_000", "WDA_DonnaShalala1_000", "WDA_DonnaShalala_001"]
    touch(tmp_path, *(f"{n}.mp4" for n in names))
    assert [g for g, _ in read(tmp_path).values()] == [
        "Radio1",
        "Radio2",
        "DonnaShalala",
        "DonnaShalala",
    ]
    assert find_layout(tmp_path).name == "hdtf"
    touch(tmp_path, "holiday.mp4")
    assert find_layout(tmp_path).name == "folder"
    touch(tmp_path, "WRA_video_url.txt")
    assert find_layout(tmp_path).name == "hdtf"


def test_vfhq(tmp_path: Path) -> None:
    touch(tmp_path, "Clip+yt_a+P0+C2+F1-90.mp4", "Clip+yt_a+P1+C0+F5-9.mp4")
    touch(tmp_path, "id00020#yt_b#00381.txt#000.mp4/00000152/00000000.png")
    assert [g for g, _ in read(tmp_path).values()] == ["yt_a", "yt_a"]
    assert sorted({g for g, _ in read(tmp_path, stills=True).values()}) == ["id00020", "yt_a"]


def test_youtube_faces(tmp_path: Path) -> None:
    frame = "frame_images_DB/Ann_A/1/1.22.jpg"
    touch(tmp_path, frame, "splits.txt")
    assert read(tmp_path, stills=True) == {frame: ("Ann_A", None)}


def test_300vw(tmp_path: Path) -> None:
    touch(tmp_path, "001/vid.avi", "001/annot/000001.pts", "002/vid.avi", "002/annot/000001.pts")
    assert read(tmp_path) == {"001/vid.avi": ("001", None), "002/vid.avi": ("002", None)}
    assert find_layout(tmp_path).name == "300vw"


@pytest.mark.parametrize("tables", ["", "Anno/"])
def test_celeba(tmp_path: Path, tables: str) -> None:
    touch(tmp_path, *CELEBA_PICTURES)
    write(tmp_path, {tables + name: text for name, text in CELEBA.items()})
    assert list(read(tmp_path, stills=True).values()) == [
        ("7", "train"),
        ("7", "train"),
        ("9", "test"),
    ]


def test_celeba_without_people_has_no_split(tmp_path: Path) -> None:
    touch(tmp_path, *CELEBA_PICTURES)
    write(tmp_path, {"list_eval_partition.txt": CELEBA["list_eval_partition.txt"]})
    assert {split for _, split in read(tmp_path, stills=True).values()} == {None}


def test_overlapping_official_split_is_not_used(tmp_path: Path) -> None:
    touch(tmp_path, *CELEBA_PICTURES)
    write(tmp_path, CELEBA | {"list_eval_partition.txt": "000001.jpg 0\n000002.jpg 1\n"})
    with pytest.warns(UserWarning, match=r"1 people or sources in two parts \(first: '7'\)"):
        assert {split for _, split in read(tmp_path, stills=True).values()} == {None}


def test_celeba_hq(tmp_path: Path) -> None:
    touch(tmp_path, "data/0.jpg", "data/1.jpg")
    mapping = "idx orig_idx orig_file\n0 2 000003.jpg\n1 0 000001.jpg\n"
    write(tmp_path, CELEBA | {"annotations/CelebA-HQ-to-CelebA-mapping.txt": mapping})
    expected = {"data/0.jpg": ("9", "test"), "data/1.jpg": ("7", "train")}
    assert read(tmp_path, stills=True) == expected


def test_fdf(tmp_path: Path) -> None:
    touch(tmp_path, "images/128/0.png", "images/128/1.png", "images/128/2.png", "landmarks.npy")
    info = {str(i): {"author": "ann", "license": "CC BY"} for i in (0, 1)}
    write(tmp_path, {"fdf_metainfo.json": info})
    videos = find_videos(tmp_path, stills=True)
    assert [(v.group, v.licence[:5]) for v in videos] == [
        ("ann", "CC BY"),
        ("ann", "CC BY"),
        ("2", "mixed"),
    ]
    assert find_layout(tmp_path).name == "fdf"


def test_fdf256(tmp_path: Path) -> None:
    for part in ("train", "val"):
        touch(tmp_path, f"{part}/images/{part}0.png", f"{part}/bounding_box.npy")
    assert [s for _, s in read(tmp_path, stills=True).values()] == ["train", "val"]
    assert find_layout(tmp_path).name == "fdf256"


def test_identity_folders(tmp_path: Path) -> None:
    touch(tmp_path, "ann/clip1/1.mp4", "bob/2.mp4")
    named = find_videos(tmp_path, layout="identity")
    assert [v.group for v in named] == ["ann", "bob"]
    assert find_videos(tmp_path) == named
    touch(tmp_path, "stray.mp4")
    with pytest.raises(ValueError, match="does not have the layout 'identity'"):
        find_videos(tmp_path, layout="identity")


def test_frame_folders(tmp_path: Path) -> None:
    touch(tmp_path, "ann/clip1/0001.jpg", "ann/clip1/0002.jpg", "bob/clip/0001.jpg")
    assert [g for g, _ in read(tmp_path, stills=True).values()] == ["ann", "ann", "bob"]
    assert find_layout(tmp_path).name == "frames"


def test_plain_folder_named_and_by_default(tmp_path: Path) -> None:
    touch(tmp_path, "dev/mp4/id00012/a/1.mp4")
    assert [v.group for v in find_videos(tmp_path, layout="folder")] == ["dev"]
    assert [v.group for v in find_videos(tmp_path)] == ["id00012"]


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_manifests_name_boxes(tmp_path: Path, kind: str) -> None:
    touch(tmp_path, "a.mp4")
    row = '{"path": "a.mp4", "box": [0.1, 0, 0.5, 1]}'
    text = row if kind == "jsonl" else "path,box\na.mp4,0.1 0 0.5 1\n"
    write(tmp_path, {f"list.{kind}": text})
    for layout in ("auto", kind):
        (video,) = find_videos(tmp_path / f"list.{kind}", layout=layout)
        assert video.box == (0.1, 0, 0.5, 1)
    write(tmp_path, {f"list.{kind}": text.replace("0.5", "0.05")})
    with pytest.raises(ValueError, match=r"x0 < x1.* in line"):
        find_videos(tmp_path / f"list.{kind}")


# ---------------------------------------------------------------------- choosing


def test_two_layouts_are_an_error_that_names_both(tmp_path: Path) -> None:
    touch(tmp_path, "id00012/a/1.mp4", "id10001/b/1.mp4")
    with pytest.raises(ValueError, match="several data sets, voxceleb2, voxceleb1: name one"):
        find_videos(tmp_path)
    assert len(find_videos(tmp_path, layout="voxceleb2")) == 2


def test_a_wrong_name_is_an_error_with_the_candidates(tmp_path: Path) -> None:
    touch(tmp_path, "id00012/a/1.mp4", "list.csv")
    with pytest.raises(ValueError, match=r"layout 'dfdc' \(.*It has voxceleb2: set"):
        find_videos(tmp_path, layout="dfdc")
    with pytest.raises(ValueError, match=r"cannot have the layout 'csv'"):
        find_videos(tmp_path, layout="csv")
    with pytest.raises(ValueError, match="is a file, but `layout` is 'dfdc'"):
        find_videos(tmp_path / "list.csv", layout="dfdc")
    with pytest.raises(ValueError, match="Expected `layout` to be one of"):
        find_videos(tmp_path, layout="voxceleb3")


STILLS: list[tuple[str, Sequence[str]]] = [
    ("celeba", CELEBA_PICTURES),
    ("celeba-hq", ["annotations/CelebA-HQ-to-CelebA-mapping.txt", "data/0.jpg"]),
    ("fdf", ["images/128/0.png", "landmarks.npy"]),
    ("fdf256", ["train/images/0.png", "train/landmarks.npy"]),
    ("youtube-faces", ["frame_images_DB/Ann/1/1.1.jpg"]),
    ("frames", ["ann/1.jpg", "ann/2.jpg"]),
    ("vfhq", ["Clip+yt_a+P0+C2+F1-90/00000000.png"]),
]


@pytest.mark.parametrize(("name", "files"), STILLS)
def test_stills_are_refused_for_clips(tmp_path: Path, name: str, files: Sequence[str]) -> None:
    touch(tmp_path, *files)
    with pytest.raises(ValueError, match=f"layout '{name}'.*stills are not supported.*clip_length"):
        find_videos(tmp_path)


# ---------------------------------------------------------------------- guide


def test_the_guide_has_a_row_for_every_layout() -> None:
    page = (Path(__file__).parents[2] / "docs" / "guide" / "datasets.md").read_text()
    for layout in LAYOUTS.values():
        row = f"| `{layout.name}` | {layout.shape} | {layout.split} | {layout.licence or 'yours'} |"
        assert row in page
