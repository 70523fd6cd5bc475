"""Read both videos once per track, and keep the values that figures are measured from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from dp3_lightning.evaluation.identity import (
    TrackEmbeddings,
    embed_frame,
    embed_pair,
    embedded_frames,
    track_embeddings,
)
from dp3_lightning.evaluation.meshes import MeshFollower, TrackMeshes
from dp3_lightning.evaluation.tools import Tools
from dp3_lightning.evaluation.views import FaceView
from dp3_lightning.structures import Detection, FaceDetector, FloatArray, UInt8Array
from dp3_lightning.video import VideoReader

FacePair = tuple[FloatArray, FloatArray]  # embeddings of original and output


class FacesOfFrames:
    """Detect the faces of one video, once per frame."""

    def __init__(self) -> None:
        self._found: dict[int, list[Detection]] = {}

    def at(self, index: int, frame: UInt8Array, detector: FaceDetector) -> list[Detection]:
        """Return the faces of a frame."""
        if index not in self._found:
            (self._found[index],) = detector([frame])
        return self._found[index]


@dataclass(frozen=True)
class Watched:
    """Hold the values kept of a track's frames, which would not fit into memory themselves.

    Attributes:
        before: views of the original ``(T, 3, VIEW, VIEW)``.
        after: views of the output.
        faces: per frame the detected face of the original and of the output.
        embeddings: of some of the frames; None without a recogniser.
        following: embeddings ``(real, made)`` of frames and of the frames after them, for the
            flicker of identity; empty without a recogniser.
        meshes: of all frames; None without a face mesh.
    """

    before: Tensor
    after: Tensor
    faces: list[tuple[Detection | None, Detection | None]]
    embeddings: TrackEmbeddings | None
    following: list[tuple[FacePair, FacePair]] = field(default_factory=list)
    meshes: TrackMeshes | None = None


def watch(
    view: FaceView,
    videos: tuple[VideoReader, VideoReader],
    tools: Tools,
    known: tuple[FacesOfFrames, FacesOfFrames],
) -> Watched:
    """Read every frame of a track once.

    Args:
        view: where the face is.
        videos: original and output.
        tools: detector and recogniser.
        known: faces of both, taken from and added to.
    """
    pictures: tuple[list[Tensor], list[Tensor]] = ([], [])
    faces: list[tuple[Detection | None, Detection | None]] = []
    rows = []
    chosen = embedded_frames(len(view))
    starts = set(sorted(chosen)[::2])  # of the pairs of consecutive frames
    embedded: dict[int, FacePair] = {}
    follower = None if tools.mesh is None else MeshFollower(view, tools.mesh)
    for i in range(len(view)):
        index = view.first + i
        pair = (videos[0].frame(index), videos[1].frame(index))
        seen = [k.at(index, f, tools.detector) for k, f in zip(known, pair, strict=True)]
        faces.append((_nearest(seen[0], view.windows[i]), _nearest(seen[1], view.windows[i])))
        for part, frame in zip(pictures, pair, strict=True):
            part.append(view.picture(frame, i))
        if follower is not None:
            follower.add(i, pair, with_skin=i in chosen)
        if tools.embedder is None:
            continue
        if i in chosen and (row := embed_frame(pair, view, i, tools.embedder)) is not None:
            rows.append(row)
            embedded[i] = row[0], row[1]
        elif i - 1 in starts and (both := embed_pair(pair, view, i, tools.embedder)) is not None:
            embedded[i] = both
    return Watched(
        torch.stack(pictures[0]), torch.stack(pictures[1]), faces,
        None if tools.embedder is None else track_embeddings(rows),
        _consecutive(embedded, starts, view),
        None if follower is None else follower.result(),
    )  # fmt: skip


def _consecutive(
    embedded: Mapping[int, FacePair], starts: Iterable[int], view: FaceView
) -> list[tuple[FacePair, FacePair]]:
    """Pairs of neighbouring frames that were both embedded, none across a cut."""
    return [
        (embedded[i], embedded[i + 1])
        for i in sorted(starts)
        if i in embedded and i + 1 in embedded and view.pair_valid[i]
    ]


def _nearest(faces: Sequence[Detection], window: FloatArray) -> Detection | None:
    """Return the detected face whose middle is inside a window and nearest to its middle."""
    center = (window[:2] + window[2:]) / 2
    best: tuple[float, Detection] | None = None
    for face in faces:
        middle = (np.array(face.box[:2]) + np.array(face.box[2:])) / 2
        gap = float(np.abs(middle - center).max())
        if gap < (window[2] - window[0]) / 4 and (best is None or gap < best[0]):
            best = (gap, face)
    return None if best is None else best[1]
