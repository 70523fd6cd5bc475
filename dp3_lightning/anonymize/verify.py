"""Look at the result as a stranger would: is there a face that nobody drew, or one that is known?

Both checks run on the frames that go to the encoder, so that what fails is mended before it is
written anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from dp3_lightning.anonymize.coverage import covered_share, is_covered
from dp3_lightning.anonymize.planning.plan import Origin, Plan
from dp3_lightning.faces.analysis import find_faces
from dp3_lightning.faces.embedder import FaceEmbedder
from dp3_lightning.faces.obscure import Treatment, obscure
from dp3_lightning.faces.sface import SFaceEmbedder
from dp3_lightning.structures import Detection, FaceDetector, UInt8Array

__all__ = ["Checked", "IdentityCheck", "OutputCheck", "covered_share", "hide_solid"]

_ROUNDS = 3  # a blurred face is found again only by accident
_GROWTH = 0.15  # of the side: a found face is blurred with a margin
_FADING = 0.06  # of the side: a blur reaches twice as far beyond its box, and fades
_LEAST_LOOKS = 5  # frames of a track in which people are compared
_SEEN = ("detected", "edited")


@dataclass
class Checked:
    """What re-detection found in some frames.

    Attributes:
        blurred: frame and box of faces that no planned region explains; they were blurred.
        unresolved: the same for faces that were still found after that.
        unchecked: frames in which the detector failed.
        n_checked: frames looked at.
    """

    blurred: list[tuple[int, list[float]]] = field(default_factory=list)
    unresolved: list[tuple[int, list[float]]] = field(default_factory=list)
    unchecked: list[int] = field(default_factory=list)
    n_checked: int = 0

    def fail(self, index: int) -> None:
        """Note a frame that could not be looked at."""
        if index not in self.unchecked:
            self.unchecked.append(index)
            self.n_checked -= 1


class OutputCheck:
    """Detects faces in rendered frames and blurs those that are not covered, in place.

    Args:
        plan: every region that was rendered or let through.
        detector: face detector, of another family than the one that the plan was made with.
        threshold: score from which a found face counts.
        treatment: how uncovered faces are hidden, and what planned ones got that are not drawn.
        drawn: whether a generator drew faces, which may cover another shape than their boxes: what
            differs from the real frames then counts as covered.
    """

    def __init__(
        self,
        plan: Plan,
        detector: FaceDetector,
        threshold: float,
        treatment: Treatment = "blur",
        drawn: bool = False,
    ) -> None:
        self.plan, self.detector = plan, detector
        self.threshold, self.treatment, self.drawn = threshold, treatment, drawn

    def __call__(
        self, frames: Sequence[UInt8Array], first: int, real: Sequence[UInt8Array] | None = None
    ) -> Checked:
        """Check consecutive frames.

        Args:
            frames: rendered frames, changed in place where a face is left.
            first: index of the first in the video.
            real: the real frames; needed when faces were drawn.
        """
        waiting = [n for n in range(len(frames)) if first + n not in self.plan.undetected]
        result = Checked(n_checked=len(waiting))
        extra: dict[int, list[list[float]]] = {n: [] for n in waiting}
        for look in range(_ROUNDS + 1):
            answers = find_faces(self.detector, [frames[n] for n in waiting], lenient=True)
            again = []
            for n, faces in zip(waiting, answers, strict=True):
                if faces is None:
                    result.fail(first + n)
                    continue
                before = None if real is None else real[n]
                left = [
                    f for f in faces if self._is_left(f, frames[n], before, first + n, extra[n])
                ]
                boxes = [list(face.box) for face in left]
                listed = [(first + n, [round(v, 2) for v in box]) for box in boxes]
                if look == _ROUNDS:
                    result.unresolved += listed
                    continue
                for box in boxes:
                    obscure(frames[n], _grown(box), self.treatment)
                    extra[n].append(_grown(box))
                result.blurred += listed
                if left:
                    again.append(n)
            waiting = again
            if not waiting:
                break
        return result

    def _is_left(
        self,
        face: Detection,
        frame: UInt8Array,
        real: UInt8Array | None,
        index: int,
        extra: list[list[float]],
    ) -> bool:
        """Whether a found face is neither drawn, nor blurred, nor let through."""
        if face.score < self.threshold:
            return False
        regions = [*self._regions(index, real is not None), *extra]
        changed = None if real is None or not self.drawn else (real, frame)
        return not is_covered(face, regions, frame.shape[:2], changed)

    def _regions(self, index: int, real_is_known: bool) -> Iterator[list[float]]:
        """Yield what the plan covers by boxes; drawn faces are compared pixel by pixel."""
        for track, box in self.plan.boxes_at(index):
            if track.action == "generate" and self.drawn and real_is_known:
                continue
            blurred = self.treatment == "blur" and track.action in ("blur", "generate")
            yield _grown(box, _FADING) if blurred else list(box)


def _grown(box: Sequence[float], by: float = _GROWTH) -> list[float]:
    by_x, by_y = by * (box[2] - box[0]), by * (box[3] - box[1])
    return [box[0] - by_x, box[1] - by_y, box[2] + by_x, box[3] + by_y]


def hide_solid(frames: Sequence[UInt8Array], first: int, plan: Plan) -> None:
    """Paint faces black, in place, whose plan says so: their blur passed for the real person.

    Args:
        frames: rendered frames.
        first: index of the first in the video.
        plan: who is where.
    """
    for index, frame in enumerate(frames, start=first):
        for track, box in plan.boxes_at(index):
            if track.action == "solid":
                obscure(frame, _grown(box, _FADING), "solid")


def _looks(origins: Sequence[Origin], every: int) -> list[int]:
    """Frames of a track to compare: spread over those in which a face was seen, else over all."""
    seen = [i for i, origin in enumerate(origins) if origin in _SEEN] or list(range(len(origins)))
    wanted = max(_LEAST_LOOKS, -(-len(seen) // every))
    at = np.linspace(0, len(seen) - 1, min(wanted, len(seen))).round().astype(int)
    return [seen[i] for i in at]


class IdentityCheck:
    """Measures how like the real person the face in the result is, in some frames of every track.

    Drawn, blurred, pixelated and black faces alike; faces that are let through are not compared.

    Args:
        plan: who is where.
        embedder: recogniser that had no part in training the generator.
        every: frames of a track from one look to the next; every track gets five, or one in each
            of its frames.

    Attributes:
        not_comparable: number of the track to looks in which a real face was not recognised, or
            nothing that could be compared with it was there.
    """

    def __init__(self, plan: Plan, embedder: FaceEmbedder, every: int = 50) -> None:
        self.plan, self.embedder, self.every = plan, embedder, every
        self.not_comparable: dict[int, int] = {}

    def __call__(
        self, real: Sequence[UInt8Array], rendered: Sequence[UInt8Array], first: int
    ) -> dict[int, list[float]]:
        """Compare frames.

        Args:
            real: real frames.
            rendered: the same frames as rendered.
            first: index of the first in the video.

        Returns:
            Number of the track in the plan to distances; below the embedder's threshold the face
            passes for the real person.
        """
        found: dict[int, list[float]] = {}
        for number, track in enumerate(self.plan.tracks):
            if track.action == "keep":
                continue
            for at in _looks(track.origins, self.every):
                n = track.start + at - first
                if not 0 <= n < len(real):
                    continue
                distance = self._distance(real[n], rendered[n], track.boxes[at])
                if distance is None:
                    self.not_comparable[number] = self.not_comparable.get(number, 0) + 1
                else:
                    found.setdefault(number, []).append(round(distance, 4))
        return found

    def _distance(
        self, real: UInt8Array, rendered: UInt8Array, box: Sequence[float]
    ) -> float | None:
        before = self.embedder(real, box)
        if before is None:
            return None
        after = self.embedder(rendered, box)
        if after is None and isinstance(self.embedder, SFaceEmbedder):
            # Nothing looks like a face: compare what is where the real one's landmarks are.
            after = self.embedder.in_place_of(real, rendered, box)
        return None if after is None else float(np.linalg.norm(before - after))
