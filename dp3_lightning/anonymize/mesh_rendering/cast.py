"""Everything that is decided about drawn faces before the first frame is rendered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from torch import Tensor

from dp3_lightning.anonymize.mesh_rendering.blend import Cover, cover, measure_seam, to_lab
from dp3_lightning.anonymize.mesh_rendering.key_faces import key_frames
from dp3_lightning.anonymize.mesh_rendering.motion import TrackMotion
from dp3_lightning.anonymize.mesh_rendering.people import (
    DrawnFace,
    Person,
    PersonPainter,
    motion_values,
)
from dp3_lightning.anonymize.mesh_rendering.shape import FittedShape, fit_shape
from dp3_lightning.faces.alignment import align_matrix
from dp3_lightning.faces.expression import (
    EYE_LEFT,
    EYE_RIGHT,
    SIGNALS,
    expression_signals,
    five_points,
)
from dp3_lightning.generators.face_prior.warp import MeshWarp, sample
from dp3_lightning.structures import FloatArray, UInt8Array

_CHEEKS_BESIDE_RING = np.array([2.0, -1.0])  # a and b, in a film without colour
_STEEP = 2.0  # keys take over from each other in the middle half of the way
_CONTEXTS, _SEAMS = 6, 5  # frames that are looked at
_ALIGNED = 128  # pixels
_HOLE_MARGIN = 0.06  # of the box: what surrounds a face must not hold any of it
_MOST_CHANGE = np.array([5.0, 2.0, 2.0])  # CIELAB, of the light in one track
_MOST_SHIFT = np.array([4.0, 5.0, 5.0])
_SEAM_SHARE = 0.8  # of a seam's difference that the person's own tone takes over
_EYES_CLOSE_FURTHER = 1.6  # drawn lids would leave slits
_CLOSING_SCALE = 22.0  # pixels between the outer eyes from which slits show
_SIZES = ((65.0, 256), (130.0, 512), (float("inf"), 1024))  # outer eyes on screen: drawn size

FrameAt = Callable[[int], UInt8Array]


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
        keys: indices in the track of drawn frames, per usable run.
        shift: ``(n, 3)`` CIELAB added to drawn colours.
        tone: a and b of a film without colour, else None.
    """

    start: int
    motion: TrackMotion
    person: Person
    shape: FittedShape
    painter: PersonPainter
    keys: list[int]
    shift: FloatArray = field(repr=False)
    tone: FloatArray | None = None

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
        """Return the pose and expression that a key face is drawn with, see ``MOTION``."""
        # In the drawn face's own unit: a mouth opens further on a face that is shown smaller.
        signals = expression_signals(self.person.frontal + self._change(at) / self.shape.scale)
        return motion_values(self.motion.angles[at], signals)

    def neighbours(self, at: int) -> list[tuple[int, float]]:
        """Return the keys that frame ``at`` is mixed from, with their shares."""
        keys = self.keys
        after = int(np.searchsorted(keys, at))
        if after < len(keys) and keys[after] == at:
            return [(at, 1.0)]
        before, behind = keys[after - 1], keys[after]
        share = (at - before) / (behind - before)
        # One key shows most of the time: the mean of two is blurred.
        share = min(max((share - 0.5) * _STEEP + 0.5, 0.0), 1.0)
        share = share * share * (3 - 2 * share)
        return [(before, 1 - share), (behind, share)]


