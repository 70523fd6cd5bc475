"""Find faces, cuts and lost frames in one pass over a video, cached by content."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from dp3_lightning.assets import AssetUnavailableError, cache_folder
from dp3_lightning.faces.continuity import CUT_THRESHOLD, Look, content_change
from dp3_lightning.runtime.files import write_json
from dp3_lightning.structures import Detection, FaceDetector, UInt8Array
from dp3_lightning.video import FrameUnavailableError, VideoReader

ANALYSIS_VERSION = 2
_DETECTOR_BATCH = 16
_BLOCK = 500  # frames between two stores


@dataclass
class VideoAnalysis:
    """Hold the results of one pass over a video, without pixels.

    Attributes:
        n_frames: number of frames in the index.
        size: ``(height, width)`` of the first frame.
        breaks: indices of frames that do not continue the one before (cut, lost frame, new size).
        lost: indices of frames that could not be decoded.
        faces: per frame, a list of ``[x0, y0, x1, y1, score]`` in pixels.
        undetected: indices of frames in which the detector failed.
        jumps: ``[frame, x0, y0, x1, y1]``: a part of the picture that changes at once, where the
            video tells only differences: perhaps damage that the decoder did not notice.
    """

    n_frames: int
    size: tuple[int, int]
    breaks: list[int]
    lost: list[int]
    faces: list[list[list[float]]]
    undetected: list[int] = field(default_factory=list)
    jumps: list[list[float]] = field(default_factory=list)

    def joined(self, other: VideoAnalysis) -> VideoAnalysis:
        """Merge the results of other frames of the same video."""
        return VideoAnalysis(
            self.n_frames,
            self.size,
            sorted({*self.breaks, *other.breaks}),
            sorted({*self.lost, *other.lost}),
            [a or b for a, b in zip(self.faces, other.faces, strict=True)],
            sorted({*self.undetected, *other.undetected}),
            sorted([*self.jumps, *other.jumps]),
        )

    def detections(self, start: int, stop: int) -> list[list[Detection]]:
        """Return the faces of frames ``start`` to ``stop - 1``."""
        return [
            [Detection((f[0], f[1], f[2], f[3]), f[4]) for f in frame]
            for frame in self.faces[start:stop]
        ]


def analyze(
    reader: VideoReader,
    detector: FaceDetector,
    cut_threshold: float = CUT_THRESHOLD,
    *,
    lenient: bool = False,
) -> VideoAnalysis:
    """Decode a video once: detect faces in every frame and find cuts.

    Args:
        reader: the video.
        detector: face detector, given a few frames at a time.
        cut_threshold: change of content that counts as a cut, levels of 0..255.
        lenient: continue when the detector fails in a frame, and list it as undetected.

    Raises:
        Exception: what the detector raises, unless ``lenient``.
    """
    analyzer = _Analyzer(reader, detector, cut_threshold, lenient)
    return analyzer.block(range(len(reader)))


class _Analyzer:
    """Analyse a video block by block.

    Args:
        reader: the video.
        detector: face detector.
        cut_threshold: as in :func:`analyze`.
        lenient: as in :func:`analyze`.
        progress: called with the number of frames done.
    """

    def __init__(
        self,
        reader: VideoReader,
        detector: FaceDetector,
        cut_threshold: float = CUT_THRESHOLD,
        lenient: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.reader, self.detector = reader, detector
        self.cut_threshold, self.lenient = cut_threshold, lenient
        self.progress = progress or (lambda done: None)
        self.before: Look | None = None
        self.next = 0  # frame after the last one looked at

    def block(self, frames: range) -> VideoAnalysis:
        """Analyse some frames; the lists of the result are as long as the whole video."""
        count = len(self.reader)
        result = VideoAnalysis(count, self.reader.size, [], [], [[] for _ in range(count)])
        pending: list[tuple[int, UInt8Array]] = []
        if frames.start != self.next:  # blocks before this one were done in an earlier run
            self.before = None
            with contextlib.suppress(FrameUnavailableError):
                self.before = Look.at(frames.start - 1, self.reader.frame(frames.start - 1))
        for index in frames:
            try:
                frame = self.reader.frame(index)
            except FrameUnavailableError:
                result.lost.append(index)
            else:
                self._compare(index, frame, result)
                pending.append((index, frame))
            if len(pending) == _DETECTOR_BATCH:
                self._detect(pending, result)
            self.progress(index + 1)
        self._detect(pending, result)
        self.next = frames.stop
        if frames.stop == count:
            self.reader.report_losses()
        return result

    def _compare(self, index: int, frame: UInt8Array, result: VideoAnalysis) -> None:
        """Note whether a frame does not continue the one before; makes it the one before."""
        before, now = self.before, Look.at(index, frame)
        self.before = now
        if before is None or not now.follows(before):
            result.breaks += [index] if index > 0 else []
            return
        if content_change(now.small, before.small) > self.cut_threshold:
            result.breaks.append(index)
        jump = None if self.reader.stands_alone(index) else now.jump_since(before)
        if jump is not None:
            result.jumps.append([index, *jump])

    def _detect(self, pending: list[tuple[int, UInt8Array]], result: VideoAnalysis) -> None:
        if not pending:
            return
        answers = detect_faces(self.detector, [f for _, f in pending], self.lenient)
        for (index, _), faces in zip(pending, answers, strict=True):
            if faces is None:
                result.undetected.append(index)
            else:
                result.faces[index] = faces
        pending.clear()


def detect_faces(
    detector: FaceDetector, frames: list[UInt8Array], lenient: bool
) -> list[list[list[float]] | None]:
    """Detect the faces of frames, and return them as checked plain numbers.

    Args:
        detector: face detector.
        frames: ``(H, W, 3)`` uint8 RGB.
        lenient: answer None for a frame in which the detector fails, instead of raising.

    Returns:
        Per frame a list of ``[x0, y0, x1, y1, score]``.

    Raises:
        Exception: what the detector raises, unless ``lenient``.
        ValueError: it answered with something else than finite numbers, unless ``lenient``.
    """
    return [
        None if faces is None else [[*face.box, face.score] for face in faces]
        for faces in find_faces(detector, frames, lenient)
    ]


def find_faces(
    detector: FaceDetector, frames: list[UInt8Array], lenient: bool
) -> list[list[Detection] | None]:
    """Return the faces of frames, checked; arguments and errors as :func:`detect_faces`."""
    try:
        answers = [[_plain(face) for face in found] for found in detector(frames)]
        numbers = [
            value for faces in answers for face in faces for value in (*face.box, face.score)
        ]
        if len(answers) != len(frames) or not np.isfinite(numbers).all():
            raise ValueError(
                f"{detector.name} gave {len(answers)} answers for {len(frames)} frames, or boxes "
                "and scores that are not numbers."
            )
        return list(answers)
    except AssetUnavailableError:
        raise  # the same in every frame, and the user can correct it
    except Exception:
        if not lenient:
            raise
        if len(frames) == 1:
            return [None]
        return [find_faces(detector, [frame], lenient)[0] for frame in frames]


def _plain(face: Detection) -> Detection:
    """Plain Python numbers; landmarks that are not numbers count as none."""
    x0, y0, x1, y1 = (float(v) for v in face.box)
    marks = face.landmarks
    if marks is not None and not (len(marks) >= 2 and np.isfinite(np.array(marks, float)).all()):
        marks = None
    return Detection((x0, y0, x1, y1), float(face.score), marks)


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's content, read once per process while it does not change."""
    state = path.stat()
    return _content_hash(path, state.st_size, state.st_mtime_ns)


