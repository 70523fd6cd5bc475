"""Which consecutive frames become clips."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from dp3_lightning.data.clip_index import clips_of_video, measured_jitter, seconds_to_frames
from dp3_lightning.faces.analysis import VideoAnalysis

SIZE = (100, 200)


def face(x: float, score: float = 0.9, side: float = 20.0) -> list[float]:
    return [x, 10.0, x + side, 10.0 + 1.5 * side, score]


def video(
    faces: list[list[list[float]]], breaks: list[int] | None = None, lost: list[int] | None = None
) -> VideoAnalysis:
    return VideoAnalysis(len(faces), SIZE, breaks or [], lost or [], faces)


def starts(analysis: VideoAnalysis, length: int, stride: int, **options: float) -> list[int]:
    everything = range(analysis.n_frames)
    entries = clips_of_video(analysis, 0, everything, length, stride, **options)
    assert all(len(e.boxes) == length for e in entries)
    return [e.start for e in entries]


@pytest.mark.parametrize(
    ("length", "stride", "expected"),
    [
        (4, 1, list(range(7))),
        (4, 4, [0, 4]),
        (3, 5, [0, 5]),
        (10, 1, [0]),
        (11, 1, []),
        (1, 9, [0, 9]),
    ],
)
def test_length_and_stride(length: int, stride: int, expected: list[int]) -> None:
    assert starts(video([[face(10)]] * 10), length, stride) == expected


def test_no_clip_crosses_a_cut() -> None:
    assert starts(video([[face(10)]] * 10, breaks=[4]), 3, 1) == [0, 1, 4, 5, 6, 7]
    assert starts(video([[face(10)]] * 10, breaks=[4, 5]), 2, 1) == [0, 1, 2, 5, 6, 7, 8]


def test_no_clip_holds_a_lost_frame() -> None:
    # Frames 3 and 4 are lost; without the break the gap would be interpolated as a missed face.
    faces = [[] if i in (3, 4) else [face(10)] for i in range(10)]
    assert starts(video(faces, breaks=[5], lost=[3, 4]), 3, 1) == [0, 5, 6, 7]
    assert starts(video(faces, lost=[3, 4]), 3, 1) == [0, 5, 6, 7]
    assert starts(video(faces), 3, 1) == list(range(8))


def test_boxes_are_the_detections_and_missed_ones_are_interpolated() -> None:
    faces = [[face(10 + i)] if i != 4 else [] for i in range(8)]
    (entry,) = clips_of_video(video(faces), 5, range(8), 8, 8)
    assert entry.video == 5
    np.testing.assert_allclose(entry.boxes[:, 0], 10 + np.arange(8))


def test_span_bounds_the_frames() -> None:
    analysis = video([[face(10 + i)] for i in range(12)], breaks=[6])
    entries = clips_of_video(analysis, 0, range(3, 10), 3, 1)
    assert [e.start for e in entries] == [3, 6, 7]
    for entry in entries:  # boxes belong to their frames of the video, not of the span
        np.testing.assert_allclose(entry.boxes[:, 0], 10 + entry.start + np.arange(3))
    assert [e.start for e in clips_of_video(analysis, 0, range(6, 99), 3, 1)] == [6, 7, 8, 9]
    assert clips_of_video(analysis, 0, range(4, 6), 3, 1) == []


def test_each_face_of_a_frame_has_its_own_clips() -> None:
    entries = clips_of_video(video([[face(10), face(120)]] * 6), 0, range(6), 3, 3)
    assert sorted((e.start, e.boxes[0, 0]) for e in entries) == [
        (0, 10),
        (0, 120),
        (3, 10),
        (3, 120),
    ]


def test_small_faces_are_left_out_by_their_shorter_side() -> None:
    analysis = video([[face(10, side=15.0)]] * 4)
    assert starts(analysis, 4, 1) == []
    assert starts(analysis, 4, 1, min_face_size=15.0) == [0]


def test_doubtful_faces_are_left_out() -> None:
    doubtful = video([[face(10, score=0.4)]] * 6)
    assert starts(doubtful, 3, 1) == []
    assert starts(doubtful, 3, 1, min_score=0.4) == [0, 1, 2, 3]
    # One confident frame carries the clips that hold it.
    once = video([[face(10, score=0.9 if i == 1 else 0.4)] for i in range(6)])
    assert starts(once, 3, 1) == [0, 1]


def test_seconds_to_frames() -> None:
    times = [float(Fraction(i, 25)) for i in range(50)]
    assert seconds_to_frames(times, 0.0, None) == range(50)
    assert seconds_to_frames(times, 0.4, 1.0) == range(10, 25)
    assert seconds_to_frames(times, 1.99, 9.0) == range(50, 50)
    later = [t + 3600.0 for t in times]  # a stream that starts late counts from its first frame
    assert seconds_to_frames(later, 0.41, 1.01) == range(11, 26)
    uneven = [0.0, 0.1, 0.5, 0.6, 2.0]
    assert seconds_to_frames(uneven, 0.2, 2.0) == range(2, 4)
    assert seconds_to_frames([], 0.0, 1.0) == range(0)


def test_adjoining_parts_share_no_frame() -> None:
    times = [float(Fraction(i * 1001, 30000)) for i in range(300)]
    parts = [seconds_to_frames(times, float(s), s + 1.0) for s in range(10)]
    parts.append(seconds_to_frames(times, 10.0, None))
    assert [i for part in parts for i in part] == list(range(300))


@pytest.mark.parametrize("side", [20.0, 80.0])
def test_jitter_is_measured_relative_to_the_face_and_blind_to_steady_motion(side: float) -> None:
    t = np.arange(400.0)[:, None]
    steady = np.array([10.0, 20.0, 10.0 + side, 20.0 + side]) + t * np.array([1.0, 0.5, 1.0, 0.5])
    assert measured_jitter(steady) == pytest.approx(0.0, abs=1e-9)
    tremble = np.random.default_rng(0).normal(0, 0.05 * side, size=steady.shape)
    assert measured_jitter(steady + tremble) == pytest.approx(0.05, rel=0.1)
    assert measured_jitter(steady[:2]) == 0.0


def test_cover_end_leaves_no_frame_out() -> None:
    entries = clips_of_video(video([[face(10)]] * 10), 0, range(10), 4, 4, cover_end=True)
    assert [e.start for e in entries] == [0, 4, 6]
    exact = clips_of_video(video([[face(10)]] * 8), 0, range(8), 4, 4, cover_end=True)
    assert [e.start for e in exact] == [0, 4]
    assert clips_of_video(video([[face(10)]] * 3), 0, range(3), 4, 4, cover_end=True) == []


def test_entries_name_their_track_and_the_other_faces() -> None:
    faces = [[face(10), face(120)]] * 3 + [[face(10)]] * 3
    entries = clips_of_video(video(faces), 0, range(6), 3, 3)
    left = [e for e in entries if e.boxes[0, 0] == 10]
    assert len({e.track for e in left}) == 1
    assert {e.track for e in entries} != {left[0].track}
    assert [len(boxes) for boxes in left[0].others] == [1, 1, 1]
    assert left[0].others[0][0, 0] == 120
    assert [len(boxes) for boxes in left[1].others] == [0, 0, 0]