class Casting:
    """Chooses who is drawn for whom.

    Args:
        painter_of: size to painter.
        warp: moves drawn faces.
        every: mean distance of key frames.
        match_colors: fit drawn colours to the visible skin.
        strength: share of the spread of people who fit.
    """

    def __init__(
        self,
        painter_of: Callable[[int], PersonPainter],
        warp: MeshWarp,
        every: int = 16,
        match_colors: bool = True,
        strength: float = 0.9,
    ) -> None:
        self.painter_of, self.warp, self.every = painter_of, warp, every
        self.match_colors, self.strength = match_colors, strength

    def role(
        self,
        start: int,
        boxes: Sequence[Sequence[float]],
        motion: TrackMotion,
        residual: Tensor,
        frame_at: FrameAt,
        person: Person | None = None,
        strength: float = 0.9,
        identity: FloatArray | None = None,
    ) -> Role:
        """Decide how a track is drawn.

        Args:
            start: first frame of the track.
            boxes: planned boxes, one per frame of the track.
            motion: of the real face.
            residual: ``(1, 512)`` who it is among the people who fit.
            frame_at: real frame of the video by its index; asked for a dozen frames.
            person: somebody who was chosen for another track of the same person.
            strength: share of the spread of people who fit.
            identity: wanted identity components of a keyed pseudonym.
        """
        size = next(
            s for limit, s in _SIZES if float(np.median(motion.scale[motion.usable])) < limit
        )
        painter = self.painter_of(size)
        usable = np.flatnonzero(motion.seen)
        keys = [k for a, b in motion.runs() for k in key_frames(motion, a, b, self.every)]
        draw = residual.reshape(-1).double().cpu().numpy()
        if person is None:
            looks = _spread(usable, _CONTEXTS)
            contexts = [
                context_of(
                    frame_at(start + at),
                    boxes[at],
                    five_points(motion.place(motion.frontal[at], at)),
                )
                for at in looks
            ]
            person = painter.choose(contexts, motion, draw, strength, identity)
            role = _plain_role(start, motion, person, painter, keys)
            shifts, weights, _ = self._seams(role, usable, frame_at)
            if weights.sum() > 0 and not motion.grey:
                mean = _SEAM_SHARE * _believed(shifts, weights)
                person = painter.choose(contexts, motion, draw, strength, identity, mean)
        role = _plain_role(start, motion, person, painter, keys)
        self._fit_colors(role, usable, frame_at)
        return role

    def _fit_colors(self, role: Role, usable: np.ndarray, frame_at: FrameAt) -> None:
        """Set the shift of colours over time: what seams ask for, and how the light changes."""
        motion = role.motion
        if motion.grey:
            known = np.isfinite(motion.skin).all()
            role.tone = np.zeros(2)
            if known:
                role.tone = np.median(motion.skin[usable], 0)[1:] + _CHEEKS_BESIDE_RING
        if not self.match_colors:
            return
        shifts, weights, at = self._seams(role, usable, frame_at)
        if weights.sum() <= 0:
            return
        if np.isfinite(motion.skin).all():
            # Changes of light only: a hand beside the face changes what is measured too.
            usual = np.median(motion.skin[usable], axis=0)
            change = np.clip(motion.skin - usual, -_MOST_CHANGE, _MOST_CHANGE)
            role.shift = change + _believed(shifts - change[at], weights)
        else:
            role.shift = role.shift + _believed(shifts, weights)

    def _seams(
        self, role: Role, usable: np.ndarray, frame_at: FrameAt
    ) -> tuple[FloatArray, FloatArray, list[int]]:
        """Measure seams in a few frames."""
        looks = _spread(usable, _SEAMS)
        seams = []
        for at in looks:
            frame = frame_at(role.start + at)
            place = cover(
                role.motion.place(role.motion.frontal[at], at), role.target(at), frame.shape[:2]
            )
            if place is None:
                seams.append((np.zeros(3), 0.0))
                continue
            face = role.painter.express(role.person, role.wanted(at), corrections=0)
            drawn = self.warped(role, at, [(face, 1.0)], place)
            x0, y0, x1, y1 = place.region
            real = to_lab(frame[y0:y1, x0:x1].astype(np.float32))
            seam = measure_seam(real, to_lab(drawn), place, role.motion.grey)
            seams.append((seam.shift, seam.weight))
        return np.array([s for s, _ in seams]), np.array([w for _, w in seams]), looks

    def warped(
        self, role: Role, at: int, faces: Sequence[tuple[DrawnFace, float]], place: Cover
    ) -> np.ndarray:
        """Move drawn faces to a frame and mix them, ``(h, w, 3)`` float32 RGB in [0, 255]."""
        target = role.target(at)
        corner = np.array([*place.corner, 0.0])
        if not all(np.isfinite(face.mesh).all() for face, _ in faces):
            raise ValueError("The mesh of the drawn face has values that are not numbers.")
        sources = [self.warp.source(face.mesh) for face, _ in faces]
        found = self.warp.map(self.warp.target(target) - corner, sources, place.size)
        drawn_scale = float(np.linalg.norm(faces[0][0].mesh[33] - faces[0][0].mesh[263]))
        scale = float(np.linalg.norm(target[33] - target[263])) / max(drawn_scale, 1e-6)
        mixed = np.zeros((*place.size, 3), np.float32)
        for (face, share), at_map in zip(faces, found.maps, strict=True):
            mixed += np.float32(share) * sample(face.picture, at_map, scale)
        if not np.isfinite(mixed).all():
            raise ValueError("Moving the drawn face gave values that are not numbers.")
        return mixed


