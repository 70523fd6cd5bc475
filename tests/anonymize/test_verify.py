from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from dp3_lightning.anonymize import CheckOptions, job, plan_video, video_job
from dp3_lightning.anonymize.coverage import is_covered
from dp3_lightning.anonymize.manifest import UNRESOLVED, Outcome, read_manifest
from dp3_lightning.anonymize.planning.plan import Origin, Plan
from dp3_lightning.anonymize.settings import checking_detector
from dp3_lightning.anonymize.verify import IdentityCheck, OutputCheck, _looks, covered_share
from dp3_lightning.anonymize.workspace import Workspace
from dp3_lightning.generators import SolidGenerator
from dp3_lightning.structures import Detection, FloatArray, UInt8Array
from tests.anonymize.anonymize_fixtures import (
    Box,
    Failing,
    NeverSatisfied,
    SquareDetector,
    decoded,
    done,
    draw_frames,
    moving,
    number_of,
    painted_pixels,
    plan_for,
    run,
    square,
    write_clip,
)

N = 4


class Answers(SquareDetector):
    """Gives the listed answers, one per call; an exception is raised."""

    def __init__(self, *answers: Sequence[Box] | Exception) -> None:
        super().__init__("answers")
        self.answers, self.calls = answers, 0

    def find(self, frame: UInt8Array) -> list[Detection]:
        answer = self.answers[min(self.calls, len(self.answers) - 1)]
        self.calls += 1
        if isinstance(answer, Exception):
            raise answer
        return [Detection(box, 0.9) for box in answer]


def nobody(n_frames: int = N) -> Plan:
    return plan_for({}, n_frames)


def test_a_face_nobody_planned_is_blurred_and_gone_at_the_second_look() -> None:
    frames = draw_frames([[], [square(30)], [], [square(34), square(70)]])
    before = [f.copy() for f in frames]
    checked = OutputCheck(nobody(), SquareDetector(), 0.5)(frames, 0)
    assert [f for f, _ in checked.blurred] == [1, 3, 3]
    assert checked.blurred[0][1] == [30, 22, 50, 42]
    assert checked.unresolved == []
    assert checked.unchecked == []
    assert checked.n_checked == N
    assert not any(painted_pixels(f).any() for f in frames)
    for index in (0, 2):
        assert np.array_equal(frames[index], before[index])


@pytest.mark.parametrize("treatment", ["blur", "pixelate", "solid"])
def test_found_faces_are_hidden_as_asked_for(treatment: str) -> None:
    frames = draw_frames([[square(30)]])
    OutputCheck(nobody(1), SquareDetector(), 0.5, treatment)(frames, 0)  # type: ignore[arg-type]
    assert (frames[0][24:40, 32:48] == 0).all() == (treatment == "solid")
    assert not painted_pixels(frames[0]).any()


def test_numbers_of_frames_are_those_of_the_video() -> None:
    frames = draw_frames([[], [square(30)]])
    checked = OutputCheck(nobody(20), SquareDetector(), 0.5)(frames, 11)
    assert [f for f, _ in checked.blurred] == [12]


@pytest.mark.parametrize("action", ["generate", "blur", "keep"])
def test_a_planned_face_is_explained(action: str) -> None:
    plan = plan_for({"person-1": [square(30)]}, 1)
    plan.tracks[0].action = action  # type: ignore[assignment]
    frames = draw_frames([[square(30)]])
    before = frames[0].copy()
    checked = OutputCheck(plan, SquareDetector(), 0.5)(frames, 0)
    assert checked.blurred == []
    assert np.array_equal(frames[0], before)


@pytest.mark.parametrize(
    ("slip", "is_left"), [(0.0, False), (0.1, False), (0.2, True), (0.47, True)]
)
@pytest.mark.parametrize("axis", [0, 1])
def test_nine_tenths_of_a_face_must_be_covered(slip: float, is_left: bool, axis: int) -> None:
    """A plan by which boxes slipped."""
    face = square(30, side=20)
    moved = [v + 20 * slip * (i % 2 == axis) for i, v in enumerate(face)]
    plan = plan_for({"a": [tuple(moved)]}, 1)  # type: ignore[list-item]
    frames = draw_frames([[face]])
    checked = OutputCheck(plan, SquareDetector(), 0.5, "solid")(frames, 0)
    assert bool(checked.blurred) == is_left
    assert painted_pixels(frames[0]).any() != is_left


