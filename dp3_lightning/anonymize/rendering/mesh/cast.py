"""Everything that is decided about drawn faces before the first frame is rendered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from dp3_lightning.anonymize.rendering.mesh.blend import Cover, cover, measure_seam, to_lab
from dp3_lightning.anonymize.rendering.mesh.film_texture import FilmTexture, fit_film_texture
from dp3_lightning.anonymize.rendering.mesh.key_faces import key_frames
from dp3_lightning.anonymize.rendering.mesh.motion import TrackMotion
from dp3_lightning.anonymize.rendering.mesh.patches import matched, patch_weights
from dp3_lightning.anonymize.rendering.mesh.people import (
    SKETCH_SIZE,
    DrawnFace,
    Person,
    PersonPainter,
)
from dp3_lightning.anonymize.rendering.mesh.role import Role, rest_poses
from dp3_lightning.anonymize.rendering.mesh.shape import fit_shape
from dp3_lightning.anonymize.rendering.mesh.surroundings import context_of
from dp3_lightning.faces.expression import (
    five_points,
)
from dp3_lightning.generators.face_prior.warp import MeshWarp, sample
from dp3_lightning.structures import FloatArray, UInt8Array

_CHEEKS_BESIDE_RING = np.array([2.0, -1.0])  # a and b, in a film without colour
_CONTEXTS, _SEAMS, _TEXTURES = 6, 5, 4  # frames that are looked at
_KEPT_FACES = 24
_MOST_CHANGE = np.array([5.0, 2.0, 2.0])  # CIELAB, of the light in one track
_MOST_SHIFT = np.array([5.0, 6.0, 6.0])
# Measured on 252 CelebA faces laid over themselves: what the seam of the right face says, and how
# much of a seam's difference is the face's (necks lie in shade).
_SEAM_BIAS, _SEAM_SHARE = np.array([-1.2, -0.2, 0.7]), np.array([0.2, 0.7, 0.7])
# Distance of the outer eyes on screen up to which a drawn size will do; larger if that is too soft.
_SIZES = ((60.0, 256), (120.0, 512), (float("inf"), 1024))
_TOO_SOFT = -0.3  # step of sharpening
_ENLARGED = 0.15  # of a drawn size: distance of the outer eyes from which its pixels show

FrameAt = Callable[[int], UInt8Array]


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
        self.weights = patch_weights(warp.reference)
        rings = np.zeros(warp.n_points - len(self.weights))
        share = np.concatenate([self.weights, rings])
        self._patches = np.column_stack([share, np.zeros((len(share), 2))])

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
        by_key: bool = False,
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
            identity: wanted identity components.
            by_key: who it is must not depend on the context.
        """
        scale = float(np.median(motion.scale[motion.usable]))
        sizes = [size for limit, size in _SIZES if scale < limit]
        painter = self.painter_of(sizes[0])
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
            person = self.painter_of(SKETCH_SIZE).choose(
                contexts, motion, draw, strength, identity, by_key
            )
        role = _plain_role(start, motion, person, painter, keys)
        self._fit_colors(role, usable, frame_at)
        if self.match_colors:
            role.texture = self._film_texture(role, usable, frame_at)
            enlarged = scale > _ENLARGED * sizes[0]
            if enlarged and role.texture.step < _TOO_SOFT and len(sizes) > 1:
                role = replace(role, painter=self.painter_of(sizes[1]))
                role.texture = self._film_texture(role, usable, frame_at)
        return role

    def _film_texture(self, role: Role, usable: np.ndarray, frame_at: FrameAt) -> FilmTexture:
        """Compare the film's sharpness and grain with the drawn face's in a few frames."""
        views = []
        for at in _spread(usable, _TEXTURES):
            frame = frame_at(role.start + at)
            place = cover(
                role.motion.place(role.motion.frontal[at], at), role.target(at), frame.shape[:2]
            )
            if place is not None:
                x0, y0, x1, y1 = place.region
                views.append((frame[y0:y1, x0:x1], self.warped(role, at, [], place), place))
        return fit_film_texture(views)

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
            drawn = self.warped(role, at, [], place)
            x0, y0, x1, y1 = place.region
            real = to_lab(frame[y0:y1, x0:x1].astype(np.float32))
            seam = measure_seam(real, to_lab(drawn), place, role.motion.grey)
            seams.append((seam.shift, seam.weight))
        return np.array([s for s, _ in seams]), np.array([w for _, w in seams]), looks

    def key_face(self, role: Role, key: int) -> DrawnFace:
        """Return the expression of a key frame, in the colours of the picture at rest.

        The latest are held; the others are drawn again when they are asked for again.
        """
        known = role.drawn.get(key)
        if known is None:
            face = role.painter.express(role.person, role.wanted(key))
            rest = max(role.rest_shares(key), key=lambda pair: pair[1])[0]
            known = matched(face, role.rest_face(rest), self.weights)
            role.drawn[key] = known
            while len(role.drawn) > _KEPT_FACES:
                role.drawn.popitem(last=False)
        role.drawn.move_to_end(key)
        return known

    def face_at(self, role: Role, at: int, place: Cover) -> np.ndarray:
        """Draw the face of a frame as :meth:`warped` does, with its expression."""
        faces = [(self.key_face(role, key), share) for key, share in role.neighbours(at)]
        return self.warped(role, at, faces, place)

    def warped(
        self, role: Role, at: int, faces: Sequence[tuple[DrawnFace, float]], place: Cover
    ) -> np.ndarray:
        """Move drawn faces to a frame and put them together.

        Args:
            role: whose face.
            at: frame of the track.
            faces: pictures whose mouth and eyes show, with their shares; none: those at rest.
            place: where.

        Returns:
            ``(h, w, 3)`` float32 RGB in [0, 255].
        """
        target = role.target(at)
        corner = np.array([*place.corner, 0.0])
        rests = role.rest_faces(at)
        pictures = [*rests, *faces]
        if not all(np.isfinite(face.mesh).all() for face, _ in pictures):
            raise ValueError("The mesh of the drawn face has values that are not numbers.")
        sources = [self.warp.source(face.mesh) for face, _ in pictures]
        if faces:
            sources.append(self._patches)
        found = self.warp.map(self.warp.target(target) - corner, sources, place.size)
        drawn_scale = float(np.linalg.norm(rests[0][0].mesh[33] - rests[0][0].mesh[263]))
        scale = float(np.linalg.norm(target[33] - target[263])) / max(drawn_scale, 1e-6)
        mixed = _mixed(rests, found.maps, scale)
        if faces:
            patch = np.clip(found.maps[-1][..., :1], 0, 1)
            mixed += patch * (_mixed(faces, found.maps[len(rests) :], scale) - mixed)
        if not np.isfinite(mixed).all():
            raise ValueError("Moving the drawn face gave values that are not numbers.")
        return mixed


