"""Pass 2 with the face prior: every planned face is drawn, or blurred.

A face is drawn only where its mesh was found. What fails, whatever the reason, is blurred: a frame
leaves this file either with all drawn faces in place, or with the failing ones blurred, or, when
putting it together fails, with all of them blurred.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dp3_lightning.anonymize.planning.plan import Plan, PlannedTrack
from dp3_lightning.anonymize.rendering.mesh.blend import Layer, cover, fitted_colors, to_lab
from dp3_lightning.anonymize.rendering.mesh.cast import Casting
from dp3_lightning.anonymize.rendering.mesh.measure import is_drawn
from dp3_lightning.anonymize.rendering.mesh.role import Role
from dp3_lightning.anonymize.rendering.renderer import RenderOptions
from dp3_lightning.anonymize.rendering.result import Failure, Rendered
from dp3_lightning.faces.obscure import obscure
from dp3_lightning.structures import UInt8Array

NO_MESH = "no face mesh: turned away, hidden or too blurred"


class MeshRenderer:
    """Renders stretches of a video by a plan; see ``FaceRenderer`` for the contract.

    Args:
        plan: who is where.
        roles: number of the track in the plan to how it is drawn; tracks without one are blurred.
        casting: moves drawn faces.
        options: see :class:`RenderOptions`.

    Attributes:
        problems: failures of the preparation, told with the frames they concern.
        refusals: number of a track with a mesh to why nobody is drawn there all the same.
        redraws: person to the number of drawn people that were refused.
    """

    def __init__(
        self,
        plan: Plan,
        roles: Mapping[int, Role],
        casting: Casting,
        options: RenderOptions | None = None,
    ) -> None:
        self.plan, self.roles, self.casting = plan, dict(roles), casting
        self.options = options or RenderOptions()
        self.undetected = frozenset(plan.undetected)
        self.problems: list[Failure] = []
        self.refusals: dict[int, str] = {}
        self.redraws: dict[str, int] = {}

    def render(self, frames: Sequence[UInt8Array], first: int) -> Rendered:
        """Render consecutive frames.

        Args:
            frames: real frames, unchanged.
            first: index of the first of them in the video.
        """
        result = Rendered([])
        result.failures += [p for p in self.problems if first <= p.frame < first + len(frames)]
        for offset, frame in enumerate(frames):
            result.frames.append(self._frame(frame, first + offset, result))
        return result

    def _frame(self, real: UInt8Array, index: int, result: Rendered) -> UInt8Array:
        if index in self.undetected:
            safe = real.copy()
            obscure(safe, (0, 0, real.shape[1], real.shape[0]), self.options.fallback)
            return safe
        layers: dict[int, Layer] = {}
        for number, track in enumerate(self.plan.tracks):
            if not track.start <= index < track.stop or track.action != "generate":
                continue
            layer = self._try_layer(number, track, real, index, result)
            if layer is not None:
                layers[number] = layer
        try:
            return self._assembled(real, index, layers)
        except Exception as error:  # fail closed: everybody is blurred
            reason = f"pasting failed: {type(error).__name__}: {error}"
            result.failures += [
                Failure(index, self.plan.tracks[number].person, reason) for number in layers
            ]
            return self._assembled(real, index, {})

    def _assembled(self, real: UInt8Array, index: int, layers: Mapping[int, Layer]) -> UInt8Array:
        """Blur who is not drawn, then lay drawn faces over, the smaller first."""
        frame = real.copy()
        for number, track in enumerate(self.plan.tracks):
            covers = track.start <= index < track.stop
            if covers and track.action != "keep" and number not in layers:
                obscure(frame, track.boxes[index - track.start], self.options.fallback)
        for layer in sorted(layers.values(), key=lambda found: found.color.size):
            layer.lay_over(frame)
        return frame

    def _try_layer(
        self, number: int, track: PlannedTrack, real: UInt8Array, index: int, result: Rendered
    ) -> Layer | None:
        at = index - track.start
        role = self.roles.get(number)
        if not is_drawn(track, at):
            return None
        if role is None or not role.motion.usable[at]:
            reason = self.refusals.get(number, NO_MESH) if role is None else NO_MESH
            result.failures.append(Failure(index, track.person, reason))
            return None
        try:
            return self._layer(role, real, at, index, result)
        except Exception as error:  # fail closed: the blur stays
            reason = f"drawing failed: {type(error).__name__}: {error}"
            result.failures.append(Failure(index, track.person, reason))
            return None

    def _layer(
        self, role: Role, real: UInt8Array, at: int, index: int, result: Rendered
    ) -> Layer | None:
        place = cover(
            role.motion.place(role.motion.frontal[at], at), role.target(at), real.shape[:2]
        )
        if place is None:
            return None
        drawn = role.texture.apply(self.casting.face_at(role, at, place), index)
        x0, y0, x1, y1 = place.region
        around = to_lab(real[y0:y1, x0:x1].astype(np.float32))
        color = fitted_colors(around, to_lab(drawn), place, role.shift[at], role.tone)
        if not np.isfinite(color).all():
            raise ValueError("The colours of the drawn face are not numbers.")
        (result.drawn if at in role.keys else result.carried).append(index)
        return Layer(place.region, color, place.alpha)
