"""One pass over a video: where are faces, where does it cut, what is lost. Cached by content."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dp3_lightning.assets import cache_folder
from dp3_lightning.structures import Detection, FaceDetector, UInt8Array
from dp3_lightning.video import VideoReader

ANALYSIS_VERSION = 1
# Mean change of hue, saturation and value (levels of 0..255) from frame to frame that counts as a
# cut: the score and the default threshold of PySceneDetect's ContentDetector. That package needs
# the opencv-python wheel, which overwrites our headless one, so the few lines stand here.
CUT_THRESHOLD = 27.0
_CUT_WIDTH = 128
_DETECTOR_BATCH = 16


@dataclass
class VideoAnalysis:
    """What one pass over a video found; no pixels.

    Attributes:
        n_frames: number of frames in the index.
        size: ``(height, width)`` of the first frame.
        breaks: indices of frames that do not continue the one before (cut, lost frame, new size).
        lost: indices of frames that could not be decoded.
        faces: per frame, a list of ``[x0, y0, x1, y1, score]`` in pixels.
    """

    n_frames: int
    size: tuple[int, int]
    breaks: list[int]
    lost: list[int]
    faces: list[list[list[float]]]

    def detections(self, start: int, stop: int) -> list[list[Detection]]:
        """Return the faces of frames ``start`` to ``stop - 1``."""
        return [
            [Detection((f[0], f[1], f[2], f[3]), f[4]) for f in frame]
            for frame in self.faces[start:stop]
        ]


def content_change(frame: UInt8Array, before: UInt8Array) -> float:
    """Return the mean absolute difference in hue, saturation and value of two small RGB frames."""
    hsv = [cv2.cvtColor(f, cv2.COLOR_RGB2HSV).astype(np.int16) for f in (frame, before)]
    return float(np.abs(hsv[0] - hsv[1]).mean())


def analyze(
    reader: VideoReader, detector: FaceDetector, cut_threshold: float = CUT_THRESHOLD
) -> VideoAnalysis:
    """Decode a video once: detect faces in every frame and find cuts.

    Args:
        reader: the video.
        detector: face detector, given a few frames at a time.
        cut_threshold: change of content that counts as a cut, levels of 0..255.
    """
    faces: list[list[list[float]]] = [[] for _ in range(len(reader))]
    breaks: list[int] = []
    seen: list[int] = []
    pending: list[tuple[int, UInt8Array]] = []
    before: UInt8Array | None = None
    size = reader.size
    shape: tuple[int, ...] | None = None

    def detect() -> None:
        for (index, _), found in zip(pending, detector([f for _, f in pending]), strict=True):
            faces[index] = [[*map(float, d.box), float(d.score)] for d in found]
        pending.clear()

    for index, frame in reader.iter_indexed():
        height = max(1, round(frame.shape[0] * _CUT_WIDTH / frame.shape[1]))
        small = cv2.resize(frame, (_CUT_WIDTH, height), interpolation=cv2.INTER_AREA)
        follows = bool(seen) and seen[-1] == index - 1 and shape == frame.shape
        if seen and (not follows or content_change(small, before) > cut_threshold):  # type: ignore[arg-type]
            breaks.append(index)
        before, shape = small, frame.shape
        seen.append(index)
        pending.append((index, frame))
        if len(pending) == _DETECTOR_BATCH:
            detect()
    if pending:
        detect()
    lost = sorted(set(range(len(reader))) - set(seen))
    return VideoAnalysis(len(reader), size, breaks, lost, faces)


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's content; read once per process while it does not change."""
    state = path.stat()
    return _content_hash(path, state.st_size, state.st_mtime_ns)


@cache
def _content_hash(path: Path, size: int, modified: int) -> str:
    del size, modified  # they are in the key
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def cached_analysis(path: Path, detector: FaceDetector, cache: Path | None = None) -> VideoAnalysis:
    """Return the analysis of a video from the cache, or make and store it.

    The cache holds boxes and frame numbers, no pixels. Its key is the content of the video and the
    detector's name, so that a moved file is found again and a changed one is not.

    Args:
        path: the video.
        detector: see :func:`analyze`.
        cache: folder; default: ``faces`` beside the assets.
    """
    folder = cache if cache is not None else cache_folder() / "faces"
    name = f"{detector.name}|{ANALYSIS_VERSION}|{CUT_THRESHOLD}"
    detector_key = hashlib.sha256(name.encode()).hexdigest()[:12]
    entry = folder / f"{file_hash(path)[:32]}-{detector_key}.json"
    known = _read(entry)
    if known is not None:
        return known
    with VideoReader(path) as reader:
        analysis = analyze(reader, detector)
    _write(entry, asdict(analysis))
    return analysis


def _read(entry: Path) -> VideoAnalysis | None:
    try:
        data = json.loads(entry.read_text(encoding="utf-8"))
        known = VideoAnalysis(**{**data, "size": tuple(data["size"])})
        return known if len(known.faces) == known.n_frames else None
    except (OSError, ValueError, TypeError, KeyError):
        return None  # absent or damaged: made again


def _write(entry: Path, data: dict[str, Any]) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=entry.parent, suffix=".tmp")
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(data, stream)
    os.replace(temporary, entry)


def longest_face_run(analyses: Iterable[VideoAnalysis]) -> int:
    """Return the largest number of consecutive frames with a face, for error messages."""
    longest = 0
    for analysis in analyses:
        run, starts = 0, set(analysis.breaks)
        for index, found in enumerate(analysis.faces):
            run = (0 if index in starts else run) + 1 if found else 0
            longest = max(longest, run)
    return longest
