"""Faces that nobody has to draw: the mean mesh, painted pictures, shards of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file

from dp3_lightning.data.face_shards import PICTURE_SIZE, measures_path, shard_path
from dp3_lightning.faces.alignment import align_matrix
from dp3_lightning.faces.appearance import fill_outline, scaled_outline
from dp3_lightning.faces.expression import five_points
from dp3_lightning.generators.face_prior.adapter import DRAWN_BOX
from dp3_lightning.generators.face_prior.latent_model import LatentModel
from dp3_lightning.generators.face_prior.latent_space import LatentSpace

SKIN, HAIR, BACKGROUND = (215, 165, 135), (40, 30, 25), (40, 60, 200)


@functools.cache
def reference() -> np.ndarray:
    """The shipped mean mesh, outer eyes 1 apart."""
    return LatentModel.load().reference


def aligned_mesh(size: int) -> np.ndarray:
    """The mean mesh where the synthesis network would draw it, in pixels."""
    mesh = reference()
    matrix = align_matrix(five_points(mesh), size)
    flat = mesh[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    return np.column_stack([flat, mesh[:, 2] * np.hypot(*matrix[0, :2])])


def rotated(points: np.ndarray, degrees: float, center: Sequence[float]) -> np.ndarray:
    """Turn the first two columns clockwise as seen."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned = points.copy()
    turned[:, :2] = (points[:, :2] - center) @ np.array([[c, s], [-s, c]]) + center
    return turned


def painted(
    mesh: np.ndarray,
    size: int,
    skin: Sequence[int] = SKIN,
    background: Sequence[int] = BACKGROUND,
) -> np.ndarray:
    """A face of one colour, without features, before one background."""
    picture = np.full((size, size, 3), background, np.uint8)
    picture[fill_outline((size, size), scaled_outline(mesh, 1.0)) > 0] = skin
    return picture


def smooth_pictures(n: int, seed: int = 0, cells: int = 6) -> list[np.ndarray]:
    """Pictures of soft colours, as shards hold them."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (n, cells, cells, 3), dtype=np.uint8)
    side = (PICTURE_SIZE, PICTURE_SIZE)
    return [cv2.resize(s, side, interpolation=cv2.INTER_CUBIC) for s in small]


def write_shard(
    folder: Path,
    number: int,
    pictures: Sequence[np.ndarray],
    valid: Sequence[bool] | None = None,
    moved: tuple[float, float] = (0.0, 0.0),
    meshes: np.ndarray | None = None,
    measured: bool = True,
) -> Path:
    """A shard as `dp3 data synth-faces` writes it, with what was measured on it."""
    n, rng = len(pictures), np.random.default_rng(number)
    path = shard_path(folder, number)
    options = [cv2.IMWRITE_JPEG_QUALITY, 95]
    jpeg = [cv2.imencode(".jpg", p[..., ::-1], options)[1].reshape(-1) for p in pictures]
    latents = torch.from_numpy(rng.normal(size=(n, 512)).astype(np.float32))
    content = {
        "styles": LatentSpace.load().color(latents),
        "jpeg": torch.from_numpy(np.concatenate(jpeg)),
        "ends": torch.from_numpy(np.cumsum([len(data) for data in jpeg])),
    }
    save_file(content, path)
    if meshes is None:
        meshes = np.repeat(aligned_mesh(PICTURE_SIZE)[None], n, 0)
    meshes = meshes + np.array([*moved, 0.0])
    box = np.array(DRAWN_BOX) * PICTURE_SIZE + np.array([*moved, *moved])
    measures = {
        "valid": np.ones(n, bool) if valid is None else np.array(valid),
        "box": np.repeat(box[None].astype(np.float32), n, 0),
        "mesh": meshes.astype(np.float32),
        "embedding": rng.normal(size=(n, 128)).astype(np.float32),
        "appearance": rng.normal(size=(n, 7)).astype(np.float32),
    }
    if measured:
        tensors = {name: torch.from_numpy(value) for name, value in measures.items()}
        save_file(tensors, measures_path(path))
    return path
