"""One still: anonymize it as a user would, and measure every face in it."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.identities import Judge
from benchmarks.quality.pictures import Look, color_difference, look_of
from benchmarks.quality.rejection import without_rejection
from benchmarks.quality.report import Face
from benchmarks.quality.still_sources import Still
from dp3_lightning.anonymize import (
    CheckOptions,
    Drawing,
    OutputOptions,
    PersonOptions,
    Settings,
)
from dp3_lightning.anonymize.manifest import is_done, read_manifest
from dp3_lightning.anonymize.picture_job import anonymize_picture, plan_of_picture, read_picture
from dp3_lightning.anonymize.planning.plan import Plan
from dp3_lightning.anonymize.rendering.mesh.measure import MotionMeter
from dp3_lightning.anonymize.rendering.mesh.renderer import NO_MESH
from dp3_lightning.faces import CenterFace
from dp3_lightning.faces.mesh import FaceMesh
from dp3_lightning.structures import FloatArray, UInt8Array

_GREY = 4.0  # chroma of the strongest colours around a face: below it, the picture has none
_ALIKE = ("looked too much like", "passed for the real person")
DRAWN, NO_FACE = "drawn", "no face"


@dataclass
class StillStudy:
    """Measures stills, with networks that are loaded once.

    Attributes:
        drawing: what draws.
        judges: recognisers.
        folder: of the pictures that are made; they stay there.
        seed: of the study; every still has its own from it.
    """

    drawing: Drawing
    judges: Sequence[Judge]
    folder: Path
    seed: int
    detector: CenterFace = field(default_factory=lambda: CenterFace(0.5, runtime="auto"))
    mesh: FaceMesh = field(default_factory=FaceMesh)

    def measure(self, still: Still) -> list[Face]:
        """Anonymize a still and measure its faces, a row each; one row where none is found."""
        start = time.perf_counter()
        self.folder.mkdir(parents=True, exist_ok=True)
        seed = seed_of(self.seed, still.name)
        head: Face = {"still": still.name, "seed": seed}
        real = read_picture(still.path)
        plan = plan_of_picture(still.path, Settings(), self.detector)
        if not plan.tracks:
            return [{**head, "track": 0, "outcome": NO_FACE}]
        output = output_of(self.folder, still.name)
        record = self._drawn(still, output, plan, seed)
        redraws: dict[str, int] = record["faces"]["people_refused_as_too_alike"]
        verdicts = [verdict_of(record, number) for number in range(len(plan.tracks))]
        made = first = read_picture(output)
        if any(redraws.values()) or any(why == "alike" for _, why in verdicts):
            unchecked = output.with_suffix(".first.png")
            with without_rejection():
                self._drawn(still, unchecked, plan, seed, check=False)
            first = read_picture(unchecked)
        seen = [seen_meshes(picture, plan, self.mesh) for picture in (real, made)]
        rows = []
        for number, track in enumerate(plan.tracks):
            box = track.boxes[0]
            row = {**head, "track": number, "side": round(box[2] - box[0], 1)}
            row |= dict(zip(("outcome", "why"), verdicts[number], strict=True))
            row["redraws"] = redraws.get(track.person, 0)
            row |= alike_values(self.judges, (real, made, first), box)
            before, after = (part.get(number) for part in seen)
            row["mesh"] = before is not None
            if before is not None:
                row |= _color_values(look_of(real, before.points), before.is_grey)
                if after is not None and row["outcome"] == DRAWN:
                    looks = (look_of(real, before.points), look_of(made, after.points))
                    row |= _look_values(*looks)
            rows.append(row)
        rows[0]["seconds"] = round(time.perf_counter() - start, 2)
        return rows

    def _drawn(
        self, still: Still, output: Path, plan: Plan, seed: int, check: bool = True
    ) -> dict[str, Any]:
        """Anonymize a still, unless that was done before, and return the manifest."""
        people, overwrite = PersonOptions(seed=seed), OutputOptions(overwrite=True)
        settings = Settings(people=people, output=overwrite)
        if not check:
            settings = replace(settings, check=CheckOptions(verify=False, identity_check="off"))
        if not is_done(still.path, output, self.drawing.describe(), settings.recorded()):
            anonymize_picture(still.path, output, self.drawing, settings, self.detector, plan)
        record = read_manifest(output)
        if record is None:
            raise ValueError(f"No manifest beside {str(output)!r}: it was made by another version.")
        return record


@dataclass(frozen=True)
class SeenMesh:
    """A mesh that can be trusted.

    Attributes:
        points: ``(468, 3)`` in pixels of the picture.
        is_grey: whether there is no colour around it.
    """

    points: FloatArray
    is_grey: bool


def seed_of(seed: int, name: str) -> int:
    """Return the seed of one still."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:4], "big")


