"""Faces that are lost where a part of the picture changes at once, perhaps by damage."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dp3_lightning.anonymize.planning.person_labels import SAME_FACE_IOU
from dp3_lightning.anonymize.planning.plan import PlannedTrack
from dp3_lightning.faces.tracker import pairwise_iou

LOST_IN_DAMAGE = "lost where the picture changes at once, perhaps by damage"
_SEEN_BEFORE = 2  # frames before a jump in which a face was still found
_TOUCHED = 0.2  # share of its box that the jump covers
_GROWTH = 0.3  # of the box's sides, on every side: it may move on


def carried_through_damage(
    tracks: Sequence[PlannedTrack],
    jumps: Sequence[Sequence[float]],
    key_frames: Sequence[int],
    n_frames: int,
    patience: int,
) -> list[PlannedTrack]:
    """Return tracks that blur lost faces up to the next key frame, which ends damage.

    Args:
        tracks: of the plan.
        jumps: ``[frame, x0, y0, x1, y1]``, as in ``VideoAnalysis``.
        key_frames: increasing.
        n_frames: of the video.
        patience: frames after a jump in which losing a face is put down to it.
    """
    carried = []
    for track in tracks:
        seen = [i for i, origin in enumerate(track.origins) if origin == "detected"]
        last = track.start + seen[-1] if seen else track.stop - 1
        for jump in jumps:
            frame = int(jump[0])
            if not frame - _SEEN_BEFORE <= last <= frame + patience:
                continue
            box = track.boxes[min(max(frame - 1 - track.start, 0), len(track.boxes) - 1)]
            if _covered(box, jump[1:]) < _TOUCHED:
                continue
            place = bisect_right(key_frames, frame)
            end = key_frames[place] if place < len(key_frames) else n_frames
            end = min(end, _found_again(track, tracks, end))
            if end > track.stop:
                carried.append(_blurred(track, end))
            break
    return carried


def remarks_on_the_file(record: Mapping[str, Any]) -> Iterator[str]:
    """Say in a few lines what a manifest tells of a damaged or unusual source."""
    repeated = record["frames"]["undecodable_repeated"]
    if repeated:
        yield (
            f"{len(repeated)} frames are damaged, or built on damaged ones (first: frame "
            f"{repeated[0]}); the last whole anonymized frame is repeated in their place"
        )
    for track in record["tracks"]:
        if track["reason"] == LOST_IN_DAMAGE:
            first, last = track["ranges"][0][0], track["ranges"][-1][1]
            yield (
                f"DOUBTFUL: {track['person']} is {LOST_IN_DAMAGE}: frames {first} to {last} are "
                "blurred where the face was; look at them"
            )
    yield from record.get("notes", [])


def _blurred(track: PlannedTrack, end: int) -> PlannedTrack:
    x0, y0, x1, y1 = track.boxes[-1]
    by_x, by_y = _GROWTH * (x1 - x0), _GROWTH * (y1 - y0)
    count = end - track.stop
    box = (x0 - by_x, y0 - by_y, x1 + by_x, y1 + by_y)
    return PlannedTrack(
        track.person, track.stop, [box] * count, ["padded"] * count, "blur", LOST_IN_DAMAGE
    )


def _found_again(track: PlannedTrack, tracks: Sequence[PlannedTrack], end: int) -> int:
    """First frame in which another track goes on where this one ends."""
    place = np.array([track.boxes[-1]])
    starts = [
        other.start
        for other in tracks
        if other is not track
        and track.stop <= other.start < end
        and pairwise_iou(place, np.array([other.boxes[0]]))[0, 0] >= SAME_FACE_IOU
    ]
    return min(starts, default=end)


def _covered(box: Sequence[float], part: Sequence[float]) -> float:
    width = min(box[2], part[2]) - max(box[0], part[0])
    height = min(box[3], part[3]) - max(box[1], part[1])
    area = (box[2] - box[0]) * (box[3] - box[1])
    return max(width, 0.0) * max(height, 0.0) / max(area, 1e-9)