def _mixed(
    faces: Sequence[tuple[DrawnFace, float]], maps: Sequence[np.ndarray], scale: float
) -> np.ndarray:
    """Add moved pictures up by their shares."""
    mixed = np.zeros((*maps[0].shape[:2], 3), np.float32)
    for (face, share), at_map in zip(faces, maps, strict=False):
        mixed += np.float32(share) * sample(face.picture, at_map, scale)
    return mixed


def _believed(shifts: FloatArray, weights: FloatArray) -> FloatArray:
    """Average seams, as far as there was skin to judge by; the encoder knows tones well."""
    mean = np.average(shifts, axis=0, weights=weights) - _SEAM_BIAS
    mean = mean * _SEAM_SHARE * min(1.0, float(weights.mean()))
    believed: FloatArray = np.clip(mean, -_MOST_SHIFT, _MOST_SHIFT)
    return believed


def _plain_role(
    start: int, motion: TrackMotion, person: Person, painter: PersonPainter, keys: list[int]
) -> Role:
    """Return a role whose colours are as drawn."""
    shape = fit_shape(person.frontal, motion.neutral)
    shift = np.zeros((len(motion.usable), 3))
    return Role(start, motion, person, shape, painter, keys, rest_poses(motion), shift)


def _spread(usable: np.ndarray, n: int) -> list[int]:
    """Choose up to ``n`` of the usable frames, spread over them, away from the ends."""
    at = np.linspace(0, len(usable) - 1, n + 2)[1:-1].round().astype(int)
    return sorted({int(usable[i]) for i in at})