def output_of(folder: Path, name: str) -> Path:
    """Return where the anonymized copy of a still lies."""
    return folder / f"{name.replace('/', '_')}.png"


def seen_meshes(picture: UInt8Array, plan: Plan, mesh: FaceMesh) -> dict[int, SeenMesh]:
    """Find meshes as drawing does; by number of the track, where they can be trusted."""
    meter = MotionMeter(plan, mesh)
    meter.add(picture, 0)
    return {
        number: SeenMesh(raw.meshes[0].astype(np.float64), not raw.chroma[0] >= _GREY)
        for number, raw in meter.found.items()
        if raw.trusted[0]
    }


def verdict_of(record: Mapping[str, Any], number: int) -> tuple[str, str]:
    """Read in a manifest what became of a track.

    Returns:
        ``drawn`` or ``blurred``, and why: ``no mesh``, ``alike``, ``small``, ``failed``, or empty.
    """
    track = record["tracks"][number]
    reasons = [f["reason"] for f in record["failures"] if f["person"] == track["person"]]
    if track["action"] != "generate":
        reasons.insert(0, track["reason"])
    if not reasons:
        return DRAWN, ""
    if any(part in reason for reason in reasons for part in _ALIKE):
        return "blurred", "alike"
    if any("too small" in reason for reason in reasons):
        return "blurred", "small"
    return "blurred", "no mesh" if set(reasons) == {NO_MESH} else "failed"


def alike_values(
    judges: Sequence[Judge], pictures: Sequence[UInt8Array], box: Sequence[float]
) -> Face:
    """Compare the real face with the output, and with the first draw where that is another picture.

    Args:
        judges: recognisers.
        pictures: original, output, first draw (the output itself where nobody was refused).
        box: of the face.

    Returns:
        Judge to similarity, and "judge, first"; None where the judge finds no face.
    """
    values: Face = {}
    for judge in judges:
        vectors = [judge.embedder(picture, box) for picture in pictures[:2]]
        same = pictures[2] is pictures[1]
        vectors.append(vectors[1] if same else judge.embedder(pictures[2], box))
        real = vectors[0]
        for label, other in zip(("", ", first"), vectors[1:], strict=True):
            known = real is not None and other is not None
            values[f"{judge.name}{label}"] = (
                round(float(judge.similarities(real[None], other[None])[0, 0]), 4)  # type: ignore[index]
                if known
                else None
            )
    return values


def typology_angle(skin: FloatArray) -> float:
    """Return the individual typology angle (ITA) of a CIELAB colour, in degrees."""
    return math.degrees(math.atan2(float(skin[0]) - 50, float(skin[2])))


def _color_values(look: Look, is_grey: bool) -> Face:
    skin = [round(float(value), 1) for value in look.skin]
    angle = None if is_grey else round(typology_angle(look.skin), 1)
    return {"skin of the original": skin[0], "ITA": angle}


def _look_values(real: Look, made: Look) -> Face:
    ratio = made.details / max(real.details, 1e-9)
    return {
        "dE": round(color_difference(real.skin, made.skin), 2),
        "lighter": round(float(made.skin[0] - real.skin[0]), 2),
        "sharpness": round(ratio, 3) if math.isfinite(ratio) else None,
    }
