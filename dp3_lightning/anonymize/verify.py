"""Look at the result as a stranger would: is there a face that nobody drew, or one that is known?

Both checks run on the frames that go to the encoder, so that what fails is mended before it is
written anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from dp3_lightning.anonymize.plan import Origin, Plan
from dp3_lightning.faces.analysis import detect_faces
from dp3_lightning.faces.embedder import FaceEmbedder
from dp3_lightning.faces.obscure import Treatment, obscure
from dp3_lightning.structures import FaceDetector, UInt8Array

_ROUNDS = 3  # a blurred face is found again only by accident
_GROWTH = 0.15  # of the side: a found face is blurred with a margin


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
    """Detects faces in rendered frames and blurs what the plan does not explain, in place.

    Args:
        plan: every region that was rendered or let through.
        detector: face detector.
        threshold: score from which a found face counts.
        treatment: how unexplained faces are hidden.
    """

    def __init__(
        self, plan: Plan, detector: FaceDetector, threshold: float, treatment: Treatment = "blur"
    ) -> None:
        self.plan, self.detector = plan, detector
        self.threshold, self.treatment = threshold, treatment

    def __call__(self, frames: Sequence[UInt8Array], first: int) -> Checked:
        """Check consecutive frames.

        Args:
            frames: rendered frames, changed in place where a face is left.
            first: index of the first in the video.
        """
        waiting = [n for n in range(len(frames)) if first + n not in self.plan.undetected]
        result = Checked(n_checked=len(waiting))
        extra: dict[int, list[list[float]]] = {n: [] for n in waiting}
        for _ in range(_ROUNDS):
            answers = detect_faces(self.detector, [frames[n] for n in waiting], lenient=True)
            again = []
            for n, faces in zip(waiting, answers, strict=True):
                if faces is None:
                    result.fail(first + n)
                    continue
                left = [f[:4] for f in faces if self._is_left(f, first + n, extra[n])]
                for box in left:
                    obscure(frames[n], _grown(box), self.treatment)
                    result.blurred.append((first + n, [round(v, 2) for v in box]))
                    extra[n].append(_grown(box))
                if left:
                    again.append(n)
            waiting = again
            if not waiting:
                return result
        for n in waiting:
            (faces,) = detect_faces(self.detector, [frames[n]], lenient=True)
            if faces is None:
                result.fail(first + n)
                continue
            left = [f[:4] for f in faces if self._is_left(f, first + n, extra[n])]
            result.unresolved += [(first + n, [round(v, 2) for v in box]) for box in left]
        return result

    def _is_left(self, face: Sequence[float], index: int, extra: list[list[float]]) -> bool:
        """Whether a found face is neither drawn, nor blurred, nor let through."""
        if face[4] < self.threshold:
            return False
        regions = [list(box) for _, box in self.plan.boxes_at(index)] + extra
        return covered_share(face[:4], regions) < 0.5


def _grown(box: Sequence[float]) -> list[float]:
    by_x, by_y = _GROWTH * (box[2] - box[0]), _GROWTH * (box[3] - box[1])
    return [box[0] - by_x, box[1] - by_y, box[2] + by_x, box[3] + by_y]


def covered_share(box: Sequence[float], regions: Sequence[Sequence[float]]) -> float:
    """Return the share of a box's area that lies in any region; all ``(x0, y0, x1, y1)``."""
    edges_x = sorted({box[0], box[2], *(v for r in regions for v in (r[0], r[2]))})
    edges_y = sorted({box[1], box[3], *(v for r in regions for v in (r[1], r[3]))})
    total = max((box[2] - box[0]) * (box[3] - box[1]), 1e-9)
    covered = 0.0
    for x0, x1 in pairwise(edges_x):
        for y0, y1 in pairwise(edges_y):
            x, y = (x0 + x1) / 2, (y0 + y1) / 2
            if not (box[0] < x < box[2] and box[1] < y < box[3]):
                continue
            if any(r[0] < x < r[2] and r[1] < y < r[3] for r in regions):
                covered += (x1 - x0) * (y1 - y0)
    return covered / total


def _samples(origins: Sequence[Origin]) -> list[int]:
    """Frames of a track to compare: those in which a face was seen, else all."""
    seen = [i for i, origin in enumerate(origins) if origin in ("detected", "edited")]
    return seen or list(range(len(origins)))


class IdentityCheck:
    """Measures how like the real person the drawn face is, in some frames of every track.

    Args:
        plan: who is where.
        embedder: recogniser that had no part in training the generator.
        every: frames of a track from one measurement to the next.
    """

    def __init__(self, plan: Plan, embedder: FaceEmbedder, every: int = 50) -> None:
        self.plan, self.embedder, self.every = plan, embedder, every

    def __call__(
        self, real: Sequence[UInt8Array], rendered: Sequence[UInt8Array], first: int
    ) -> dict[int, list[float]]:
        """Compare frames.

        Args:
            real: real frames.
            rendered: the same frames as rendered.
            first: index of the first in the video.

        Returns:
            Number of the track in the plan to distances; below the embedder's threshold the drawn
            face passes for the real person.
        """
        found: dict[int, list[float]] = {}
        for number, track in enumerate(self.plan.tracks):
            if track.action != "generate":
                continue
            for at in _samples(track.origins)[:: self.every]:
                n = track.start + at - first
                if not 0 <= n < len(real):
                    continue
                box = track.boxes[at]
                before, after = self.embedder(real[n], box), self.embedder(rendered[n], box)
                if before is not None and after is not None:
                    distance = float(np.linalg.norm(before - after))
                    found.setdefault(number, []).append(round(distance, 4))
        return found
