from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dp3_lightning.anonymize import PlanOptions, plan_video, read_plan, write_plan
from dp3_lightning.anonymize.verify import covered_share
from dp3_lightning.structures import Detection, UInt8Array
from dp3_lightning.video import write_video

Face = tuple[float, float, float, float, float]  # x0, y0, x1, y1, score
Boxes = list[list[Face]]  # per frame


class Scripted:
    """Answers frame after frame with given faces."""

    def __init__(self, faces: Boxes) -> None:
        self.faces, self.next = faces, 0
        self.name = f"scripted-{hash(str(faces))}"

    def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
        found = self.faces[self.next : self.next + len(frames)]
        self.next += len(frames)
        return [[Detection((f[0], f[1], f[2], f[3]), f[4]) for f in faces] for faces in found]


def face(
    x: float, score: float = 0.9, side: float = 40
) -> tuple[float, float, float, float, float]:
    return x, 20.0, x + side, 20.0 + side, score


def video(folder: Path, n_frames: int, cut: int | None = None) -> Path:
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, 256, (2, 96, 160, 3), dtype=np.uint8)
    scenes[0] //= 8
    frames = [scenes[int(cut is not None and i >= cut)] for i in range(n_frames)]
    return write_video(folder / "clip.mp4", frames, 10)


def plan_of(folder: Path, faces: Boxes, cut: int | None = None, **options: float):  # noqa: ANN201
    path = video(folder, len(faces), cut)
    return plan_video(path, Scripted(faces), PlanOptions(**options), folder / "cache")


def test_gaps_are_filled_and_ends_are_padded(tmp_path: Path) -> None:
    faces: Boxes = [[face(30)] if i in (8, 9, 13, 14) else [] for i in range(30)]
    plan = plan_of(tmp_path, faces, max_gap=0.5)  # five frames
    (track,) = plan.tracks
    assert (track.start, track.stop) == (3, 20)
    middle = ["detected"] * 2 + ["filled"] * 3 + ["detected"] * 2
    assert track.origins == ["padded"] * 5 + middle + ["padded"] * 5
    for box, origin in zip(track.boxes, track.origins, strict=True):
        # Where nothing was detected the face may have moved: the box grows.
        assert np.allclose(box, [30, 20, 70, 60]) == (origin == "detected")
        assert covered_share((30, 20, 70, 60), [box]) > 0.999
    widths = [b[2] - b[0] for b in track.boxes]
    assert widths[:6] == sorted(widths[:6], reverse=True)
    assert not plan.ignored


@pytest.mark.parametrize("missing", [0.1, 0.3])
def test_no_frame_of_a_face_is_uncovered_when_detections_are_dropped(
    tmp_path: Path, missing: float
) -> None:
    rng = np.random.default_rng(1)
    truth = [face(10 + 1.5 * i) for i in range(60)]
    faces: Boxes = [[f] if rng.random() > missing else [] for f in truth]
    plan = plan_of(tmp_path, faces)
    for frame, (x0, y0, x1, y1, _) in enumerate(truth):
        (covered,) = plan.boxes_at(frame)
        box = covered[1]
        shared = (min(x1, box[2]) - max(x0, box[0])) * (min(y1, box[3]) - max(y0, box[1]))
        assert shared > 0.8 * (x1 - x0) * (y1 - y0)


def test_nothing_crosses_a_cut(tmp_path: Path) -> None:
    faces: Boxes = [[face(30)] if 4 <= i <= 16 else [] for i in range(20)]
    plan = plan_of(tmp_path, faces, cut=10)
    assert plan.cuts == [10]
    assert [(t.start, t.stop) for t in plan.tracks] == [(0, 10), (10, 20)]
    assert plan.tracks[0].person != plan.tracks[1].person


def test_low_scores_count_inside_a_sure_track_only(tmp_path: Path) -> None:
    faces: Boxes = [[face(20, 0.9 if i == 5 else 0.35), face(110, 0.35)] for i in range(12)]
    plan = plan_of(tmp_path, faces, weak_frames=0)
    (track,) = plan.tracks
    assert (track.start, track.stop) == (0, 12)
    # What was left out is on record.
    assert len(plan.ignored) == 12
    assert plan.ignored[3][0][:2] == [110.0, 20.0]


def test_weak_faces_that_last_are_blurred_and_others_listed(tmp_path: Path) -> None:
    faces: Boxes = [[face(20)] for _ in range(20)]
    for i in (2, 3, 5):
        faces[i].append(face(110, 0.45))
    for i in (14, 15):
        faces[i].append(face(80, 0.45))
    plan = plan_of(tmp_path, faces, max_gap=0.2)
    sure, weak = sorted(plan.tracks, key=lambda t: t.boxes[0][0])
    assert (sure.action, weak.action) == ("generate", "blur")
    assert weak.reason == "weak but lasting: best score 0.45"
    assert (weak.start, weak.stop) == (0, 8)
    assert plan.boxes_at(4)[1][0] is weak
    assert sorted(plan.ignored) == [14, 15]


@pytest.mark.parametrize("n_frames", [1, 2])
def test_in_short_videos_weak_faces_are_blurred_when_always_there(
    tmp_path: Path, n_frames: int
) -> None:
    plan = plan_of(tmp_path, [[face(20, 0.35)]] * n_frames)
    assert [track.action for track in plan.tracks] == ["blur"]
    assert not plan.ignored


def test_a_weak_find_inside_a_planned_face_is_no_track_of_its_own(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [[face(20), (30.0, 30.0, 45.0, 45.0, 0.4)] for _ in range(8)])
    assert len(plan.tracks) == 1
    assert not plan.ignored


