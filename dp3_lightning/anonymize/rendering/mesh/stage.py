"""Prepare rendering with the face prior: follow meshes, choose people, refuse look-alikes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache

import torch
from torch import Tensor

from dp3_lightning.anonymize.planning.plan import Plan
from dp3_lightning.anonymize.rendering.mesh.cast import Casting
from dp3_lightning.anonymize.rendering.mesh.likeness import Likeness
from dp3_lightning.anonymize.rendering.mesh.measure import is_drawn, measure_motion
from dp3_lightning.anonymize.rendering.mesh.motion import TrackMotion, track_motion
from dp3_lightning.anonymize.rendering.mesh.people import SKETCH_SIZE, PersonPainter
from dp3_lightning.anonymize.rendering.mesh.renderer import MeshRenderer
from dp3_lightning.anonymize.rendering.mesh.role import Role
from dp3_lightning.anonymize.rendering.propagation import Propagation
from dp3_lightning.anonymize.rendering.renderer import RenderOptions
from dp3_lightning.anonymize.rendering.result import Failure
from dp3_lightning.faces.mesh import FaceMesh
from dp3_lightning.faces.sface import SFaceEmbedder
from dp3_lightning.generators.face_prior.adapter import FacePriorGenerator
from dp3_lightning.generators.face_prior.latent_model import N_IDENTITY
from dp3_lightning.generators.face_prior.warp import MeshWarp
from dp3_lightning.randomness import keyed_generator
from dp3_lightning.structures import UInt8Array

__all__ = ["MeshRenderer", "prepare_mesh_renderer"]

_EVERY = 16  # frames from one key face to the next, on average
_MOST_DRAWS = 4  # of people for one real person; then the track is blurred
_MOST_FLAWED = 5  # draws of people with glasses or a fringe that are refused
TOO_ALIKE = "every drawn person looked too much like the real one"


def prepare_mesh_renderer(
    plan: Plan,
    generator: FacePriorGenerator,
    styles: Mapping[str, Tensor],
    options: RenderOptions,
    frame_at: Callable[[int], UInt8Array],
    progress: Callable[[int], None] | None = None,
    keyed: frozenset[str] = frozenset(),
) -> MeshRenderer:
    """Decide how every track is drawn; see ``renderer_for``."""
    mesh = FaceMesh()
    meter = measure_motion(_needed(plan, frame_at), plan, mesh, progress)
    how = Propagation.parse(options.propagation)
    every = 1 if how.mode == "off" else how.every if ":" in options.propagation else _EVERY

    @cache
    def painter_of(size: int) -> PersonPainter:
        sketcher = painter_of(SKETCH_SIZE) if size > SKETCH_SIZE else None
        return PersonPainter(generator, FaceMesh(), size, sketcher)

    casting = Casting(
        painter_of,
        MeshWarp(generator.model.reference),
        every,
        options.color_match,
        generator.strength,
    )
    renderer = MeshRenderer(plan, {}, casting, options)
    renderer.problems = [Failure(i, person, reason) for i, person, reason in meter.failures]
    motions = {}
    for number, raw in meter.found.items():
        motion = track_motion(raw, generator.model.reference)
        if motion is not None:
            motions[number] = motion
    likeness = Likeness(casting, SFaceEmbedder())
    for person in dict.fromkeys(track.person for track in plan.tracks):
        own = {n: m for n, m in motions.items() if plan.tracks[n].person == person}
        try:
            found = {}
            if own:
                by_key = person in keyed
                found = _cast(plan, own, casting, likeness, styles[person], frame_at, by_key)
        except Exception as error:  # fail closed: without a role a track is blurred
            reason = f"choosing a person failed: {type(error).__name__}: {error}"
            renderer.refusals |= dict.fromkeys(own, reason)
            continue
        if own and not found:
            renderer.refusals |= dict.fromkeys(own, TOO_ALIKE)
        renderer.roles |= found
    renderer.redraws = likeness.redraws
    return renderer


def _needed(plan: Plan, frame_at: Callable[[int], UInt8Array]) -> Iterator[tuple[int, UInt8Array]]:
    """Yield the frames in which a face is to be drawn, in order."""
    wanted = {
        track.start + at
        for track in plan.tracks
        for at in range(len(track.boxes))
        if is_drawn(track, at)
    }
    for index in sorted(wanted - set(plan.undetected) - set(plan.lost)):
        yield index, frame_at(index)


def _cast(
    plan: Plan,
    motions: Mapping[int, TrackMotion],
    casting: Casting,
    likeness: Likeness,
    residual: Tensor,
    frame_at: Callable[[int], UInt8Array],
    by_key: bool,
) -> dict[int, Role]:
    """Choose one person for all tracks of a real one; empty when all draws are too alike."""
    # Whoever is drawn is chosen by the track that shows most.
    order = sorted(motions, key=lambda n: -float(motions[n].usable.sum() * motions[n].scale.mean()))
    draw = 0
    for attempt in range(_MOST_DRAWS + _MOST_FLAWED):
        roles: dict[int, Role] = {}
        # Who it is comes from the draw alone; the context gives light, tone and hair.
        identity = residual.reshape(-1)[:N_IDENTITY].double().cpu().numpy()
        for number in order:
            track = plan.tracks[number]
            known = next(iter(roles.values())).person if roles else None
            roles[number] = casting.role(
                track.start,
                track.boxes,
                motions[number],
                residual,
                frame_at,
                known,
                strength=casting.strength,
                identity=identity,
                by_key=by_key,
            )
        # Another person, as random as the first and as repeatable.
        key = int(residual.double().sum() * 1e6)
        residual = torch.randn(residual.shape, generator=keyed_generator(key, "another draw"))
        flawed = next(iter(roles.values())).person.flawed
        if flawed and attempt < _MOST_FLAWED:
            continue
        if all(likeness.is_unlike(roles[n], plan.tracks[n].boxes, frame_at) for n in order[:3]):
            likeness.keep(plan.tracks[order[0]].person, draw)
            return roles
        draw += 1
        if draw == _MOST_DRAWS:
            break
    likeness.keep(plan.tracks[order[0]].person, _MOST_DRAWS)
    return {}