@cache
def _content_hash(path: Path, size: int, modified: int) -> str:
    del size, modified  # they are in the key
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def cached_analysis(
    path: Path,
    detector: FaceDetector,
    cache: Path | None = None,
    *,
    lenient: bool = False,
    progress: Callable[[int], None] | None = None,
) -> VideoAnalysis:
    """Return the analysis of a video from the cache, or make and store it.

    The cache holds boxes and frame numbers, no pixels. Its key is the content of the video and the
    detector's name, so that a moved file is found again and a changed one is not. What was found
    is stored every few hundred frames: a run that was killed continues from there.

    Args:
        path: the video.
        detector: see :func:`analyze`.
        cache: folder; default: ``faces`` beside the assets.
        lenient: as in :func:`analyze`; an analysis with undetected frames is not stored.
        progress: called with the number of frames done.
    """
    folder = cache if cache is not None else cache_folder() / "faces"
    name = f"{detector.name}|{ANALYSIS_VERSION}|{CUT_THRESHOLD}"
    detector_key = hashlib.sha256(name.encode()).hexdigest()[:12]
    entry = folder / f"{file_hash(path)[:32]}-{detector_key}.json"
    known = _read(entry)
    if known is not None:
        return known
    whole: VideoAnalysis | None = None
    parts: list[Path] = []
    with VideoReader(path) as reader:
        analyzer = _Analyzer(reader, detector, lenient=lenient, progress=progress)
        for start in range(0, len(reader), _BLOCK):
            block = range(start, min(start + _BLOCK, len(reader)))
            part = entry.with_name(f"{entry.stem}-{start}.part.json")
            found = _read(part)
            if found is None:
                found = analyzer.block(block)
                if block.stop < len(reader) and not found.undetected:
                    _write(part, asdict(found))
            parts.append(part)
            whole = found if whole is None else whole.joined(found)
    assert whole is not None  # a video has at least one frame
    if not whole.undetected:
        _write(entry, asdict(whole))
    for part in parts:
        part.unlink(missing_ok=True)
    return whole


def _read(entry: Path) -> VideoAnalysis | None:
    try:
        data = json.loads(entry.read_text(encoding="utf-8"))
        known = VideoAnalysis(**{**data, "size": tuple(data["size"])})
        return known if len(known.faces) == known.n_frames else None
    except (OSError, ValueError, TypeError, KeyError):
        return None  # absent or damaged: made again


def _write(entry: Path, data: dict[str, Any]) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    write_json(entry, data, indent=None)


def longest_face_run(analyses: Iterable[VideoAnalysis]) -> int:
    """Return the largest number of consecutive frames with a face, for error messages."""
    longest = 0
    for analysis in analyses:
        run, starts = 0, set(analysis.breaks)
        for index, found in enumerate(analysis.faces):
            run = (0 if index in starts else run) + 1 if found else 0
            longest = max(longest, run)
    return longest
