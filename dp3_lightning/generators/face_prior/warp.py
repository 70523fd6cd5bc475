"""Move a drawn face to where another mesh is, triangle by triangle."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial import Delaunay

from dp3_lightning.faces.expression import OVAL
from dp3_lightning.structures import FloatArray

_RINGS = (1.10, 1.30)  # where triangles go on outside the outline, of its distance to the centre
# What outline and rings show: at jaw and cheeks the skin goes on, at the top a little beyond it.
_SOURCE_RINGS = (0.97, 1.0, 1.03)
_SOURCE_RINGS_TOP = (1.0, 1.06, 1.15)
_BEHIND = 0.05  # outer eye distances that the rings lie behind the outline
_GRID = 176  # triangles are looked up on a grid of at most that many rows

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class WarpMap:
    """Where every pixel of a region comes from, in one or several drawn faces.

    Attributes:
        maps: per drawn face ``(H, W, 2)`` float32, x and y in pixels of its picture.
        inside: ``(H, W)`` bool: pixels that the triangles cover.
    """

    maps: list[Float32Array]
    inside: npt.NDArray[np.bool_]


class MeshWarp:
    """Maps pixels between meshes by a fixed triangulation of the face and two rings around it.

    Args:
        reference: ``(468, 3)`` frontal mean mesh, which the triangles are laid out on.
    """

    def __init__(self, reference: FloatArray) -> None:
        self.reference = reference
        self.n_points = len(reference) + len(_RINGS) * len(OVAL)
        outline = reference[list(OVAL)]
        height = outline[:, 1] - outline[:, 1].mean()
        top = np.clip((-height / np.abs(height).max() - 0.35) / 0.4, 0, 1)
        self.top = top * top * (3 - 2 * top)  # 1 at the forehead, 0 from the cheeks down
        self.triangles = Delaunay(self.target(reference)[:, :2]).simplices

    def target(self, mesh: FloatArray) -> FloatArray:
        """Add the rings to the mesh of a face in a frame, ``(468 + 72, 3)``."""
        return self._with_rings(mesh, [np.full(len(OVAL), ring) for ring in _RINGS])

    def source(self, mesh: FloatArray) -> FloatArray:
        """Add what the rings show to the mesh of a drawn face, ``(468 + 72, 3)``."""
        outline, *rings = (
            side + self.top * (top - side)
            for side, top in zip(_SOURCE_RINGS, _SOURCE_RINGS_TOP, strict=True)
        )
        pulled = self._with_rings(mesh, [outline, *rings])
        pulled[list(OVAL)] = pulled[len(mesh) : len(mesh) + len(OVAL)]
        return np.concatenate([pulled[: len(mesh)], pulled[len(mesh) + len(OVAL) :]])

    @staticmethod
    def _with_rings(mesh: FloatArray, rings: list[FloatArray]) -> FloatArray:
        outline = mesh[list(OVAL)]
        center = outline.mean(0)
        depth = _BEHIND * float(np.linalg.norm(mesh[33] - mesh[263]))
        parts = [mesh]
        for ring in rings:
            part = center + (outline - center) * ring[:, None]
            part[:, 2] = outline[:, 2] + depth
            parts.append(part)
        return np.concatenate(parts)

    def map(self, target: FloatArray, sources: list[FloatArray], size: tuple[int, int]) -> WarpMap:
        """Find where the pixels of a region come from.

        Args:
            target: mesh with rings, in pixels of the region (pixel i spans [i, i + 1)).
            sources: meshes with rings of drawn faces, pixels of their pictures.
            size: ``(height, width)`` of the region.
        """
        step = max(1.0, max(size) / _GRID)
        grid = (int(np.ceil(size[0] / step)) + 1, int(np.ceil(size[1] / step)) + 1)
        corners = target[self.triangles]
        flat = np.concatenate([corners[..., :2], np.ones((*corners.shape[:2], 1))], 2)
        solid = np.abs(np.linalg.det(flat)) > 1e-3
        flat[~solid] = np.eye(3)
        inverse = np.linalg.inv(flat)
        labels = np.full(grid, -1, np.int32)
        drawn = np.round((corners[..., :2] / step - 0.5) * 16).astype(np.int32)
        for index in np.argsort(-corners[..., 2].mean(1)):  # far triangles first
            if solid[index]:
                cv2.fillConvexPoly(labels, drawn[index], int(index), cv2.LINE_8, 4)
        inside = labels >= 0
        which = _nearest(labels, inside)
        rows, columns = np.mgrid[0 : grid[0], 0 : grid[1]].astype(np.float32)
        x, y = (columns + 0.5) * step, (rows + 0.5) * step
        maps = []
        for source in sources:
            affine = (inverse @ source[self.triangles][..., :2]).astype(np.float32)[which]
            at = affine[..., 0, :] * x[..., None] + affine[..., 1, :] * y[..., None]
            maps.append(at + affine[..., 2, :])
        if step == 1.0:
            height, width = size
            return WarpMap([m[:height, :width] for m in maps], inside[:height, :width])
        return WarpMap([_enlarged(m, size, step) for m in maps], _enlarged_mask(inside, size, step))


def _nearest(labels: npt.NDArray[np.int32], inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Give pixels outside all triangles the label of the nearest one."""
    if inside.all() or not inside.any():
        return np.maximum(labels, 0)
    _, numbers = cv2.distanceTransformWithLabels(
        (~inside).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    of_number = np.zeros(int(numbers.max()) + 1, np.int32)
    of_number[numbers[inside]] = labels[inside]
    nearest: npt.NDArray[np.int32] = of_number[numbers]
    return nearest


def _positions(size: tuple[int, int], step: float) -> tuple[Float32Array, Float32Array]:
    x = ((np.arange(size[1]) + 0.5) / step - 0.5).astype(np.float32)
    y = ((np.arange(size[0]) + 0.5) / step - 0.5).astype(np.float32)
    columns, rows = np.meshgrid(x, y)
    return columns, rows


def _enlarged(values: Float32Array, size: tuple[int, int], step: float) -> Float32Array:
    columns, rows = _positions(size, step)
    enlarged: Float32Array = cv2.remap(
        values, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return enlarged


def _enlarged_mask(
    mask: npt.NDArray[np.bool_], size: tuple[int, int], step: float
) -> npt.NDArray[np.bool_]:
    enlarged: npt.NDArray[np.bool_] = _enlarged(mask.astype(np.float32), size, step) > 0.99
    return enlarged


def sample(picture: npt.NDArray[np.uint8], at: Float32Array, scale: float) -> Float32Array:
    """Look up a drawn picture, with the blur that shrinking needs.

    Args:
        picture: ``(S, S, 3)`` uint8.
        at: ``(H, W, 2)`` pixels of the picture, pixel i spanning [i, i + 1).
        scale: pixels of the result per pixel of the picture.

    Returns:
        ``(H, W, 3)`` float32 in [0, 255].
    """
    if scale < 0.75:
        sigma = 0.38 * np.sqrt(1 / scale**2 - 1)
        picture = cv2.GaussianBlur(picture, (0, 0), sigma)
    kind = cv2.INTER_LINEAR if scale < 1.3 else cv2.INTER_CUBIC
    at = at - np.float32(0.5)
    found = cv2.remap(picture, at, None, kind, borderMode=cv2.BORDER_REPLICATE)
    levels: Float32Array = found.astype(np.float32)
    return levels