def test_doubt_counts_twice_where_a_face_is_known_from_one_side_only(tmp_path: Path) -> None:
    """Frames as far from a detection grow twice as much beyond the ends as in a gap."""
    faces: Boxes = [[face(30)] if i in (10, 11, 15, 16) else [] for i in range(30)]
    plan = plan_of(tmp_path, faces, max_gap=0.5, smooth_window=1)
    (track,) = plan.tracks
    grown = {
        track.start + i: (box[2] - box[0] - 40) / 2
        for i, (box, origin) in enumerate(zip(track.boxes, track.origins, strict=True))
        if origin != "detected"
    }
    assert grown[12] > 0
    for padded, filled in ((9, 12), (8, 13), (17, 14), (18, 13)):
        assert grown[padded] == pytest.approx(2 * grown[filled], rel=0.01)


def test_a_face_found_again_where_it_was_lost_is_the_same_person(tmp_path: Path) -> None:
    faces: Boxes = [[] for _ in range(80)]
    for i in (*range(10), *range(25, 35), *range(75, 80)):
        faces[i] = [face(30)]
    plan = plan_of(tmp_path, faces, max_gap=0.2, reentry=2.0)
    assert [t.person for t in plan.tracks] == ["person-1", "person-1", "person-2"]


def test_two_people_at_once_are_two(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [[face(20), face(110)] for _ in range(10)])
    assert sorted(t.person for t in plan.tracks) == ["person-1", "person-2"]


def test_small_faces_are_blurred(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [[face(20, side=9)] for _ in range(10)])
    (track,) = plan.tracks
    assert track.action == "blur"
    assert "9 px" in track.reason


def test_smoothing_takes_tremble_out_and_covers_a_fast_face(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    still: Boxes = [[face(40 + rng.normal(0, 0.6))] for _ in range(40)]
    (track,) = plan_of(tmp_path, still).tracks
    jumps = [np.abs(np.diff([b[0] for b in boxes])).mean() for boxes in (track.boxes,)]
    raw = np.abs(np.diff([f[0][0] for f in still])).mean()
    assert jumps[0] < raw / 3
    (tmp_path / "fast").mkdir()
    fast: Boxes = [[face(10 if i < 10 else 30)] for i in range(20)]
    (track,) = plan_of(tmp_path / "fast", fast).tracks
    for i in range(20):
        assert track.boxes[i][0] <= fast[i][0][0] + 2
        assert track.boxes[i][2] >= fast[i][0][2] - 2


def test_plan_file_is_readable_and_comes_back(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [[face(20.123)] if i != 4 else [] for i in range(9)])
    path = write_plan(plan, tmp_path / "plan.json")
    again = read_plan(path)
    assert np.allclose(again.tracks[0].boxes, plan.tracks[0].boxes, atol=0.005)
    for name in ("video", "sha256", "n_frames", "size", "cuts", "lost", "ignored", "settings"):
        assert getattr(again, name) == getattr(plan, name), name
    assert again.tracks[0].origins == plan.tracks[0].origins
    text = path.read_text()
    json.loads(text)
    assert sum('"frame":' in line for line in text.splitlines()) == 9
    assert not list(tmp_path.glob("*.tmp"))


EDITS = [
    (lambda d: d["tracks"][0].update(action="keep", reason="my own face"), None),
    (lambda d: d["tracks"].clear(), None),
    (
        lambda d: d["tracks"][0].update(action="keep"),
        "Track 1 .*a real face: add a `reason`",
    ),
    (lambda d: d["tracks"][0].update(action="blurr"), "`action` of track 1 .*'blurr'"),
    (lambda d: d["tracks"][0]["frames"].pop(3), "consecutive frames in track 1.*4 after 2"),
    (lambda d: d["tracks"][0]["frames"].clear(), "has no frames"),
    (lambda d: d["tracks"][0]["frames"][0].update(box=[5, 5, 5, 9]), "frame 0 of track 1.*5.0"),
    (lambda d: d["tracks"][0]["frames"][1].update(box=[5, 5, float("inf"), 9]), "frame 1 .*inf"),
    (lambda d: d["tracks"][0]["frames"][-1].update(frame="x"), "Cannot read track 1"),
    (lambda d: d.update(n_frames=4), "frames 0 to 3 in track 1.*0 to 8"),
    (lambda d: d.update(version=99), "version 99"),
    (lambda d: d.pop("cuts"), "not a complete plan"),
]


@pytest.mark.parametrize(("edit", "message"), EDITS)
def test_edited_plans(tmp_path: Path, edit: object, message: str | None) -> None:
    plan = plan_of(tmp_path, [[face(20)] for _ in range(9)])
    path = write_plan(plan, tmp_path / "plan.json")
    data = json.loads(path.read_text())
    edit(data)  # type: ignore[operator]
    path.write_text(json.dumps(data))
    if message is None:
        read_plan(path)
        return
    with pytest.raises(ValueError, match=message):
        read_plan(path)


def test_files_that_are_no_plans(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="--dry-run"):
        read_plan(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("hello")
    with pytest.raises(ValueError, match="is not a plan"):
        read_plan(tmp_path / "text.json")


@pytest.mark.parametrize(
    ("name", "value"),
    [("start_score", 1.5), ("max_gap", -1), ("reentry", -1), ("smooth_window", 0)],
)
def test_options_out_of_range(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"`{name}`.*{value}"):
        PlanOptions(**{name: value})  # type: ignore[arg-type]
