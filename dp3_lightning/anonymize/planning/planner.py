"""Pass 1: from the faces of every frame to tracks without holes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dp3_lightning.anonymize.coverage import COVERED, covered_share
from dp3_lightning.anonymize.planning.damage import carried_through_damage
from dp3_lightning.anonymize.planning.person_labels import (
    SAME_FACE_IOU,
    link_by_face,
    name_by_place,
)
from dp3_lightning.anonymize.planning.plan import Action, Origin, Plan, PlannedTrack
from dp3_lightning.checks import check_above, check_at_least, check_between
from dp3_lightning.faces.analysis import (
    VideoAnalysis,
    cached_analysis,
    detect_faces,
    file_hash,
)
from dp3_lightning.faces.embedder import FaceEmbedder
from dp3_lightning.faces.tracker import link_detections, pairwise_iou, smooth_boxes
from dp3_lightning.structures import FaceDetector, FloatArray, Track, UInt8Array
from dp3_lightning.video import VideoReader

# Where a face was not detected it may have moved otherwise than in between: the box grows with the
# time to the nearest detection, by a share of its side per second, and by a share of the fastest
# step nearby, on every side, up to a limit.
_DRIFT = 0.5
_DRIFT_OF_MOTION = 0.5
_DRIFT_LIMIT = 0.3
WEAK = "weak but lasting"
_PATIENCE = 0.5  # seconds after a sudden change in which losing a face is put down to damage
_MOVES_ON = 3  # frames for which a face is taken to move on as it did, beyond a track's ends


@dataclass(frozen=True)
class PlanOptions:
    """How detections become tracks.

    Attributes:
        start_score: a track needs one detection of at least this score to be drawn.
        weak_frames: weaker tracks are blurred when they were detected in this many frames, or in
            all frames of a shorter video, or of a picture; 0: they are left as they are.
        max_gap: seconds without a detection that are filled, and seconds that a track reaches
            before its first and after its last detection (not over a cut).
        reentry: seconds after which a face that is found again near where it was lost is somebody
            new; before, it keeps its person.
        smooth_window: frames of the centred average over the boxes; 1 for none.
        min_generate_size: shorter side in pixels below which a face is blurred, because the
            generator has nothing to work with.

    Raises:
        ValueError: a value out of range, named.
    """

    start_score: float = 0.5
    weak_frames: int = 3
    max_gap: float = 0.5
    reentry: float = 2.0
    smooth_window: int = 9
    min_generate_size: float = 16.0

    def __post_init__(self) -> None:
        check_between(0, 1, start_score=self.start_score)
        check_at_least(0, max_gap=self.max_gap, reentry=self.reentry, weak_frames=self.weak_frames)
        check_at_least(1, smooth_window=self.smooth_window)
        check_above(0, min_generate_size=self.min_generate_size)


def plan_video(
    path: str | Path,
    detector: FaceDetector,
    options: PlanOptions | None = None,
    cache: Path | None = None,
    progress: Callable[[int], None] | None = None,
    embedder: FaceEmbedder | None = None,
) -> Plan:
    """Find every face of a video and decide what is done to it.

    Detections of low score count inside a track that some frame is sure of; tracks of low scores
    alone are blurred when they last. Gaps are filled from
    both sides; tracks reach beyond their ends; nothing crosses a cut.

    Args:
        path: the video.
        detector: face detector; its own threshold is the low one.
        options: see :class:`PlanOptions`.
        cache: folder of the detector's answers; default: the user's cache.
        progress: called with the number of frames done.
        embedder: recogniser by which a person keeps the label across cuts; without one, people get
            new labels at every cut.

    Raises:
        FileNotFoundError: no such file.
        UnreadableVideoError: it cannot be read.
    """
    options = options or PlanOptions()
    source = Path(path)
    with VideoReader(source) as reader:
        rate, key_frames = float(reader.average_rate), reader.key_frames
    analysis = cached_analysis(source, detector, cache, lenient=True, progress=progress)
    failed = analysis.undetected
    if failed and len(failed) + len(analysis.lost) == analysis.n_frames:
        _explain_failure(source, detector, failed[0])
    plan = _plan(source, analysis, rate, detector.name, options)
    if embedder is not None:
        with VideoReader(source) as reader:
            link_by_face(plan.tracks, reader, embedder)
        plan.settings["recogniser"] = embedder.name
    patience = round(_PATIENCE * rate)
    plan.tracks += carried_through_damage(
        plan.tracks, analysis.jumps, key_frames, plan.n_frames, patience
    )
    plan.tracks.sort(key=lambda track: track.start)
    return plan


def _explain_failure(path: Path, detector: FaceDetector, frame: int) -> None:
    """Raise what the detector says: it fails in every frame, which is no accident."""
    try:
        with VideoReader(path) as reader:
            detect_faces(detector, [reader.frame(frame)], lenient=False)
    except Exception as error:
        raise ValueError(
            f"The detector {detector.name} failed in every frame of {str(path)!r} "
            f"({type(error).__name__}: {error}): nothing can be anonymized without it."
        ) from error


def plan_picture(
    path: str | Path,
    picture: UInt8Array,
    detector: FaceDetector,
    options: PlanOptions | None = None,
) -> Plan:
    """Find every face of a picture and decide what is done to it.

    Args:
        path: its file.
        picture: ``(H, W, 3)`` uint8 RGB.
        detector: face detector.
        options: see :class:`PlanOptions`.
    """
    (faces,) = detect_faces(detector, [picture], lenient=False)
    height, width = picture.shape[:2]
    analysis = VideoAnalysis(1, (height, width), [], [], [faces or []])
    return _plan(Path(path), analysis, 1.0, detector.name, options or PlanOptions())


def _plan(
    source: Path, analysis: VideoAnalysis, rate: float, detector: str, options: PlanOptions
) -> Plan:
    gap = round(options.max_gap * rate)
    breaks = sorted({*analysis.breaks, *analysis.lost, *(i + 1 for i in analysis.lost)})
    detections = analysis.detections(0, analysis.n_frames)
    found = link_detections(detections, breaks, max_gap=gap)
    scores = {id(track): _best_score(track, analysis) for track in found}
    sure = [track for track in found if scores[id(track)] >= options.start_score]
    tracks = [planned_track(track, breaks, gap, rate, analysis.n_frames, options) for track in sure]
    for track in found:
        is_weak = scores[id(track)] < options.start_score
        if is_weak and lasts(track, analysis.n_frames, options):
            weak = planned_track(track, breaks, gap, rate, analysis.n_frames, options)
            if not _explained(track, tracks):
                weak.action = "blur"
                weak.reason = f"{WEAK}: best score {scores[id(track)]:.2f}"
                tracks.append(weak)
    tracks.sort(key=lambda t: t.start)
    name_by_place(tracks, round(options.reentry * rate), analysis.breaks)
    plan = Plan(
        video=source.name,
        sha256=file_hash(source),
        n_frames=analysis.n_frames,
        size=analysis.size,
        tracks=tracks,
        cuts=list(analysis.breaks),
        lost=list(analysis.lost),
        undetected=list(analysis.undetected),
        settings={"detector": detector, **asdict(options)},
    )
    plan.ignored = _ignored(plan, analysis)
    return plan


def lasts(track: Track, n_frames: int, options: PlanOptions) -> bool:
    """Whether a weak track was detected in enough frames to be somebody."""
    enough = min(options.weak_frames, n_frames)
    return enough > 0 and int(track.detected.sum()) >= enough


def _explained(track: Track, others: Sequence[PlannedTrack]) -> bool:
    """Whether planned tracks cover every detection of a track: parts of a face, found twice."""
    for offset in np.flatnonzero(track.detected):
        frame = track.start + int(offset)
        around = [t.boxes[frame - t.start] for t in others if t.start <= frame < t.stop]
        if covered_share(track.boxes[offset], around) < COVERED:
            return False
    return True


def _best_score(track: Track, analysis: VideoAnalysis) -> float:
    best = 0.0
    for offset in np.flatnonzero(track.detected):
        box = track.boxes[offset]
        scores = [f[4] for f in analysis.faces[track.start + offset] if np.allclose(f[:4], box)]
        best = max([best, *scores])
    return best


def planned_track(
    track: Track,
    breaks: Sequence[int],
    gap: int,
    rate: float,
    n_frames: int,
    options: PlanOptions,
) -> PlannedTrack:
    """Smooth a track and let it reach beyond its ends, up to the next break."""
    floor = max((b for b in breaks if b <= track.start), default=0)
    ceiling = min((b for b in breaks if b >= track.stop), default=n_frames)
    before = min(gap, track.start - floor)
    after = min(gap, ceiling - track.stop)
    boxes = _covering(track.boxes, smooth_boxes(track.boxes, options.smooth_window))
    boxes = np.concatenate(
        [_beyond(boxes, before)[::-1], boxes, _beyond(boxes[::-1], after)],
    )
    detected = np.concatenate([np.zeros(before, bool), track.detected, np.zeros(after, bool)])
    boxes = _grown_with_doubt(boxes, detected, rate)
    inside: list[Origin] = ["detected" if seen else "filled" for seen in track.detected]
    padding: Origin = "padded"
    origins = [padding] * before + inside + [padding] * after
    action: Action = "generate"
    reason = ""
    side = float(np.median((track.boxes[:, 2:] - track.boxes[:, :2]).min(axis=1)))
    if side < options.min_generate_size:
        action, reason = "blur", f"{side:.0f} px, too small to generate"
    rows = [(float(b[0]), float(b[1]), float(b[2]), float(b[3])) for b in boxes]
    return PlannedTrack("", track.start - before, rows, origins, action, reason)


def _covering(detected: FloatArray, smooth: FloatArray) -> FloatArray:
    """Smoothed boxes, grown where they would uncover a part of what was detected.

    Jitter is taken out of the position; a fast turn must not leave a strip of the real face.
    """
    size = (detected[:, 2:] - detected[:, :2]).mean(axis=1, keepdims=True)
    slack = 0.04 * size  # detector jitter; below it, smoothing wins
    low = np.minimum(smooth[:, :2], detected[:, :2] + slack)
    high = np.maximum(smooth[:, 2:], detected[:, 2:] - slack)
    covering: FloatArray = np.concatenate([low, high], axis=1)
    return covering


def _beyond(boxes: FloatArray, count: int) -> FloatArray:
    """Boxes for frames before a track, nearest first: where it began, and where it came from."""
    start = boxes[0]
    step = boxes[0] - boxes[1] if len(boxes) > 1 else np.zeros(4)
    reached = start + step * np.minimum(np.arange(1, count + 1), _MOVES_ON)[:, None]
    low, high = np.minimum(start[:2], reached[:, :2]), np.maximum(start[2:], reached[:, 2:])
    beyond: FloatArray = np.concatenate([low, high], axis=1)
    return beyond


def _grown_with_doubt(
    boxes: FloatArray, detected: npt.NDArray[np.bool_], rate: float
) -> FloatArray:
    """Grow boxes by the time to the nearest detection."""
    known = np.flatnonzero(detected)
    distance = np.abs(np.arange(len(boxes))[:, None] - known).min(axis=1)
    side = (boxes[:, 2:] - boxes[:, :2]).mean(axis=1)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    steps = np.linalg.norm(np.diff(centers, axis=0, prepend=centers[:1]), axis=1)
    # What is interpolated moves less than what was seen: take the fastest step nearby.
    speed = np.array([steps[max(i - 4, 0) : i + 6].max() for i in range(len(steps))])
    doubt = _DRIFT * side * distance / rate + _DRIFT_OF_MOTION * speed * (distance > 0)
    outside = (np.arange(len(boxes)) < known[0]) | (np.arange(len(boxes)) > known[-1])
    doubt = np.where(outside, 2 * doubt, doubt)  # known from one side only
    by = np.minimum(doubt, _DRIFT_LIMIT * side)[:, None]
    grown: FloatArray = boxes + by * np.array([-1.0, -1.0, 1.0, 1.0])
    return grown


def _ignored(plan: Plan, analysis: VideoAnalysis) -> dict[int, list[list[float]]]:
    """Detections that no track covers, so that nothing is dropped without a word."""
    ignored: dict[int, list[list[float]]] = {}
    for frame, faces in enumerate(analysis.faces):
        planned = np.array([box for _, box in plan.boxes_at(frame)]).reshape(-1, 4)
        for face in faces:
            overlap = pairwise_iou(np.array([face[:4]]), planned)
            alone = not len(planned) or overlap.max() < SAME_FACE_IOU
            if alone and covered_share(face[:4], planned.tolist()) < COVERED:
                ignored.setdefault(frame, []).append([round(v, 3) for v in face])
    return ignored