@pytest.mark.parametrize("eyes", [((31.0, 30.0), (46.0, 30.0)), None])
def test_eyes_must_be_covered(eyes: tuple[tuple[float, float], ...] | None) -> None:
    box = (30.0, 20.0, 50.0, 44.0)
    face = Detection(box, 0.9, eyes and (*eyes, (40.0, 34.0), (36.0, 40.0), (44.0, 40.0)))
    size = (64, 96)
    whole = [(29.0, 19.0, 51.0, 45.0)]
    assert is_covered(face, whole, size)
    # A hole of a fiftieth of the face, at the eye to the left.
    x, y = (31, 30) if eyes else (36, 29.6)
    around = [(29, 19, x - 1, 45), (x + 1, 19, 51, 45), (29, 19, 51, y - 1), (29, y + 1, 51, 45)]
    assert not is_covered(face, around, size)
    assert is_covered(face, [*around, (x - 2, y - 2, x + 2, y + 2)], size)


def test_what_is_outside_the_frame_needs_no_cover() -> None:
    face = Detection((-30.0, 20.0, 10.0, 60.0), 0.9)
    assert is_covered(face, [(0, 18, 12, 62)], (64, 96))
    assert not is_covered(face, [(0, 18, 6, 62)], (64, 96))
    assert is_covered(Detection((-30.0, 0.0, -5.0, 20.0), 0.9), [], (64, 96))


def test_drawn_faces_are_covered_where_pixels_differ_and_not_by_their_boxes() -> None:
    face = square(30)
    plan = plan_for({"a": [face]}, 1)
    (real,) = draw_frames([[face]])
    frame = real.copy()
    frame[22:42, 30:38] = 90  # the left part alone was drawn
    check = OutputCheck(plan, Answers([face]), 0.5, "solid", drawn=True)
    assert [tuple(box) for _, box in check([frame], 0, [real]).blurred] == [face]
    (oval,) = draw_frames([[face]])
    ys, xs = np.mgrid[0:64, 0:96]
    oval[(xs - 39.5) ** 2 + (ys - 31.5) ** 2 < 10.5**2] = 90
    assert check([oval], 0, [real]).blurred == []
    # A blur leaves some pixels as they were.
    some = oval.copy()
    some[24:40:2, 32:48:2] = real[24:40:2, 32:48:2]
    assert check([some], 0, [real]).blurred == []


def test_a_plan_whose_boxes_slip_ends_in_hidden_faces(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(8))
    plan = plan_video(source, SquareDetector(), cache=tmp_path / "c")
    track = plan.tracks[0]
    track.boxes = [(b[0] + 9, b[1], b[2] + 9, b[3]) for b in track.boxes]
    outcome = run(source, tmp_path / "out.mp4", "solid", plan=plan)
    assert len(outcome.blurred) >= 8
    assert outcome.safe
    assert not any(painted_pixels(f).any() for f in decoded(tmp_path / "out.mp4"))


def test_a_face_that_the_check_sees_in_some_frames_is_blurred_between_them(tmp_path: Path) -> None:
    class SeesSome(SquareDetector):
        def find(self, frame: UInt8Array) -> list[Detection]:
            right = [f for f in super().find(frame) if f.box[0] > 50]
            return right if number_of(frame) % 2 else []

    source = write_clip(tmp_path / "in.mp4", [[square(5), square(60)]] * 9)
    plan = plan_video(source, SquareDetector(), cache=tmp_path / "c")
    plan.tracks = [track for track in plan.tracks if track.boxes[0][0] < 50]
    with patch.object(job, "checking_detector", lambda *_: SeesSome("some")):
        outcome = run(source, tmp_path / "out.mp4", "solid", plan=plan)
    assert [f for f, _ in outcome.blurred] == [1, 3, 5, 7]
    assert not any(painted_pixels(f).any() for f in decoded(tmp_path / "out.mp4"))
    record = read_manifest(tmp_path / "out.mp4")
    assert record is not None
    assert [t["reason"] for t in record["tracks"]][1:] == ["found by the check after rendering"]


@pytest.mark.parametrize(
    ("choice", "given", "names"),
    [
        ("auto", False, ["yunet"]),
        ("auto", True, ["yunet", "squares"]),
        ("same", True, ["squares"]),
        ("CenterFace", False, ["centerface"]),
    ],
)
def test_the_detector_of_the_check(choice: str, given: bool, names: list[str]) -> None:
    detector = checking_detector(CheckOptions(check_detector=choice), SquareDetector(), given)
    assert [part.split("-")[0] for part in detector.name.split("+")] == names
    with pytest.raises(ValueError, match="No detector is called 'other'"):
        CheckOptions(check_detector="other")


def test_a_weak_detection_does_not_count() -> None:
    frames = draw_frames([[square(30)]])
    checked = OutputCheck(nobody(1), SquareDetector(), 0.95)(frames, 0)
    assert checked.blurred == []


