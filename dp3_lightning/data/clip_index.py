"""List the clips of videos: consecutive frames of one face each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dp3_lightning.faces.analysis import VideoAnalysis
from dp3_lightning.faces.tracker import link_detections
from dp3_lightning.structures import Detection, FloatArray, Track


@dataclass(frozen=True)
class ClipEntry:
    """Name one clip: consecutive frames of one video around one face.

    Attributes:
        video: index into the list of videos.
        start: index of the first frame.
        boxes: ``(T, 4)`` float64, the face as detected (gaps interpolated), pixels of the frame.
        track: number of the face's track in the video.
        others: per frame, ``(n, 4)`` boxes of the further faces there.
    """

    video: int
    start: int
    boxes: FloatArray
    track: int = 0
    others: Sequence[FloatArray] = ()


def clips_of_video(
    analysis: VideoAnalysis,
    video: int,
    span: range,
    clip_length: int,
    stride: int,
    min_face_size: float = 16.0,
    min_score: float = 0.5,
    cover_end: bool = False,
) -> list[ClipEntry]:
    """Split the face tracks of a video into clips, none of which crosses a cut or a lost frame.

    Args:
        analysis: the video's faces and cuts.
        video: index stored in the entries.
        span: frames that may be used.
        clip_length: frames per clip.
        stride: frames from the start of one clip to the next of the same track.
        min_face_size: shortest side of a face, in pixels, as the median over the clip.
        min_score: a clip needs one detection of at least this score.
        cover_end: add a last clip that overlaps the one before, so that no frame of a long enough
            track is left out.
    """
    start, stop = span.start, min(span.stop, analysis.n_frames)
    if stop - start < clip_length:
        return []
    lost = set(analysis.lost)
    breaks = [b - start for b in (*analysis.breaks, *(i for i in lost)) if start < b < stop]
    detections = analysis.detections(start, stop)
    entries = []
    tracks = link_detections(detections, breaks)
    for number, track in enumerate(tracks):
        scores = _scores(track.boxes, detections[track.start : track.stop])
        offsets = list(range(0, len(track.boxes) - clip_length + 1, stride))
        if cover_end and offsets and offsets[-1] + clip_length < len(track.boxes):
            offsets.append(len(track.boxes) - clip_length)
        for offset in offsets:
            boxes = track.boxes[offset : offset + clip_length]
            sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1)
            confident = scores[offset : offset + clip_length].max() >= min_score
            if confident and np.median(sides) >= min_face_size:
                first = track.start + offset
                others = [_others(tracks, number, first + i) for i in range(clip_length)]
                entries.append(ClipEntry(video, start + first, boxes, number, others))
    return entries


def _others(tracks: Sequence[Track], own: int, frame: int) -> FloatArray:
    """Return the boxes of all other tracks that reach over a frame, ``(n, 4)``."""
    boxes = [
        track.boxes[frame - track.start]
        for number, track in enumerate(tracks)
        if number != own and track.start <= frame < track.stop
    ]
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def _scores(boxes: FloatArray, detections: Sequence[Sequence[Detection]]) -> FloatArray:
    """Return the score of the detection that each box came from; 0 where interpolated."""
    scores = np.zeros(len(boxes))
    for i, (box, found) in enumerate(zip(boxes, detections, strict=True)):
        for detection in found:
            if np.allclose(detection.box, box):
                scores[i] = detection.score
    return scores


def seconds_to_frames(times: Sequence[float], start: float, end: float | None) -> range:
    """Return the frames in ``[start, end)`` seconds, counted from the first frame's time stamp."""
    origin = times[0] if times else 0.0
    low = next((i for i, t in enumerate(times) if t - origin >= start), len(times))
    high = (
        len(times)
        if end is None
        else next((i for i, t in enumerate(times) if t - origin >= end), len(times))
    )
    return range(low, max(low, high))


def measured_jitter(boxes: FloatArray) -> float:
    """Return how much a detector's boxes jitter: deviation of second differences / face side.

    For independent errors of deviation s the second difference has deviation ``sqrt(6) * s``.
    """
    if len(boxes) < 3:
        return 0.0
    second = boxes[2:] - 2 * boxes[1:-1] + boxes[:-2]
    side = float((boxes[:, 2:] - boxes[:, :2]).mean())
    return float(np.median(np.abs(second)) * 1.4826 / math.sqrt(6) / max(side, 1e-9))