def _believed(shifts: FloatArray, weights: FloatArray) -> FloatArray:
    """Average seams, as far as there was skin to judge by; the encoder knows tones well."""
    mean = np.average(shifts, axis=0, weights=weights) * min(1.0, float(weights.mean()))
    believed: FloatArray = np.clip(mean, -_MOST_SHIFT, _MOST_SHIFT)
    return believed


def _plain_role(
    start: int, motion: TrackMotion, person: Person, painter: PersonPainter, keys: list[int]
) -> Role:
    """Return a role whose colours are as drawn."""
    shape = fit_shape(person.frontal, motion.neutral)
    shift = np.zeros((len(motion.usable), 3))
    return Role(start, motion, person, shape, painter, keys, shift)


def _spread(usable: np.ndarray, n: int) -> list[int]:
    """Choose up to ``n`` of the usable frames, spread over them, away from the ends."""
    at = np.linspace(0, len(usable) - 1, n + 2)[1:-1].round().astype(int)
    return sorted({int(usable[i]) for i in at})


def _part(frame: UInt8Array, matrix: FloatArray) -> tuple[UInt8Array, FloatArray]:
    """Return the part of a frame that an aligned picture shows, and its upper left corner."""
    inverse = np.linalg.inv(matrix[:, :2])
    square = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]) * _ALIGNED
    corners = (square - matrix[:, 2]) @ inverse.T
    margin = 0.1 * float(np.ptp(corners, axis=0).max()) + 4
    limit = np.array([frame.shape[1], frame.shape[0]])
    low = np.clip(np.floor(corners.min(0) - margin), 0, limit - 1).astype(int)
    high = np.clip(np.ceil(corners.max(0) + margin), low + 1, limit).astype(int)
    return frame[low[1] : high[1], low[0] : high[0]], low.astype(np.float64)


def context_of(frame: UInt8Array, box: Sequence[float], five: FloatArray) -> tuple[Tensor, Tensor]:
    """Cut what surrounds a face, aligned, without the face.

    Args:
        frame: ``(H, W, 3)`` uint8 RGB.
        box: of the face; nothing inside it is looked at.
        five: ``(5, 2)`` landmarks, for the alignment only.

    Returns:
        ``(3, 128, 128)`` in [-1, 1] and ``(1, 128, 128)`` in [0, 1], 1 where it may be looked at.
    """
    matrix = align_matrix(five, _ALIGNED)
    frame, corner = _part(frame, matrix)
    matrix[:, 2] += matrix[:, :2] @ corner
    box = [box[0] - corner[0], box[1] - corner[1], box[2] - corner[0], box[3] - corner[1]]
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    known = np.ones(frame.shape[:2], np.float32)
    grow = _HOLE_MARGIN * max(box[2] - box[0], box[3] - box[1]) / 2
    x0, y0 = (max(int(np.floor(v - grow)), 0) for v in box[:2])
    x1, y1 = (max(int(np.ceil(v + grow)), 0) for v in box[2:])
    known[y0:y1, x0:x1] = 0
    masked = frame.astype(np.float32) * known[..., None]
    if scale < 0.7:  # blurred before shrinking, the mask alike, so that nothing of the hole spreads
        sigma = 0.45 * np.sqrt(1 / scale**2 - 1)
        masked = cv2.GaussianBlur(masked, (0, 0), sigma)
        known = cv2.GaussianBlur(known, (0, 0), sigma)
    stacked = np.dstack([masked, known])
    aligned = cv2.warpAffine(stacked, matrix, (_ALIGNED, _ALIGNED), flags=cv2.INTER_LINEAR)
    share = aligned[..., 3]
    levels = aligned[..., :3] / np.maximum(share, 1e-3)[..., None] / 127.5 - 1
    levels *= (share > 0.05)[..., None]
    return torch.from_numpy(levels).permute(2, 0, 1), torch.from_numpy(share)[None]