def test_a_detector_that_keeps_finding_leaves_it_unresolved() -> None:
    places = [square(x, 5, 10) for x in (5, 25, 45, 65)]
    frames = draw_frames([[]])
    checked = OutputCheck(nobody(1), Answers(*[[p] for p in places]), 0.5)(frames, 0)
    assert [tuple(box) for _, box in checked.blurred] == places[:3]
    assert [(f, tuple(box)) for f, box in checked.unresolved] == [(0, places[3])]


def test_a_face_found_again_under_its_blur_is_not_reported_twice() -> None:
    frames = draw_frames([[]])
    checked = OutputCheck(nobody(1), Answers([square(30)]), 0.5)(frames, 0)
    assert len(checked.blurred) == 1
    assert checked.unresolved == []


def test_where_the_detector_fails_the_frame_is_unchecked() -> None:
    frames = draw_frames([[], [square(30)], []])
    checked = OutputCheck(nobody(3), Failing([2]), 0.5)(frames, 0)
    assert checked.unchecked == [2]
    assert [f for f, _ in checked.blurred] == [1]


@pytest.mark.parametrize("looks", [1, 2, 3])
def test_a_detector_that_fails_at_a_later_look_leaves_the_frame_unchecked(looks: int) -> None:
    """A face was found at every look before: nobody knows whether one is left."""
    places = [[square(x, 5, 10)] for x in (5, 25, 45)][:looks]
    detector = Answers(*places, RuntimeError("out of memory"))
    checked = OutputCheck(nobody(1), detector, 0.5)(draw_frames([[]]), 0)
    assert len(checked.blurred) == looks
    assert checked.unchecked == [0]
    outcome = Outcome()
    outcome.add_checked(checked)
    assert not outcome.safe


def test_frames_blurred_as_a_whole_are_not_looked_at() -> None:
    plan = plan_for({}, 3, undetected=[1])
    detector = Answers([])
    checked = OutputCheck(plan, detector, 0.5)(draw_frames([[], [], []]), 0)
    assert detector.calls == 2
    assert checked.n_checked == 2


def test_covered_share_equals_a_count_of_points() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        corners = rng.integers(0, 20, (int(rng.integers(0, 5)) + 1, 2))
        sizes = rng.integers(1, 12, corners.shape)
        boxes = np.concatenate([corners, corners + sizes], axis=1).astype(float) + 0.5
        box, regions = boxes[0].tolist(), boxes[1:].tolist()
        ys, xs = np.mgrid[0:40, 0:40] + 1.0  # between the corners, which lie at halves
        inside = (xs > box[0]) & (xs < box[2]) & (ys > box[1]) & (ys < box[3])
        union = np.zeros_like(inside)
        for x0, y0, x1, y1 in regions:
            union |= (xs > x0) & (xs < x1) & (ys > y0) & (ys < y1)
        assert covered_share(box, regions) == pytest.approx((inside & union).sum() / inside.sum())


def test_covered_share_of_simple_cases() -> None:
    assert covered_share((0, 0, 4, 4), []) == 0
    assert covered_share((0, 0, 4, 4), [(-1, -1, 9, 9)]) == 1
    assert covered_share((0, 0, 4, 4), [(0, 0, 2, 4), (0, 0, 2, 4)]) == 0.5
    assert covered_share((0, 0, 4, 4), [(0, 0, 2, 4), (1, 0, 4, 2)]) == 0.75


def test_a_video_in_which_faces_are_left_is_not_safe(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(3))
    outcome = run(source, tmp_path / "out.mp4", "blur", NeverSatisfied())
    assert outcome.exit_code == UNRESOLVED == 3
    assert {f for f, _ in outcome.unresolved} == {0, 1, 2}
    record = read_manifest(tmp_path / "out.mp4")
    assert record is not None
    assert record["safe"] == outcome.verdict == "faces left"
    assert len(record["verify"]["unresolved"]) == len(outcome.unresolved)


def test_a_video_whose_check_fails_is_not_safe(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(6))
    outcome = run(source, tmp_path / "out.mp4", "blur", Failing([4], painted=False))
    assert outcome.unchecked == [4]
    assert outcome.exit_code == UNRESOLVED
    assert not any(painted_pixels(f).any() for f in decoded(tmp_path / "out.mp4"))


