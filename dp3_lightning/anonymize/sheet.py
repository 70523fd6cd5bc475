"""Draw a contact sheet of the candidates for every face of a video or picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from dp3_lightning.anonymize.options import PersonOptions
from dp3_lightning.anonymize.picture_job import read_picture, write_picture
from dp3_lightning.anonymize.planning.plan import Plan
from dp3_lightning.anonymize.planning.planner import plan_picture, plan_video
from dp3_lightning.anonymize.rendering.choice import renderer_for
from dp3_lightning.anonymize.rendering.drawing import Drawing
from dp3_lightning.anonymize.rendering.mesh.people import DrawnFace
from dp3_lightning.anonymize.rendering.mesh.stage import MeshRenderer
from dp3_lightning.anonymize.settings import Settings, recogniser
from dp3_lightning.generators.face_prior.adapter import FacePriorGenerator
from dp3_lightning.structures import FaceDetector, UInt8Array
from dp3_lightning.video import VideoReader

_TILE, _MARGIN, _HEAD = 192, 8, 26  # pixels
_INK, _PAPER = (40, 40, 40), 245


def make_sheet(
    source: Path,
    target: Path,
    drawing: Drawing,
    settings: Settings,
    detector: FaceDetector,
    people: int,
    is_picture: bool,
    plan: Plan | None = None,
) -> list[str]:
    """Draw candidates for every person in a file, side by side, without real pixels.

    Args:
        source: video or picture.
        target: picture file of the sheet.
        drawing: must draw with the face prior.
        settings: as for rendering. Without ``seed`` or a key, candidates differ in every run
            and cannot be chosen.
        detector: face detector.
        people: candidates per person.
        is_picture: whether ``source`` is a picture.
        plan: made before; default: make one.

    Returns:
        The people, in the order of the rows.

    Raises:
        TypeError: another generator.
        ValueError: no seed and no key, or nobody who can be drawn.
    """
    if not isinstance(drawing.generator, FacePriorGenerator):
        raise TypeError(f"`--sheet` works with the face prior only, got {drawing.name!r}.")
    if settings.people.seed is None and settings.people.pseudonym_key is None:
        raise ValueError(
            "Give `--seed` (or `--pseudonym-key`) with `--sheet`: otherwise the next run draws "
            "other people than those on the sheet."
        )
    picture = read_picture(source) if is_picture else None
    if plan is None:
        if picture is not None:
            plan = plan_picture(source, picture, detector, settings.plan)
        else:
            embedder = recogniser(settings.check)[0]
            plan = plan_video(source, detector, settings.plan, embedder=embedder)
    rows: dict[str, dict[int, UInt8Array]] = {}
    reader = None if picture is not None else VideoReader(source)
    for candidate in range(1, people + 1):
        choice = replace(settings.people, person=candidate)
        for label, face in _faces(plan, drawing, settings, choice, picture, reader).items():
            rows.setdefault(label, {})[candidate] = face.picture
    if not rows:
        raise ValueError(f"No face in {str(source)!r} can be drawn, so there are no candidates.")
    write_picture(target, _sheet(rows, people))
    return list(rows)


def _faces(
    plan: Plan,
    drawing: Drawing,
    settings: Settings,
    choice: PersonOptions,
    picture: UInt8Array | None,
    reader: VideoReader | None,
) -> Mapping[str, DrawnFace]:
    """Return one candidate for every person, drawn at rest."""

    def frame_at(index: int) -> UInt8Array:
        if picture is not None:
            return picture
        assert reader is not None
        return reader.frame(index)

    styles = drawing.styles(plan, choice, b"")
    keyed = drawing.keyed(plan, choice)
    renderer = renderer_for(plan, drawing, styles, settings.render, frame_at, keyed=keyed)
    if not isinstance(renderer, MeshRenderer):
        raise TypeError("`--sheet` needs `compat: none`.")
    return {plan.tracks[n].person: role.person.face for n, role in renderer.roles.items()}


def _sheet(rows: Mapping[str, Mapping[int, UInt8Array]], columns: int) -> UInt8Array:
    """Arrange drawn faces, one row per person; refused candidates leave a gap."""
    step = _TILE + _MARGIN
    height, width = _MARGIN + len(rows) * (step + _HEAD), _MARGIN + columns * step
    sheet = np.full((height, width, 3), _PAPER, np.uint8)
    for r, (label, row) in enumerate(rows.items()):
        top = _MARGIN + r * (step + _HEAD)
        for c in range(columns):
            face = row.get(c + 1)
            left = _MARGIN + c * step
            text = f"{label}  {c + 1}" if c == 0 else str(c + 1)
            if face is None:
                text += " too alike"
            at = (left, top + _HEAD - 9)
            cv2.putText(sheet, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, _INK, 1, cv2.LINE_AA)
            if face is None:
                continue
            kind = cv2.INTER_AREA if face.shape[0] > _TILE else cv2.INTER_CUBIC
            small = cv2.resize(face, (_TILE, _TILE), interpolation=kind)
            sheet[top + _HEAD : top + _HEAD + _TILE, left : left + _TILE] = small
    return sheet
