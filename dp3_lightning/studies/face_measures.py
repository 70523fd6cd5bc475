"""Measure drawn people: box, mesh, look and identity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from dp3_lightning.data.face_shards import measures_path, read_measures, read_shard
from dp3_lightning.faces.appearance import APPEARANCE, appearance
from dp3_lightning.faces.detector import CenterFace
from dp3_lightning.faces.expression import five_points
from dp3_lightning.faces.mesh import FaceMesh
from dp3_lightning.faces.sface import SFace, align_face
from dp3_lightning.structures import Detection, UInt8Array

_MIDDLE = (0.25, 0.75)  # of the picture's width: where the face that was drawn lies
_SURE = 0.5
PRESENT = 10.0  # presence of a mesh that can be trusted


class FaceMeasurer:
    """Measure shards of drawn people."""

    def __init__(self) -> None:
        # Pictures are 256 pixels wide with one large face.
        self.detector = CenterFace(threshold=0.3, max_side=256, min_side=192, runtime="auto")
        self.mesh = FaceMesh()
        self.recogniser = SFace()

    def measure(self, shard: Path) -> dict[str, Tensor]:
        """Measure a shard, or read its earlier measurements; see :func:`read_measures`."""
        path = measures_path(shard)
        if not path.is_file():
            rows = [self._one(picture) for picture in read_shard(shard).pictures()]
            columns = zip(*rows, strict=True)
            names = ("valid", "box", "mesh", "embedding", "appearance")
            found = {
                name: torch.from_numpy(np.stack(column))
                for name, column in zip(names, columns, strict=True)
            }
            temporary = path.with_suffix(".part")
            save_file(found, temporary)
            temporary.replace(path)
        return read_measures(shard)

    def _one(self, picture: UInt8Array) -> tuple[np.ndarray, ...]:
        width = picture.shape[1]
        (faces,) = self.detector([picture])
        middle = [f for f in faces if _MIDDLE[0] * width < _center(f) < _MIDDLE[1] * width]
        nothing = (
            np.array(False),
            np.zeros(4, np.float32),
            np.zeros((468, 3), np.float32),
            np.zeros(128, np.float32),
            np.zeros(len(APPEARANCE), np.float32),
        )
        if not middle:
            return nothing
        face = max(middle, key=lambda f: (f.box[2] - f.box[0]) * (f.box[3] - f.box[1]))
        mesh = self.mesh.locate(picture, face.box, face.landmarks)
        if mesh is None or mesh.presence < PRESENT or face.score < _SURE:
            return nothing
        chip = align_face(picture, five_points(mesh.points))
        return (
            np.array(True),
            np.array(face.box, np.float32),
            mesh.points.astype(np.float32),
            self.recogniser.embed(chip[None])[0],
            appearance(picture, mesh.points).astype(np.float32),
        )


def _center(face: Detection) -> float:
    return (face.box[0] + face.box[2]) / 2
