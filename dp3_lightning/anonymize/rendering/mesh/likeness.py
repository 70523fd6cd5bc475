"""Refuse drawn people who could be taken for the real one, or for somebody drawn before."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dp3_lightning.anonymize.rendering.mesh.blend import Layer, cover
from dp3_lightning.anonymize.rendering.mesh.cast import Casting
from dp3_lightning.anonymize.rendering.mesh.role import Role
from dp3_lightning.faces.embedder import FaceEmbedder
from dp3_lightning.faces.expression import five_points
from dp3_lightning.faces.sface import SFace, align_face
from dp3_lightning.structures import FloatArray, UInt8Array

_LOOKS = 9  # frames of a track that are compared
ALIKE = (
    0.30  # cosine similarity; 0.363 counts as one person, less leaves room for other recognisers
)
_MARGIN = 1.03  # of the embedder's threshold: the check of the result looks at other frames
_ALIKE_DRAWN = 0.55  # with other drawn people of the video


class Likeness:
    """Compares drawn people with real ones by SFace.

    Embeddings are compared and forgotten; what is kept is how often somebody was drawn anew.

    Args:
        casting: moves drawn faces.
        embedder: the recogniser that checks the result, which finds landmarks by itself; None:
            faces are compared by their meshes alone.

    Attributes:
        redraws: person to the number of draws that were refused.
    """

    def __init__(self, casting: Casting, embedder: FaceEmbedder | None = None) -> None:
        self.casting, self.recogniser, self.embedder = casting, SFace(), embedder
        self.redraws: dict[str, int] = {}
        self._drawn: list[FloatArray] = []
        self._latest: FloatArray | None = None

    def keep(self, person: str, refused: int) -> None:
        """Record that a person was found after some refused draws."""
        self.redraws[person] = refused
        if self._latest is not None:
            self._drawn.append(self._latest)
        self._latest = None

    def is_unlike(
        self, role: Role, boxes: Sequence[Sequence[float]], frame_at: Callable[[int], UInt8Array]
    ) -> bool:
        """Return whether a drawn track is unlike the real person and unlike others drawn before."""
        usable = np.flatnonzero(role.motion.seen)
        at = usable[np.linspace(0, len(usable) - 1, _LOOKS + 2)[1:-1].round().astype(int)]
        real, drawn = [], []
        for index in sorted({int(i) for i in at}):
            frame = frame_at(role.start + index)
            composed = self._composed(role, index, frame)
            if composed is None:
                continue
            if self._passes(frame, composed, boxes[index]):
                self._latest = None
                return False
            own = role.motion.place(role.motion.frontal[index], index)
            real.append(align_face(frame, five_points(own)))
            drawn.append(align_face(composed, five_points(role.target(index))))
        if not real:
            return True
        embedded = self.recogniser.embed(np.stack([*real, *drawn]))
        before, after = embedded[: len(real)], embedded[len(real) :]
        mean = after.mean(0) / max(float(np.linalg.norm(after.mean(0))), 1e-9)
        self._latest = None
        # Not `>`: what is no number is refused.
        if not float((before * after).sum(1).max()) <= ALIKE:
            return False
        if any(not float(mean @ other) <= _ALIKE_DRAWN for other in self._drawn):
            return False
        self._latest = mean
        return True

    def _passes(self, frame: UInt8Array, composed: UInt8Array, box: Sequence[float]) -> bool:
        """Whether the embedder takes the drawn face for the real one."""
        if self.embedder is None:
            return False
        before, after = self.embedder(frame, box), self.embedder(composed, box)
        if before is None or after is None:
            return False
        return not float(np.linalg.norm(before - after)) >= _MARGIN * self.embedder.threshold

    def _composed(self, role: Role, at: int, frame: UInt8Array) -> UInt8Array | None:
        """Return a frame with the drawn face in it; None when the face lies outside."""
        target = role.target(at)
        own = role.motion.place(role.motion.frontal[at], at)
        place = cover(own, target, frame.shape[:2])
        if place is None:
            return None
        colors = role.texture.apply(self.casting.face_at(role, at, place), at)
        composed = frame.copy()
        Layer(place.region, colors, place.alpha).lay_over(composed)
        return composed
