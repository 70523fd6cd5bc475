"""Assign tracks to people: by place within a scene, by face across cuts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from dp3_lightning.anonymize.planning.plan import PlannedTrack
from dp3_lightning.faces.embedder import FaceEmbedder
from dp3_lightning.faces.tracker import pairwise_iou
from dp3_lightning.structures import FloatArray
from dp3_lightning.video import FrameUnavailableError, VideoReader

SAME_FACE_IOU = 0.3
_SAMPLES = 3  # frames of a track that are embedded
# Two people with one pseudonym is the worse mistake: link below this share of the threshold only.
_SURE = 0.8


def name_by_place(tracks: Sequence[PlannedTrack], reentry: int, cuts: Sequence[int]) -> None:
    """Give every track a person; a face that returns where it was lost keeps its person.

    Args:
        tracks: by first frame.
        reentry: frames between the end of a track and the start of one that continues it.
        cuts: nobody is recognised by place over a cut.
    """
    numbers = itertools.count(1)
    for index, track in enumerate(tracks):
        track.person = ""
        first = np.array([track.boxes[0]])
        candidates = []
        for earlier in tracks[:index]:
            pause = track.start - earlier.stop
            cut_between = any(earlier.stop <= cut <= track.start for cut in cuts)
            taken = any(t.person == earlier.person and t.stop > track.start for t in tracks[:index])
            if not 0 <= pause <= reentry or cut_between or taken:
                continue
            overlap = float(pairwise_iou(np.array([earlier.boxes[-1]]), first)[0, 0])
            if overlap >= SAME_FACE_IOU:
                candidates.append((overlap, earlier.person))
        track.person = max(candidates)[1] if candidates else f"person-{next(numbers)}"


def link_by_face(
    tracks: Sequence[PlannedTrack], reader: VideoReader, embedder: FaceEmbedder
) -> None:
    """Join tracks of one face into one person across cuts, but never two tracks of one frame.

    Embeddings are compared and forgotten.

    Args:
        tracks: by first frame, with people named by place; changed in place.
        reader: the video.
        embedder: recogniser.
    """
    groups: dict[str, list[PlannedTrack]] = {}
    for track in tracks:
        groups.setdefault(track.person, []).append(track)
    if len(groups) < 2:
        return
    faces = {person: _embeddings(found, reader, embedder) for person, found in groups.items()}
    while True:
        pairs = [
            (_distance(faces[a], faces[b]), a, b)
            for a, b in itertools.combinations(groups, 2)
            if not _meet(groups[a], groups[b])
        ]
        close = [pair for pair in pairs if pair[0] < _SURE * embedder.threshold]
        if not close:
            break
        _, kept, gone = min(close)
        groups[kept] += groups.pop(gone)
        faces[kept] += faces.pop(gone)
    ordered = sorted(groups.values(), key=lambda found: min(t.start for t in found))
    for number, found in enumerate(ordered, start=1):
        for track in found:
            track.person = f"person-{number}"


def _embeddings(
    tracks: Sequence[PlannedTrack], reader: VideoReader, embedder: FaceEmbedder
) -> list[FloatArray]:
    """Embed the largest detected faces of tracks, spread over them."""
    found = []
    for track in tracks:
        seen = [i for i, origin in enumerate(track.origins) if origin == "detected"]
        for part in np.array_split(np.array(seen, dtype=int), min(_SAMPLES, max(len(seen), 1))):
            if not len(part):
                continue
            best = max(part.tolist(), key=lambda i: track.boxes[i][2] - track.boxes[i][0])
            try:
                face = embedder(reader.frame(track.start + best), track.boxes[best])
            except FrameUnavailableError:
                continue
            if face is not None:
                found.append(face)
    return found


def _distance(first: Sequence[FloatArray], second: Sequence[FloatArray]) -> float:
    """Return the mean distance between two groups of embeddings; infinity without any."""
    if not first or not second:
        return float("inf")
    gaps = np.linalg.norm(np.stack(first)[:, None] - np.stack(second), axis=2)
    return float(gaps.mean())


def _meet(first: Sequence[PlannedTrack], second: Sequence[PlannedTrack]) -> bool:
    """Return whether two labels share a frame, which makes them two people."""
    return any(a.start < b.stop and b.start < a.stop for a in first for b in second)
