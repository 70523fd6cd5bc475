from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dp3_lightning.anonymize.planning.person_labels import link_by_face
from dp3_lightning.anonymize.planning.plan import PlannedTrack
from dp3_lightning.structures import FloatArray, UInt8Array
from dp3_lightning.video import VideoReader, write_video

BOX = (8.0, 8.0, 40.0, 40.0)


class ByBrightness:
    """Embeds a face as its brightness, so that grey levels are people."""

    name = "brightness"
    threshold = 0.1

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, frame: UInt8Array, box: Sequence[float]) -> FloatArray | None:
        self.seen += 1
        x0, y0, x1, y1 = (round(v) for v in box)
        level = frame[y0 + 4 : y1 - 4, x0 + 4 : x1 - 4].mean() / 255
        return None if level == 0 else np.array([level, 0.0])


def scenes(folder: Path, *levels: int, n: int = 5) -> VideoReader:
    """One face per scene of ``n`` frames; its grey level says who it is."""
    frames = []
    for level in levels:
        frame = np.full((48, 96, 3), 10, np.uint8)
        frame[8:40, 8:40] = level
        frame[8:40, 52:84] = 255 - level
        frames += [frame] * n
    return VideoReader(write_video(folder / "scenes.mkv", frames, 25, lossless=True))


def track(number: int, start: int, n: int = 5, box: tuple[float, ...] = BOX) -> PlannedTrack:
    return PlannedTrack(f"person-{number}", start, [box] * n, ["detected"] * n)  # type: ignore[list-item]


def test_a_person_keeps_the_label_across_cuts(tmp_path: Path) -> None:
    reader = scenes(tmp_path, 100, 180, 104, 60)
    tracks = [track(i + 1, 5 * i) for i in range(4)]
    embedder = ByBrightness()
    link_by_face(tracks, reader, embedder)
    assert [t.person for t in tracks] == ["person-1", "person-2", "person-1", "person-3"]
    assert embedder.seen == 12  # three frames of each


def test_two_faces_of_one_frame_are_two_people(tmp_path: Path) -> None:
    reader = scenes(tmp_path, 127)  # the second face is 128: hardly another level
    tracks = [track(1, 0), track(2, 0, box=(52.0, 8.0, 84.0, 40.0))]
    link_by_face(tracks, reader, ByBrightness())
    assert [t.person for t in tracks] == ["person-1", "person-2"]


def test_doubt_leaves_two_people(tmp_path: Path) -> None:
    # 0.09 apart: below the threshold of verification, above that of linking.
    reader = scenes(tmp_path, 100, 123)
    tracks = [track(1, 0), track(2, 5)]
    link_by_face(tracks, reader, ByBrightness())
    assert len({t.person for t in tracks}) == 2


@pytest.mark.parametrize("origin", ["filled", "detected"])
def test_faces_that_cannot_be_embedded_stay_apart(tmp_path: Path, origin: str) -> None:
    reader = scenes(tmp_path, 0, 0)
    tracks = [track(1, 0), track(2, 5)]
    for t in tracks:
        t.origins = [origin] * 5  # type: ignore[list-item]
    link_by_face(tracks, reader, ByBrightness())
    assert len({t.person for t in tracks}) == 2
