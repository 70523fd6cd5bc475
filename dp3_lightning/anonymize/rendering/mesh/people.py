"""Choose the person who is drawn for a real one, and draw that person with a wanted expression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from dp3_lightning.anonymize.rendering.mesh.motion import TrackMotion
from dp3_lightning.anonymize.rendering.mesh.wishes import (
    BARE_FOREHEAD,
    TONE,
    drawable,
    is_man,
    motion_values,
    resting_motion,
    skin_tone,
    wanted_look,
)
from dp3_lightning.faces.appearance import appearance, eye_detail, upper_lip
from dp3_lightning.faces.expression import (
    expression_signals,
    frontalise,
    pose_angles,
)
from dp3_lightning.faces.mesh import FaceMesh
from dp3_lightning.generators.face_prior.adapter import FacePriorGenerator
from dp3_lightning.generators.face_prior.latent_model import (
    DIRECTIONS,
    LOOK,
    MOTION,
)
from dp3_lightning.generators.face_prior.rim import extend_skin
from dp3_lightning.generators.face_prior.synthesis import N_STYLES
from dp3_lightning.structures import FloatArray, UInt8Array

# Where the synthesis network draws faces, of the side of its pictures: a start for the mesh.
_DRAWN_BOX = np.array([0.208, 0.178, 0.793, 0.931])
SKETCH_SIZE = 256  # pixels, at which people are chosen and expressions are measured
_EXPRESSED_STYLES = 4  # first convolution and layers up to 32 pixels take pose and expression
_LIMIT, _LIMIT_EXPRESSED = 3.0, 2.5  # standard deviations that attributes are driven to
_WARPED_ONLY = ("brow_right", "brow_left", "lip_up")
_LOST = 0.75  # mean error in deviations from which a drawing has dissolved
_CLOSE_ENOUGH = 0.25  # mean error in deviations that is not worth a second drawing
_STEP = 0.7  # of a measured error that one correction undoes
_GLASSES_SEEN, _FRINGE_SEEN = 0.3, 0.5
_IDENTITY_SPREAD, _IDENTITY_NOISE = 1.4, 0.25  # people differ, as far as they stay likely
_MOST_NORM, _MOST_EXPRESSED = 0.95, 1.1  # root mean square of whitened latents
_KEYED_STRENGTH, _KEPT_NOISE_KEYED = 1.0, 0.1
_MOUSTACHE = -7.0  # lightness of the upper lip beside the cheeks
_LEAST_DETAIL = 5.5  # of the eyes: what 5 % of random people have less of


@dataclass(frozen=True)
class DrawnFace:
    """One picture of a drawn person.

    Attributes:
        picture: ``(S, S, 3)`` uint8 RGB.
        mesh: ``(468, 3)`` in its pixels.
        motion: measured pose and expression, in natural units, see ``MOTION``.
        frontal: ``(468, 3)`` frontal mesh.
        latent: ``(512,)`` that it was drawn from.
    """

    picture: UInt8Array = field(repr=False)
    mesh: FloatArray = field(repr=False)
    motion: FloatArray
    frontal: FloatArray = field(repr=False)
    latent: FloatArray | None = field(default=None, repr=False)


@dataclass
class Person:
    """A drawn person.

    Attributes:
        latent: ``(512,)`` whitened, at rest.
        style: ``(512,)`` of the look, which expressions leave alone.
        frontal: ``(468, 3)`` mesh at rest.
        skin: wanted tone, in deviations, ``(3,)``.
        face: drawn at rest.
        flawed: whether the face wears glasses or a fringe, which come and go between key faces, has
            hardly any eyes, or is a woman with a moustache.
    """

    latent: FloatArray = field(repr=False)
    style: Tensor = field(repr=False)
    frontal: FloatArray = field(repr=False)
    skin: FloatArray
    face: DrawnFace = field(repr=False)
    flawed: bool = False


class PersonPainter:
    """Draws people with the face prior and measures what it drew.

    Args:
        generator: the face prior.
        mesh: finds meshes in drawn pictures.
        size: of drawn pictures in pixels: 128, 256, 512 or 1024.
        sketcher: draws small what is measured only; None: drawn at ``size``.
    """

    def __init__(
        self,
        generator: FacePriorGenerator,
        mesh: FaceMesh | None = None,
        size: int = SKETCH_SIZE,
        sketcher: PersonPainter | None = None,
    ) -> None:
        self.generator, self.model = generator, generator.model
        self.mesh, self.size = mesh or FaceMesh(), size
        self.sketcher = sketcher or self
        self._start: FloatArray | None = None
        kept = ("skin_l", "skin_a", "skin_b", "glasses", "forehead", "beard", "lips", *DIRECTIONS)
        self.kept = [*self.model.index(*kept), *self.model.identity]

    # ---- drawing

    def draw(self, latent: FloatArray, look: Tensor | None = None) -> DrawnFace:
        """Draw a latent ``(512,)`` and measure the picture.

        Args:
            latent: whitened.
            look: style ``(512,)`` of the finer layers; None: the latent's own.

        Raises:
            ValueError: the network drew nothing that has a mesh.
        """
        w = self.generator.space.color(torch.from_numpy(latent).float())
        styles = w[None].expand(N_STYLES, -1).clone()
        if look is not None:
            styles[_EXPRESSED_STYLES:] = look
        levels = self.generator.fast(styles[None], self.size)[0].clamp(-1, 1)
        if not torch.isfinite(levels).all():
            raise ValueError("The synthesis network gave values that are not numbers.")
        picture = np.rint((levels.permute(1, 2, 0).numpy() + 1) * 127.5).astype(np.uint8)
        mesh = self._mesh_of(picture)
        faces = frontalise(mesh, self.model.reference)
        measured = self._motion_of(faces.points, faces.rotation)
        return DrawnFace(picture, mesh, measured, faces.points, latent)

    def _mesh_of(self, picture: UInt8Array) -> FloatArray:
        found = None
        if self._start is not None:
            found = self.mesh.refine(picture, self._start)
        if found is None or found.presence < 0:
            found = self.mesh.locate(picture, (_DRAWN_BOX * self.size).tolist())
        if found is None or found.presence < 0:
            raise ValueError("No mesh was found in a drawn face.")
        found = self.mesh.refine(picture, found.points)
        self._start = found.points.astype(np.float64)
        return self._start

    @staticmethod
    def _motion_of(frontal: FloatArray, rotation: FloatArray) -> FloatArray:
        return motion_values(pose_angles(rotation), expression_signals(frontal))

    def express(self, person: Person, motion: FloatArray, corrections: int = 1) -> DrawnFace:
        """Draw a person with a wanted pose and expression.

        Identity and look are held: without that another person appears when the mouth opens.

        Args:
            person: who.
            motion: ``(10,)`` in natural units, see ``MOTION``.
            corrections: how often the picture is measured and the error fed back.
        """
        model = self.model
        # What the warp does alone is not asked of the network: raised brows make it draw women.
        which = [n for n, name in enumerate(MOTION) if name not in _WARPED_ONLY]
        wanted = model.standardise(drawable(motion)[which], which)
        wanted = np.clip(wanted, -_LIMIT_EXPRESSED, _LIMIT_EXPRESSED)
        gain = model.gain(which, self.kept)
        u = person.latent + gain @ (wanted - model.standardise(person.face.motion[which], which))
        best: tuple[float, DrawnFace, FloatArray] | None = None
        for attempt in range(corrections + 1):
            u = _within(u, _MOST_EXPRESSED)
            face = self.sketcher.draw(u, person.style)
            error = wanted - model.standardise(face.motion[which], which)
            size = float(np.abs(error).mean())
            if best is None or size < best[0]:
                best = (size, face, u)
            if size < _CLOSE_ENOUGH:
                break
            if attempt < corrections:
                u = u + _STEP * gain @ error
        assert best is not None
        if best[0] > _LOST and corrections > 0:
            # The network cannot draw that; half of it, and the warp does the rest.
            half = (motion + person.face.motion) / 2
            return self.express(person, half, corrections=0)
        face = self._without_glasses(best[1], best[2], person)
        if len(face.picture) != self.size and face.latent is not None:
            face = self.draw(face.latent, person.style)
        return replace(face, picture=extend_skin(face.picture, face.mesh))

    def _without_glasses(self, face: DrawnFace, u: FloatArray, person: Person) -> DrawnFace:
        """Draw a face again that has put on glasses, and keep the barer one."""
        model = self.model
        index = model.index("glasses")
        worn = self._look(face)[index[0] - len(MOTION)]
        if worn < _GLASSES_SEEN:
            return face
        kept = [*model.motion, *model.index("skin_l", "skin_a", "skin_b", "forehead")]
        again = self.sketcher.draw(u + model.gain(index, kept)[:, 0] * (-0.8 - worn), person.style)
        return again if self._look(again)[index[0] - len(MOTION)] < worn else face

    def _look(self, face: DrawnFace) -> FloatArray:
        """Measure how a drawn face looks, in deviations, see ``LOOK``."""
        seen = appearance(_small(face.picture), face.mesh * (256 / len(face.picture)))
        return self.model.standardise(seen, self.model.index(*LOOK))

    # ---- choosing

    def choose(
        self,
        contexts: Sequence[tuple[Tensor, Tensor]],
        motion: TrackMotion,
        residual: FloatArray,
        strength: float = 0.9,
        identity: FloatArray | None = None,
        by_key: bool = False,
    ) -> Person:
        """Draw a random person who fits what surrounds a face.

        Args:
            contexts: aligned surroundings and what is known of them, see ``ContextEncoder``.
            motion: of the track; lends its resting expression and the skin around the face.
            residual: ``(512,)`` from N(0, 1): who it is among those who fit.
            strength: share of the spread of people who fit; 0 draws the most likely one.
            identity: ``(100,)`` wanted identity components in deviations.
            by_key: who it is must not depend on the context, man or woman neither.
        """
        model = self.model
        guess = self.generator.encode(contexts)
        rest, skin = resting_motion(model, motion), skin_tone(model, guess, motion)
        if by_key:
            known, flawed = self._by_key(residual)
            moved = self._moved(known, rest, skin)
            person = self._person(moved, rest, skin, kept_noise=_KEPT_NOISE_KEYED)
            return replace(person, flawed=flawed)
        u = guess + strength * (model.spread_root @ residual)
        wanted = wanted_look(model, model.predict(u), model.predict(guess))
        return self._person(self._asked(u, rest, skin, wanted, identity), rest, skin)

    def _by_key(self, residual: FloatArray) -> tuple[FloatArray, bool]:
        """Draw the same person whatever is around, looking ahead in medium light; and flaws."""
        u = _KEYED_STRENGTH * residual
        wanted = wanted_look(self.model, self.model.predict(u), None)
        rest = drawable(motion_values(np.zeros(3), self.model.rest))
        person = self._person(self._asked(u, rest, np.zeros(3), wanted), rest, np.zeros(3))
        return person.latent, person.flawed

    def _moved(self, u: FloatArray, rest: FloatArray, skin: FloatArray) -> FloatArray:
        """Change pose, expression and tone of somebody, and nothing else."""
        model = self.model
        driven = [*model.motion, *model.index(*TONE)]
        kept = sorted(set(range(len(model.mean))) - set(driven))
        target = np.concatenate([model.standardise(rest, model.motion), skin])
        change = np.clip(target, -_LIMIT, _LIMIT) - model.predict(u)[driven]
        return _within(u + model.gain(driven, kept) @ change)

    def _asked(
        self,
        u: FloatArray,
        rest: FloatArray,
        skin: FloatArray,
        look: Mapping[int, float],
        identity: FloatArray | None = None,
    ) -> FloatArray:
        """Move a random latent to where it shows what is wanted."""
        model = self.model
        wanted = {
            **dict(zip(model.motion, model.standardise(rest, model.motion), strict=True)),
            **dict(zip(model.index(*TONE), skin, strict=True)),
            **look,
        }
        noise = [0.25] * len(wanted)
        if identity is not None:
            wanted |= dict(zip(model.identity, _IDENTITY_SPREAD * identity, strict=False))
            noise += [_IDENTITY_NOISE] * (len(wanted) - len(noise))
        indices = list(wanted)
        gain = model.gain(indices, driven_noise=noise)
        target = np.clip(np.array(list(wanted.values())), -_LIMIT, _LIMIT)
        return _within(u + gain @ (target - model.predict(u)[indices]))

    def _person(
        self, u: FloatArray, rest: FloatArray, skin: FloatArray, kept_noise: float = 1.0
    ) -> Person:
        """Draw somebody, correct what was missed, and look for flaws."""
        u = _within(self._corrected(u, rest, skin, kept_noise))
        style = self.generator.space.color(torch.from_numpy(u).float())
        face = self.draw(u, style)
        worn, bare = self._look(face)[3:5]
        small, points = _small(face.picture), face.mesh * (256 / len(face.picture))
        is_woman = not is_man(self.model, self.model.predict(u))
        flawed = bool(
            worn > _GLASSES_SEEN
            or bare < _FRINGE_SEEN
            or eye_detail(small, points) < _LEAST_DETAIL
            or (is_woman and upper_lip(small, points) < _MOUSTACHE)
        )
        return Person(u, style, face.frontal, skin, face, flawed)

    def _corrected(
        self, u: FloatArray, rest: FloatArray, skin: FloatArray, kept_noise: float
    ) -> FloatArray:
        """Measure what is drawn, and feed back the errors of expression, tone and glasses."""
        model = self.model
        glasses, forehead = model.index("glasses", "forehead")
        wanted = np.clip(model.standardise(rest, model.motion), -_LIMIT, _LIMIT)
        look = model.index(*TONE)
        for _ in range(2):
            face = self.draw(u)
            tone, (spectacles, bare) = (seen := self._look(face))[:3], seen[3:5]
            driven = [*model.motion, *look]
            error = np.concatenate(
                [
                    _STEP * (wanted - model.standardise(face.motion, model.motion)),
                    0.8 * np.clip(skin - tone, -2, 2),
                ]
            )
            if spectacles > _GLASSES_SEEN:
                driven.append(glasses)
                error = np.append(error, -0.6 - spectacles)
            if bare < BARE_FOREHEAD / 2:
                driven.append(forehead)
                error = np.append(error, BARE_FOREHEAD - bare)
            kept = [*model.identity, *model.index(*DIRECTIONS)]
            u = u + model.gain(driven, kept, kept_noise=kept_noise) @ error
        return u


def _within(u: FloatArray, most: float = _MOST_NORM) -> FloatArray:
    """Pull a latent back to where the network was made to draw; far out, faces dissolve."""
    return u * min(1.0, most / max(float(np.sqrt(np.mean(u**2))), 1e-9))


def _small(picture: UInt8Array) -> UInt8Array:
    """Bring a picture to the size at which appearances were measured, 256 pixels."""
    import cv2

    if picture.shape[0] == 256:
        return picture
    kind = cv2.INTER_AREA if picture.shape[0] > 256 else cv2.INTER_LINEAR
    small: UInt8Array = cv2.resize(picture, (256, 256), interpolation=kind)
    return small
