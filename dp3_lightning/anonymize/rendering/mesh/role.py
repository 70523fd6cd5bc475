"""How one track is drawn: who, which pictures of them, and where every frame puts them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

from dp3_lightning.anonymize.rendering.mesh.film_texture import FilmTexture
from dp3_lightning.anonymize.rendering.mesh.motion import TrackMotion
from dp3_lightning.anonymize.rendering.mesh.people import DrawnFace, Person, PersonPainter
from dp3_lightning.anonymize.rendering.mesh.shape import FittedShape
from dp3_lightning.anonymize.rendering.mesh.wishes import motion_values
from dp3_lightning.faces.expression import EYE_LEFT, EYE_RIGHT, SIGNALS, expression_signals
from dp3_lightning.structures import FloatArray

_STEEP = 2.0  # keys take over from each other in the middle half of the way
_STEEP_POSE = 3.0
_POSE_STEP = 26.0  # degrees of yaw that one picture at rest serves
_EYES_CLOSE_FURTHER = 1.6  # drawn lids would leave slits
_CLOSING_SCALE = 22.0  # pixels between the outer eyes from which slits show


@dataclass
class Role:
    """How one track is drawn.

    Attributes:
        start: first frame of the track.
        motion: of the real face.
        person: who is drawn.
        shape: the drawn face at rest, fitted into the real head.
        painter: draws at the size that fits.
        meshes: index in the track to the mesh that the drawn face is moved to.
        keys: indices in the track of frames whose expression is drawn, per usable run.
        poses: ``(k, 2)`` yaw and pitch of the pictures at rest, in degrees, by yaw.
        shift: ``(n, 3)`` CIELAB added to drawn colours.
        tone: a and b of a film without colour, else None.
        texture: how sharpness and grain are matched to the film.
        drawn: pictures of key frames that are held, by frame.
    """

    start: int
    motion: TrackMotion
    person: Person
    shape: FittedShape
    painter: PersonPainter
    keys: list[int]
    poses: FloatArray
    shift: FloatArray = field(repr=False)
    tone: FloatArray | None = None
    texture: FilmTexture = field(default_factory=FilmTexture)
    drawn: OrderedDict[int, DrawnFace] = field(default_factory=OrderedDict, init=False, repr=False)
    _rests: dict[int, DrawnFace] = field(default_factory=dict, init=False, repr=False)

    def target(self, at: int) -> FloatArray:
        """Return the mesh of the drawn person in frame ``at`` of the track, ``(468, 3)``."""
        return self.motion.place(self.frontal(at), at)

    def frontal(self, at: int) -> FloatArray:
        """Move the drawn face at rest as the real face moves from its own rest."""
        moved: FloatArray = self.shape.points + self._change(at)
        return moved

    def _change(self, at: int) -> FloatArray:
        """Deviation of the real face from its own rest, ``(468, 3)``."""
        motion = self.motion
        change: FloatArray = motion.frontal[at].astype(np.float64) - motion.neutral
        if float(motion.scale[at]) > _CLOSING_SCALE:
            rest = expression_signals(motion.neutral)
            now = motion.signals[at]
            for ring, name in ((EYE_RIGHT, "eye_right"), (EYE_LEFT, "eye_left")):
                index = SIGNALS.index(name)
                if now[index] < rest[index]:
                    lids = change[list(ring)]
                    middle = lids.mean(0)
                    change[list(ring)] = middle + (lids - middle) * _EYES_CLOSE_FURTHER
        return change

    def wanted(self, at: int) -> FloatArray:
        """Return the pose and expression that a key face is drawn with, see ``MOTION``.

        Its pose is that of the picture at rest which it is laid into.
        """
        # In the drawn face's own unit: a mouth opens further on a face that is shown smaller.
        signals = expression_signals(self.person.frontal + self._change(at) / self.shape.scale)
        pose = sum(share * self.poses[n] for n, share in self.rest_shares(at))
        return motion_values(np.append(pose, 0.0), signals)

    def rest_shares(self, at: int) -> list[tuple[int, float]]:
        """Return the pictures at rest that frame ``at`` shows, with their shares."""
        yaw, yaws = float(self.motion.angles[at, 0]), self.poses[:, 0]
        behind = int(np.searchsorted(yaws, yaw))
        if behind in (0, len(yaws)):
            return [(min(behind, len(yaws) - 1), 1.0)]
        share = _eased((yaw - yaws[behind - 1]) / (yaws[behind] - yaws[behind - 1]), _STEEP_POSE)
        shares = [(behind - 1, 1 - share), (behind, share)]
        return [(n, part) for n, part in shares if part > 0]

    def rest_face(self, number: int) -> DrawnFace:
        """Return the picture at rest in one of the poses; drawn when first asked for."""
        if number not in self._rests:
            rest = expression_signals(self.person.frontal)
            wanted = motion_values(np.append(self.poses[number], 0.0), rest)
            self._rests[number] = self.painter.express(self.person, wanted)
        return self._rests[number]

    def rest_faces(self, at: int) -> list[tuple[DrawnFace, float]]:
        """Return the pictures at rest that frame ``at`` is mixed from, with their shares."""
        return [(self.rest_face(n), share) for n, share in self.rest_shares(at)]

    def neighbours(self, at: int) -> list[tuple[int, float]]:
        """Return the keys that frame ``at`` is mixed from, with their shares."""
        keys = self.keys
        after = int(np.searchsorted(keys, at))
        if after < len(keys) and keys[after] == at:
            return [(at, 1.0)]
        before, behind = keys[after - 1], keys[after]
        share = _eased((at - before) / (behind - before), _STEEP)
        return [(before, 1 - share), (behind, share)]


def _eased(share: float, steep: float) -> float:
    """Let one of two pictures show most of the time: the mean of two is blurred."""
    share = min(max((share - 0.5) * steep + 0.5, 0.0), 1.0)
    return share * share * (3 - 2 * share)


def rest_poses(motion: TrackMotion) -> FloatArray:
    """Choose the poses that a person is drawn in at rest, ``(k, 2)`` by yaw."""
    angles = motion.angles[motion.usable, :2]
    low, high = np.percentile(angles[:, 0], [4, 96])
    n = 1 + int((high - low) / _POSE_STEP)
    if n == 1:
        return np.median(angles, axis=0)[None]
    half = (high - low) / n / 2
    yaws = np.linspace(low + half, high - half, n)
    near = [
        angles[np.argsort(np.abs(angles[:, 0] - yaw))[: max(len(angles) // 8, 1)]] for yaw in yaws
    ]
    return np.column_stack([yaws, [np.median(part[:, 1]) for part in near]])
