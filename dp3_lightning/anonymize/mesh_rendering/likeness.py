"""Refuse drawn people who could be taken for the real one, or for somebody drawn before."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dp3_lightning.anonymize.mesh_rendering.blend import cover
from dp3_lightning.anonymize.mesh_rendering.cast import Casting, Role
from dp3_lightning.faces.expression import five_points
from dp3_lightning.faces.sface import SFace, align_face
from dp3_lightning.structures import FloatArray, UInt8Array

_LOOKS = 5  # frames of a track that are compared
ALIKE = (
    0.30  # cosine similarity; 0.363 counts as one person, less leaves room for other recognisers
)
_ALIKE_DRAWN = 0.55  # with other drawn people of the video


class Likeness:
    """Compares drawn people with real ones by SFace.

    Embeddings are compared and forgotten; what is kept is how often somebody was drawn anew.

    Args:
        casting: moves drawn faces.

    Attributes:
        redraws: person to the number of draws that were refused.
    """

    def __init__(self, casting: Casting) -> None:
        self.casting, self.recogniser = casting, SFace()
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
        del boxes
        usable = np.flatnonzero(role.motion.usable)
        at = usable[np.linspace(0, len(usable) - 1, _LOOKS + 2)[1:-1].round().astype(int)]
        real, drawn = [], []
        for index in sorted({int(i) for i in at}):
            frame = frame_at(role.start + index)
            pair = self._pair(role, index, frame)
            if pair is not None:
                real.append(pair[0])
                drawn.append(pair[1])
        if not real:
            return True
        embedded = self.recogniser.embed(np.stack([*real, *drawn]))
        before, after = embedded[: len(real)], embedded[len(real) :]
        mean = after.mean(0) / max(float(np.linalg.norm(after.mean(0))), 1e-9)
        if float((before * after).sum(1).max()) > ALIKE:
            return False
        if any(float(mean @ other) > _ALIKE_DRAWN for other in self._drawn):
            return False
        self._latest = mean
        return True

    def _pair(self, role: Role, at: int, frame: UInt8Array) -> tuple[UInt8Array, UInt8Array] | None:
        """Return the aligned real face and the aligned drawn one."""
        own = role.motion.place(role.motion.frontal[at], at)
        target = role.target(at)
        place = cover(own, target, frame.shape[:2])
        if place is None:
            return None
        face = role.painter.express(role.person, role.wanted(at), corrections=0)
        colors = self.casting.warped(role, at, [(face, 1.0)], place)
        x0, y0, x1, y1 = place.region
        composed = frame[y0:y1, x0:x1].copy()
        alpha = place.alpha[..., None]
        composed[:] = np.rint(alpha * colors + (1 - alpha) * composed).astype(np.uint8)
        corner = np.array([x0, y0])
        return (
            align_face(frame, five_points(own)),
            align_face(composed, five_points(target) - corner),
        )