def test_faces_missed_in_pass_1_are_blurred_in_the_file(tmp_path: Path) -> None:
    """A plan with a hole, as a person may have edited it."""
    source = write_clip(tmp_path / "in.mp4", [[square(5), square(60)]] * 6)
    outcome = run(source, tmp_path / "whole.mp4", "solid", cache=tmp_path / "c")
    assert outcome.blurred == []
    plan = plan_video(source, SquareDetector(), cache=tmp_path / "c")
    plan.tracks.pop()
    outcome = run(source, tmp_path / "out.mp4", "solid", plan=plan)
    assert [f for f, _ in outcome.blurred] == list(range(6))
    assert outcome.safe
    frames = decoded(tmp_path / "out.mp4")
    assert not any(painted_pixels(f).any() for f in frames)
    assert all((f[24:40, 62:78] < 12).all() for f in frames)


def test_without_check_the_manifest_says_so(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(3))
    outcome = run(source, tmp_path / "out.mp4", verify=False)
    record = read_manifest(tmp_path / "out.mp4")
    assert record is not None
    assert record["verify"]["frames_checked"] == 0
    assert record["safe"] == outcome.verdict == "not checked"
    assert not outcome.safe
    assert outcome.exit_code == 0
    assert done(source, tmp_path / "out.mp4")
    assert record["settings"]["check"]["verify"] is False


class MeanColor:
    """Faces of one mean colour are one person; the painted ones are grey on average."""

    name = "mean-color"

    def __init__(self, threshold: float = 0.2) -> None:
        self.threshold, self.looked = threshold, 0

    def __call__(self, frame: UInt8Array, box: Sequence[float]) -> FloatArray | None:
        x0, y0, x1, y1 = (round(v) for v in box)
        self.looked += 1
        mean: FloatArray = frame[y0:y1, x0:x1].mean(axis=(0, 1)) / 255
        return mean


def test_distances_are_measured_in_detected_frames_of_drawn_tracks_only() -> None:
    plan = plan_for({"a": [square(5)] * 9, "b": [square(40)] * 9, "c": [square(70)] * 9}, 9)
    plan.tracks[0].origins = ["padded"] * 2 + ["filled"] + ["detected"] * 6
    plan.tracks[1].action, plan.tracks[2].action = "blur", "keep"
    real = draw_frames([[square(5), square(40), square(70)]] * 9)
    drawn = [np.zeros_like(f) for f in real]
    embedder = MeanColor()
    check = IdentityCheck(plan, embedder, every=4)
    whole = check(real, drawn, 0)
    # Frames 3, 4, 5 or 6, 7, 8 of the first, 0, 2, 4, 6, 8 of the second; twice each.
    assert embedder.looked == 20
    assert {number: len(found) for number, found in whole.items()} == {0: 5, 1: 5}
    assert whole[0] == pytest.approx([np.sqrt(3) / 2] * 5, abs=0.02)
    first, second = check(real[:4], drawn[:4], 0), check(real[4:], drawn[4:], 4)
    assert {n: first.get(n, []) + second.get(n, []) for n in whole} == whole
    assert check(real[5:6], drawn[5:6], 5).keys() <= {0}
    assert check.not_comparable == {}


@pytest.mark.parametrize(("n_frames", "every", "looks"), [(3, 50, 3), (40, 50, 5), (400, 50, 8)])
def test_every_track_is_looked_at_five_times_at_least_and_from_end_to_end(
    n_frames: int, every: int, looks: int
) -> None:
    at = _looks(["padded", *["detected"] * n_frames, "padded"], every)
    assert len(at) == looks
    assert (at[0], at[-1]) == (1, n_frames)
    assert np.ptp(np.diff(at)) <= 1


def test_looks_without_anything_to_compare_are_counted() -> None:
    class SeesNobody(MeanColor):
        def __call__(self, frame: UInt8Array, box: Sequence[float]) -> FloatArray | None:
            return super().__call__(frame, box) if frame.any() else None

    plan = plan_for({"a": [square(5)] * 6, "b": [square(40)] * 6}, 6)
    plan.tracks[1].action = "keep"
    real = draw_frames([[square(5), square(40)]] * 6)
    check = IdentityCheck(plan, SeesNobody())
    assert check(real, [np.zeros_like(f) for f in real], 0) == {}
    assert check.not_comparable == {0: 5}
    outcome = Outcome()
    outcome.add_not_comparable(check.not_comparable)
    outcome.add(Outcome.from_dict(json.loads(json.dumps(outcome.as_dict()))))
    assert outcome.not_comparable == {0: 10}


def test_one_look_in_which_the_real_person_is_recognised_is_enough() -> None:
    plan = plan_for({"a": [square(5)], "b": [square(40)], "c": [square(70)]}, 1)
    plan.tracks[2].action = "solid"
    outcome = Outcome(distances={0: [0.9, 0.9, 0.15, 0.9], 1: [0.9] * 4, 2: [0.1]})
    assert outcome.alike(plan, 0.2) == {0: 0.15}


