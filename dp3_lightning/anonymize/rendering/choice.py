"""Choose the renderer of a plan and prepare it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from dp3_lightning.anonymize.planning.plan import Plan
from dp3_lightning.anonymize.rendering.deep_privacy2 import CompatRenderer
from dp3_lightning.anonymize.rendering.drawing import Drawing
from dp3_lightning.anonymize.rendering.mesh.stage import MeshRenderer, prepare_mesh_renderer
from dp3_lightning.anonymize.rendering.renderer import FaceRenderer, RenderOptions
from dp3_lightning.generators.face_prior.adapter import FacePriorGenerator
from dp3_lightning.structures import UInt8Array

Renderer = FaceRenderer | CompatRenderer | MeshRenderer
__all__ = ["Renderer", "people_of", "renderer_for"]


def renderer_for(
    plan: Plan,
    drawing: Drawing,
    styles: Mapping[str, Tensor],
    options: RenderOptions,
    frame_at: Callable[[int], UInt8Array],
    progress: Callable[[int], None] | None = None,
    keyed: frozenset[str] = frozenset(),
) -> Renderer:
    """Return the renderer of a plan for a generator.

    Args:
        plan: who is where.
        drawing: how faces are drawn.
        styles: person to style.
        options: see :class:`RenderOptions`.
        frame_at: real frame by its index. The face prior looks at all of them once, in order, to
            follow the faces' meshes.
        progress: called with the number of frames read.
        keyed: people whose identity comes from a pseudonym key alone.
    """
    generator = drawing.generator
    if options.compat == "dp2" and generator is not None:
        return CompatRenderer(plan, generator, styles, options)
    if isinstance(generator, FacePriorGenerator):
        return prepare_mesh_renderer(plan, generator, styles, options, frame_at, progress, keyed)
    return FaceRenderer(plan, generator, styles, options)


def people_of(renderer: Renderer, plan: Plan) -> dict[str, UInt8Array]:
    """Return the face that was drawn for everybody, at rest; nothing real is in these pictures.

    Args:
        renderer: prepared; only the face prior knows people by their faces.
        plan: people without a track that is drawn in it are left out.

    Returns:
        Person to ``(S, S, 3)`` uint8 RGB.
    """
    if not isinstance(renderer, MeshRenderer):
        return {}
    drawn = {track.person for track in plan.tracks if track.action == "generate"}
    roles = {renderer.plan.tracks[n].person: role for n, role in renderer.roles.items()}
    return {name: role.person.face.picture for name, role in roles.items() if name in drawn}
