"""The one pass over a video, and its cache."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import av
import numpy as np
import pytest

from dp3_lightning.data.synthetic import synthetic_clip
from dp3_lightning.faces.analysis import (
    VideoAnalysis,
    analyze,
    cached_analysis,
    longest_face_run,
)
from dp3_lightning.structures import Detection, UInt8Array
from dp3_lightning.video import VideoReader, write_video
from tests.training_fixtures import RecordedDetector, write_people
from tests.video.numbered_clips import B_FRAMES, damage, encode

SIZE = (48, 64)


class EveryFrame:
    """One face at the same place in every frame; remembers how many frames it was given at once."""

    def __init__(self) -> None:
        self.name = "every-frame"
        self.batches: list[int] = []

    def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
        self.batches.append(len(frames))
        return [[Detection((20.0, 10.0, 40.0, 34.0), 0.9)] for _ in frames]


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[Path, RecordedDetector]:
    detector = write_people(tmp_path, ["ann"], n_frames=21, size=SIZE, cuts=(9,))
    return tmp_path / "ann" / "clip.mkv", detector


def test_finds_every_face_and_the_cut(recorded: tuple[Path, RecordedDetector]) -> None:
    path, detector = recorded
    with VideoReader(path) as reader:
        analysis = analyze(reader, detector)
    truth = synthetic_clip(n_frames=21, size=SIZE, cuts=(9,))
    assert (analysis.n_frames, analysis.size) == (21, SIZE)
    assert (analysis.breaks, analysis.lost) == ([9], [])
    np.testing.assert_array_equal([f[0][:4] for f in analysis.faces], truth.boxes)
    assert analysis.detections(3, 5) == [
        [Detection(tuple(truth.boxes[3]), 0.9)],
        [Detection(tuple(truth.boxes[4]), 0.9)],
    ]


def test_fast_motion_is_no_cut_and_a_higher_threshold_ignores_cuts(
    recorded: tuple[Path, RecordedDetector], tmp_path: Path
) -> None:
    clip = synthetic_clip(n_frames=12, size=SIZE, motion=1.5, noise=2.0, occluder=True)
    path = write_video(tmp_path / "fast.mkv", list(clip.frames), 25, lossless=True)
    assert analyze(VideoReader(path), EveryFrame()).breaks == []
    assert analyze(VideoReader(recorded[0]), EveryFrame(), cut_threshold=200.0).breaks == []


def test_detector_gets_a_few_frames_at_a_time(recorded: tuple[Path, RecordedDetector]) -> None:
    detector = EveryFrame()
    analyze(VideoReader(recorded[0]), detector)
    assert sum(detector.batches) == 21
    assert max(detector.batches) <= 16  # a long video must not lie in memory as a whole


def test_lost_frames_are_breaks_without_faces(tmp_path: Path) -> None:
    clip = synthetic_clip(n_frames=40, size=SIZE)
    pictures = [av.VideoFrame.from_ndarray(frame) for frame in clip.frames]
    whole = encode(tmp_path / "whole.mp4", options=B_FRAMES, pictures=pictures)
    path = damage(whole, tmp_path / "damaged.mp4", range(14, 18))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        analysis = analyze(VideoReader(path), EveryFrame())
    assert analysis.n_frames == 40
    assert analysis.lost
    assert set(analysis.lost) < set(range(12, 24))
    after = [i for i in range(1, 40) if i - 1 in analysis.lost and i not in analysis.lost]
    assert analysis.breaks == after  # the first frame after each loss does not continue anything
    assert [not f for f in analysis.faces] == [i in analysis.lost for i in range(40)]


def test_second_run_asks_the_cache_and_not_the_detector(
    recorded: tuple[Path, RecordedDetector], tmp_path: Path
) -> None:
    path, detector = recorded
    first = cached_analysis(path, detector, tmp_path / "cache")
    assert detector.calls == 21
    moved = shutil.copy(path, tmp_path / "other_name.mkv")
    assert cached_analysis(path, detector, tmp_path / "cache") == first
    assert cached_analysis(Path(moved), detector, tmp_path / "cache") == first
    assert detector.calls == 21


def test_changed_content_and_another_detector_are_analysed_anew(
    recorded: tuple[Path, RecordedDetector], tmp_path: Path
) -> None:
    path, detector = recorded
    first = cached_analysis(path, detector, tmp_path / "cache")
    other = EveryFrame()
    assert cached_analysis(path, other, tmp_path / "cache") != first
    assert sum(other.batches) == 21
    clip = synthetic_clip(n_frames=5, size=SIZE, seed=9)
    write_video(path, list(clip.frames), 25, lossless=True)  # same name, other content
    assert cached_analysis(path, detector, tmp_path / "cache").n_frames == 5
    assert detector.calls == 26


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b'{"n_frames": 21',
        b'{"n_frames": 21, "size": 5, "breaks": [], "lost": [], "faces": []}',
        b'{"n_frames": 21, "size": [48, 64], "breaks": [], "lost": [], "faces": [[]]}',
    ],
)
def test_damaged_cache_file_is_made_again(
    recorded: tuple[Path, RecordedDetector], tmp_path: Path, content: bytes
) -> None:
    path, detector = recorded
    first = cached_analysis(path, detector, tmp_path / "cache")
    (entry,) = (tmp_path / "cache").iterdir()
    good = entry.read_bytes()
    entry.write_bytes(content)
    assert cached_analysis(path, detector, tmp_path / "cache") == first
    assert detector.calls == 42
    assert entry.read_bytes() == good
    assert list((tmp_path / "cache").iterdir()) == [entry]  # no temporary file left


def test_cache_holds_numbers_and_no_pixels(
    recorded: tuple[Path, RecordedDetector], tmp_path: Path
) -> None:
    path, detector = recorded
    cached_analysis(path, detector, tmp_path / "cache")
    (entry,) = (tmp_path / "cache").iterdir()
    data = json.loads(entry.read_text())
    assert set(data) == {"n_frames", "size", "breaks", "lost", "faces", "undetected", "jumps"}
    assert all(len(face) == 5 for found in data["faces"] for face in found)
    assert "ann" not in entry.name  # nor the name of the person


def test_longest_run_of_faces_stops_at_cuts_and_gaps() -> None:
    face = [[1.0, 2.0, 3.0, 4.0, 0.9]]

    def analysis(pattern: str, breaks: list[int]) -> VideoAnalysis:
        faces = [face if letter == "f" else [] for letter in pattern]
        return VideoAnalysis(len(pattern), SIZE, breaks, [], faces)

    assert longest_face_run([analysis("fff.ffff", [])]) == 4
    assert longest_face_run([analysis("ffffffff", [3]), analysis("ff", [])]) == 5
    assert longest_face_run([analysis("...", [])]) == 0