def test_a_drawn_face_that_passes_for_the_real_one_is_hidden_more_and_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "recogniser", lambda check: (MeanColor(), ""))
    source = write_clip(tmp_path / "in.mp4", moving(12))
    grey, black = SolidGenerator((32, 32), value=0.0), SolidGenerator((32, 32), value=-1.0)
    options = {"color_match": False, "identity_every": 5}
    run(source, tmp_path / "other.mp4", black, **options)
    record = read_manifest(tmp_path / "other.mp4")
    assert record is not None
    (track,) = record["tracks"]
    assert track["action"] == "generate"
    assert track["distance_to_original"]["n"] == 5
    assert track["distance_to_original"]["min"] > 0.5
    assert track["looks_not_comparable"] == 0
    assert record["identity"] == {
        "recogniser": "mean-color",
        "models_sha256": {},
        "threshold": 0.2,
        "evidence": None,
    }

    # The mean of the blur is the real face's, too: nothing but black is left.
    told: list[str] = []
    keep_plan = Workspace.keep_plan

    def listening(self: Workspace, plan: Plan) -> Plan:
        told.extend(f"{track.action}: {track.reason}" for track in plan.tracks)
        return keep_plan(self, plan)

    monkeypatch.setattr(Workspace, "keep_plan", listening)
    outcome = run(source, tmp_path / "alike.mp4", grey, **options)
    record = read_manifest(tmp_path / "alike.mp4")
    assert record is not None
    assert [line.split(" (")[0] for line in told] == [
        "generate: ",
        "blur: the drawn face passed for the real person",
        "solid: the blurred face passed for the real person",
    ]
    assert [track["action"] for track in record["tracks"]] == ["solid"]
    assert outcome.n_drawn == 0
    assert outcome.safe
    for i, frame in enumerate(decoded(tmp_path / "alike.mp4")):
        x = round(12 + 0.9 * i)
        assert (frame[24:40, x + 2 : x + 18] < 12).all()


@pytest.mark.parametrize(("treatment", "action"), [("blur", "solid"), ("solid", "solid")])
def test_a_treated_face_that_passes_for_the_real_one_becomes_black(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, treatment: str, action: str
) -> None:
    class TakesAllForOne(MeanColor):
        def __call__(self, frame: UInt8Array, box: Sequence[float]) -> FloatArray | None:
            return np.zeros(3)

    monkeypatch.setattr(job, "recogniser", lambda check: (TakesAllForOne(), ""))
    source = write_clip(tmp_path / "in.mp4", moving(4))
    run(source, tmp_path / "out.mp4", treatment)
    record = read_manifest(tmp_path / "out.mp4")
    assert record is not None
    assert [track["action"] for track in record["tracks"]] == [action]
    assert record["tracks"][0]["distance_to_original"] == {"n": 4, "min": 0, "max": 0}
    assert all((f[26:38, 18:28] < 12).all() for f in decoded(tmp_path / "out.mp4"))


def test_only_the_track_that_is_alike_is_blurred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class LooksAtTheLeft(MeanColor):
        def __call__(self, frame: UInt8Array, box: Sequence[float]) -> FloatArray | None:
            return np.zeros(3) if box[0] < 30 else super().__call__(frame, box)

    monkeypatch.setattr(job, "recogniser", lambda check: (LooksAtTheLeft(), ""))
    monkeypatch.setattr(video_job, "_STRETCH_FRAMES", 4)
    source = write_clip(tmp_path / "in.mp4", [[square(5), square(60)]] * 8)
    run(source, tmp_path / "out.mp4", SolidGenerator((32, 32), value=0.6), color_match=False)
    record = read_manifest(tmp_path / "out.mp4")
    assert record is not None
    assert [t["action"] for t in record["tracks"]] == ["solid", "generate"]
    for frame in decoded(tmp_path / "out.mp4"):
        assert (frame[26:38, 9:21] < 12).all()
        assert not painted_pixels(frame).any()


@pytest.mark.parametrize("origin", ["edited", "filled"])
def test_a_track_without_detections_is_compared_too(origin: Origin) -> None:
    plan = plan_for({"a": [square(5)] * 9}, 9)
    plan.tracks[0].origins = [origin] * 9
    real = draw_frames([[square(5)]] * 9)
    found = IdentityCheck(plan, MeanColor(), every=4)(real, [np.zeros_like(f) for f in real], 0)
    assert len(found[0]) == 5
