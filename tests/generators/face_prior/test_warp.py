from __future__ import annotations

import functools

import cv2
import numpy as np
import pytest

from dp3_lightning.faces.appearance import fill_outline, scaled_outline
from dp3_lightning.faces.expression import OVAL
from dp3_lightning.generators.face_prior import warp
from dp3_lightning.generators.face_prior.warp import MeshWarp, WarpMap, sample
from tests.face_prior_fixtures import aligned_mesh, reference

DRAWN = 256  # pixels of the drawn picture


@functools.cache
def mesh_warp() -> MeshWarp:
    return MeshWarp(reference())


def mapped(target: np.ndarray, size: tuple[int, int], *sources: np.ndarray) -> WarpMap:
    tool = mesh_warp()
    given = sources or (aligned_mesh(DRAWN),)
    return tool.map(tool.target(target), [tool.source(mesh) for mesh in given], size)


def centers(size: tuple[int, int]) -> np.ndarray:
    """x and y of all pixels; pixel i spans [i, i + 1)."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    return np.dstack([columns, rows])


def within(mesh: np.ndarray, size: tuple[int, int], factor: float = 0.7) -> np.ndarray:
    return fill_outline(size, scaled_outline(mesh, factor)) > 0


def turned(mesh: np.ndarray, yaw: float) -> np.ndarray:
    c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    center = mesh.mean(0)
    return (mesh - center) @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]) + center


def test_beyond_the_outline_skin_goes_on_but_for_the_top() -> None:
    mesh = aligned_mesh(DRAWN)
    source, target = mesh_warp().source(mesh), mesh_warp().target(mesh)
    assert source.shape == target.shape == (468 + 2 * len(OVAL), 3)
    outline = mesh[list(OVAL), :2]
    center = outline.mean(0)

    def distances(points: np.ndarray) -> np.ndarray:
        return np.linalg.norm(points - center, axis=1) / np.linalg.norm(outline - center, axis=1)

    rings = [slice(468, 504), slice(504, 540)]
    shown = np.array([distances(source[part, :2]) for part in (list(OVAL), *rings)])
    filled = np.array([distances(target[part, :2]) for part in (list(OVAL), *rings)])
    np.testing.assert_allclose(filled, np.repeat([[1.0], [1.1], [1.3]], len(OVAL), 1))
    chin, top = OVAL.index(152), OVAL.index(10)
    np.testing.assert_allclose(shown[:, chin], [0.97, 1.0, 1.03])
    np.testing.assert_allclose(shown[:, top], [1.0, 1.06, 1.15])
    assert (np.diff(shown, axis=0) > 0).all()
    inner = np.setdiff1d(np.arange(468), OVAL)
    assert np.array_equal(source[inner], mesh[inner])
    assert np.array_equal(target[:468], mesh)
    assert (target[468:, 2] > np.tile(mesh[list(OVAL), 2], 2)).all()  # behind the face


@pytest.mark.parametrize("size", [128, 176, 400])
def test_a_face_onto_itself_leaves_the_inner_face_where_it_is(size: int) -> None:
    mesh, region = aligned_mesh(size), (size, size)
    found = mapped(mesh, region, mesh)
    assert found.maps[0].shape == (*region, 2)
    assert found.maps[0].dtype == np.float32
    inner = within(mesh, region)
    assert np.abs(found.maps[0] - centers(region))[inner].max() < 0.05


@pytest.mark.parametrize(("scale", "shift"), [(0.5, (70.0, 30.0)), (1.6, (-40.0, -90.0))])
def test_moved_and_scaled_faces_are_followed_back(scale: float, shift: tuple[float, float]) -> None:
    region = (220, 300)
    target = aligned_mesh(DRAWN) * scale + [*shift, 0]
    found = mapped(target, region)
    expected = (centers(region) - shift) / scale
    inner = within(target, region)
    assert inner.sum() > 2000
    assert np.abs(found.maps[0] - expected)[inner].max() < 0.1


def test_several_drawn_faces_are_found_at_once() -> None:
    mesh, region = aligned_mesh(128), (128, 128)
    other = aligned_mesh(64) + np.array([5.0, 3.0, 0.0])
    found = mapped(mesh, region, mesh, other)
    inner = within(mesh, region)
    assert np.abs(found.maps[1] - (found.maps[0] / 2 + [5.0, 3.0]))[inner].max() < 0.05


def test_expression_moves_what_it_moves() -> None:
    mesh, region = aligned_mesh(128), (128, 128)
    lip = [17, 84, 314, 16, 85, 315]  # the lower lip goes down by 4 pixels
    target = mesh.copy()
    target[lip, 1] += 4.0
    found = mapped(target, region, mesh).maps[0]
    column, row = (int(v) for v in target[17, :2])
    shift = found[row, column] - centers(region)[row, column]
    np.testing.assert_allclose(shift, [0.0, -4.0], atol=0.7)
    brow = tuple(int(v) for v in mesh[105, 1::-1])
    np.testing.assert_allclose(found[brow], centers(region)[brow], atol=0.05)


@pytest.mark.parametrize("yaw", [0, 25, 60, 90])
def test_every_pixel_comes_from_somewhere(yaw: float) -> None:
    region = (230, 210)
    target = turned(aligned_mesh(110), yaw) + np.array([40.0, 60.0, 0.0])
    found = mapped(target, region)
    assert np.isfinite(found.maps[0]).all()
    assert found.inside.shape == region
    tool = mesh_warp()
    ring = tool.target(target)[-len(OVAL) :, :2]
    covered = fill_outline(region, ring) > 0
    assert (found.inside != covered).mean() < 0.1
    if yaw == 0:  # the cheeks' skin goes on beyond the outline
        outline = within(target, region, 1.28) & ~within(target, region, 1.02)
        assert (found.inside != covered).mean() < 0.01
        moments = cv2.moments(ring.astype(np.float32)[:, None])
        middle = np.array([moments["m10"], moments["m01"]]) / moments["m00"]
        np.testing.assert_allclose(centers(region)[found.inside].mean(0), middle, atol=0.3)
        drawn = within(aligned_mesh(DRAWN), (DRAWN, DRAWN), 1.2)
        columns, rows = np.floor(found.maps[0][outline]).astype(int).T
        assert drawn[rows, columns].all()
        jaw = within(target, region, 1.36) & ~found.inside & (centers(region)[..., 1] > 150)
        assert jaw.sum() > 50  # beyond all triangles the nearest ones go on
        columns, rows = np.floor(found.maps[0][jaw]).astype(int).T
        assert within(aligned_mesh(DRAWN), (DRAWN, DRAWN), 1.1)[rows, columns].all()


def test_a_face_outside_the_region_and_a_flat_one() -> None:
    away = mapped(aligned_mesh(64) + np.array([900.0, 0.0, 0.0]), (40, 50))
    assert not away.inside.any()
    assert np.isfinite(away.maps[0]).all()
    point = mapped(aligned_mesh(64) * [0.0, 1.0, 1.0], (40, 50))
    assert np.isfinite(point.maps[0]).all()


def test_the_nearer_side_hides_the_other() -> None:
    """Turned to the left of the picture, the nose covers the far cheek."""
    region = (256, 256)
    target = turned(aligned_mesh(DRAWN), 50)
    tip = target[1]
    assert tip[0] < target[[33, 263], 0].mean() - 20
    column, row = int(tip[0]) + 2, int(tip[1])
    found = mapped(target, region).maps[0][row, column]
    assert np.hypot(*(found - aligned_mesh(DRAWN)[1, :2])) < 8


def test_large_regions_agree_with_an_exact_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 400
    target = aligned_mesh(size)
    waves = np.sin(target[:, 1::-1] / 35.0)  # a face of another shape
    target[:, :2] += 5.0 * waves
    found = mapped(target, (size, size))
    monkeypatch.setattr(warp, "_GRID", size)
    exact = mapped(target, (size, size))
    inner = within(target, (size, size), 0.8)
    assert np.abs(found.maps[0] - exact.maps[0])[inner].max() < 0.5
    assert (found.inside != exact.inside).mean() < 0.01


# --------------------------------------------------------------------------------- sample


def test_pixels_are_looked_up_at_their_centres() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    at = centers((20, 20)).astype(np.float32)
    for scale in (1.0, 2.0):  # linear, cubic
        np.testing.assert_allclose(sample(picture, at, scale), picture)
    np.testing.assert_allclose(sample(picture, at + np.float32(1), 1.0)[:-1, :-1], picture[1:, 1:])
    between = sample(picture, at + np.float32([0.5, 0]), 1.0)[:, :-1]
    mean = (picture[:, :-1].astype(np.float32) + picture[:, 1:]) / 2
    np.testing.assert_allclose(between, mean, atol=0.5)


def test_shrinking_blurs() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    at = (centers((16, 16)) * 4).astype(np.float32)
    assert sample(stripes, at, 0.25).std() < 2
    assert sample(stripes, at - np.float32(0.5), 1.0).std() < 2  # one colour: aliased
    assert abs(sample(stripes, at - np.float32(0.5), 1.0).mean() - 127.5) > 100
    assert abs(sample(stripes, at - np.float32(0.5), 0.25).mean() - 127.5) < 5
