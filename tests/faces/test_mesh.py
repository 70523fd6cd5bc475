"""FaceMesh: regions and the way back with a made-up network, and real faces."""

from __future__ import annotations

import pickle
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest

from dp3_lightning.assets import asset_path
from dp3_lightning.faces import CenterFace, expression
from dp3_lightning.faces.expression import frontalise, mean_mesh, pose_angles
from dp3_lightning.faces.mesh import GOOD_PRESENCE, FaceMesh, MeshFace
from dp3_lightning.structures import Detection
from dp3_lightning.video import VideoReader

# A level face in the network's input: 100 pixels wide, 110 high, eyes and mouth where they belong.
TEMPLATE = np.random.default_rng(0).uniform([-50, -55, -20], [50, 55, 20], (468, 3))
TEMPLATE[[33, 133, 362, 263]] = [[-40, -20, 0], [-12, -20, 0], [12, -20, 0], [40, -20, 0]]
TEMPLATE[[61, 291]] = [[-20, 30, 0], [20, 30, 0]]
TEMPLATE[:4, :2] = [[-50, -55], [50, 55], [50, -55], [-50, 55]]


class SpotFinder:
    """A network that lays the template on the bright spot of its input."""

    def __init__(self) -> None:
        self.pictures: list[np.ndarray] = []

    def __call__(self, picture: np.ndarray) -> tuple[np.ndarray, float]:
        assert picture.shape == (1, 192, 192, 3)
        assert picture.dtype == np.float32
        self.pictures.append(picture[0])
        light = picture[0, ..., 0].astype(np.float64)
        rows, columns = np.mgrid[:192, :192] + 0.5  # pixel i spans [i, i + 1)
        x, y = (float((light * c).sum() / light.sum()) for c in (columns, rows))
        return (TEMPLATE + np.array([x, y, 0])).astype(np.float32).reshape(1, -1), 20.0


def with_fake() -> tuple[FaceMesh, SpotFinder]:
    mesh, network = FaceMesh("opencv"), SpotFinder()
    mesh._net = network
    return mesh, network


def marks(center: tuple[float, float], size: float, roll: float) -> list[tuple[float, float]]:
    """Landmarks of a face turned clockwise by ``roll``."""
    level = np.array([[-0.2, -0.1], [0.2, -0.1], [0, 0.05], [-0.15, 0.2], [0.15, 0.2]]) * size
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    return [(float(x), float(y)) for x, y in level @ turn.T + center]


@pytest.mark.parametrize("roll", [0.0, 0.4, np.pi / 2, np.pi, -2.0])
@pytest.mark.parametrize("size", [40.0, 130.0, 700.0])
@pytest.mark.parametrize("given", ["landmarks", "roll"])
def test_points_come_back_to_where_they_are(roll: float, size: float, given: str) -> None:
    frame = np.zeros((1000, 1100, 3), np.uint8)
    spot = max(1, round(size / 40))
    frame[500 - spot : 500 + spot, 600 - spot : 600 + spot] = 255  # its middle: (600, 500)
    box = (600 - 0.5 * size, 500 - 0.45 * size, 600 + 0.4 * size, 500 + 0.5 * size)
    mesh, network = with_fake()
    angle: dict[str, Any] = {"roll": roll}
    if given == "landmarks":
        angle = {"landmarks": marks((600.0, 500.0), size, roll)}
    found = mesh.locate(frame, box, **angle)
    assert found is not None
    assert len(network.pictures) == 2
    # The first region is 1.4 boxes, the second 1.5 meshes, whose longer side is 110 inputs.
    pixels = 1.4 * 0.95 * size / 192 * (1.5 * 110 / 192)
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    expected = pixels * TEMPLATE
    expected[:, :2] = expected[:, :2] @ turn.T + (600, 500)
    assert np.abs(found.points - expected).max() < 0.002 * size
    assert np.abs(found.points.mean(axis=0) - expected.mean(axis=0)).max() < 0.0015 * size
    assert found.points.dtype == np.float32
    again = mesh.refine(frame, found.points)
    assert len(network.pictures) == 3
    shrunk = (again.points - found.points.mean(axis=0)) / (1.5 * 110 / 192)
    np.testing.assert_allclose(shrunk, found.points - found.points.mean(axis=0), atol=0.004 * size)


def test_eyes_one_behind_the_other_do_not_turn_the_region() -> None:
    mesh, _ = with_fake()
    frame = np.zeros((200, 200, 3), np.uint8)
    frame[98:102, 98:102] = 255
    profile = [(80.0, 80.0), (79.0, 81.0), (70.0, 100.0), (80.0, 120.0), (80.0, 120.0)]
    found = mesh.locate(frame, (60, 60, 140, 140), profile)
    assert found is not None
    right_eye, left_eye = found.points[[33, 263], :2]
    assert left_eye[0] > right_eye[0]
    assert abs(left_eye[1] - right_eye[1]) < 0.1 * (left_eye[0] - right_eye[0])


@pytest.mark.parametrize("period", [1, 2, 3])
def test_shrinking_averages_fine_patterns(period: int) -> None:
    rows, columns = np.mgrid[:1200, :1200] // period
    frame = np.repeat(((rows + columns) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)
    mesh, network = with_fake()
    mesh.locate(frame, (100, 110, 1100, 1100), roll=0.3)
    inside = network.pictures[0][40:-40, 40:-40]
    assert np.abs(inside - 0.5).max() < 0.06


def test_a_growing_face_loses_its_grain_without_a_jump() -> None:
    frame = np.random.default_rng(7).integers(0, 256, (1100, 1100, 3), dtype=np.uint8)
    contrasts = []
    for side in np.geomspace(150, 1000, 40):  # the input's side is 192
        mesh, network = with_fake()
        corners = (550.3 - side / 2.8, 550.3 + side / 2.8)
        mesh.locate(frame, (corners[0], corners[0], corners[1], corners[1]))
        contrasts.append(float(network.pictures[0].std()))
    assert contrasts[-1] < 0.4 * contrasts[0]
    assert max(abs(b / a - 1) for a, b in pairwise(contrasts)) < 0.15


def test_the_border_is_repeated_and_boxes_outside_the_frame_have_no_face() -> None:
    frame = np.full((100, 100, 3), 200, np.uint8)
    mesh, network = with_fake()
    assert mesh.locate(frame, (-30, -30, 20, 20), roll=0.5) is not None
    assert network.pictures[0].min() == pytest.approx(200 / 255)
    for box in [(100, 0, 150, 50), (0, -50, 50, 0), (20, 20, 20, 40), (30, 20, 20, 40)]:
        assert mesh.locate(frame, box) is None
    far = mesh.refine(frame, TEMPLATE + np.array([5000, 5000, 0]))  # nothing there, but no error
    assert np.isfinite(far.points).all()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"frame": [[0]]}, TypeError, "`frame` as a uint8 .* got list"),
        ({"frame": np.zeros((8, 8, 3), np.float32)}, TypeError, "got dtype float32"),
        ({"frame": np.zeros((8, 8), np.uint8)}, ValueError, r"\(H, W, 3\), got \(8, 8\)"),
        ({"box": (0, 0, 5)}, ValueError, r"`box` of shape \(4,\), got \(3,\)"),
        ({"box": (0, 0, 5, np.nan)}, ValueError, "`box` to be finite"),
        ({"landmarks": [(0, 0)] * 4}, ValueError, r"`landmarks` of shape \(5, 2\), got \(4, 2\)"),
        ({"roll": np.inf}, ValueError, "`roll` in radians, got inf"),
    ],
)
def test_bad_arguments(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    good = {"frame": np.zeros((8, 8, 3), np.uint8), "box": (0, 0, 8, 8)}
    with pytest.raises(error, match=message):
        FaceMesh().locate(**{**good, **changes})


def test_bad_previous_points_and_runtime() -> None:
    with pytest.raises(ValueError, match=r"`previous_points` of shape \(468, 3\), got \(468, 2\)"):
        FaceMesh().refine(np.zeros((8, 8, 3), np.uint8), np.zeros((468, 2)))
    with pytest.raises(ValueError, match="Expected `runtime`"):
        FaceMesh("tflite")  # type: ignore[arg-type]


def test_absent_openvino_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"dp3-lightning\[fast\]"):
        FaceMesh("openvino")
    assert FaceMesh("auto").runtime == "opencv"


def group_photo() -> tuple[np.ndarray, list[Detection]]:
    picture = np.asarray(cv2.imread(str(asset_path("group_photo"))), np.uint8)[..., ::-1]
    return picture, CenterFace()([picture])[0]


def clip_frame(name: str, index: int) -> tuple[np.ndarray, Detection]:
    frame = VideoReader(asset_path(name)).frame(index)
    return frame, CenterFace()([frame])[0][0]


def located(mesh: FaceMesh, frame: np.ndarray, face: Detection) -> MeshFace:
    found = mesh.locate(frame, face.box, face.landmarks)
    assert found is not None
    return found


@pytest.mark.assets
def test_meshes_of_the_group_photo_lie_on_the_faces() -> None:
    picture, faces = group_photo()
    for face in faces:
        found = located(FaceMesh("opencv"), picture, face)
        assert found.presence > GOOD_PRESENCE
        width = face.box[2] - face.box[0]
        flat = found.points[:, :2]
        eyes = [
            flat[list(ring)].mean(axis=0) for ring in (expression.EYE_RIGHT, expression.EYE_LEFT)
        ]
        for point, mark in zip([*eyes, flat[4], flat[61], flat[291]], face.landmarks, strict=True):
            assert np.linalg.norm(point - mark) < 0.1 * width
        assert found.points[4, 2] < found.points[[234, 454], 2].min()  # the nose is nearest


@pytest.mark.assets
def test_lists_of_points_are_what_they_say() -> None:
    picture, faces = group_photo()
    meshes = np.stack([located(FaceMesh("opencv"), picture, face).points for face in faces])
    flat = mean_mesh(meshes)[:, :2].astype(np.float32)  # outer eyes 1 apart

    def outside(ring: tuple[int, ...], points: tuple[int, ...] | range) -> float:
        """How far the farthest point lies outside the polygon."""
        polygon = flat[list(ring)]
        return max(-cv2.pointPolygonTest(polygon, flat[i].tolist(), True) for i in points)

    assert outside(expression.OVAL, range(468)) < 0.02
    assert outside(expression.LIPS_OUTER, expression.LIPS_INNER) < 0.02
    for ring in (expression.EYE_RIGHT, expression.EYE_LEFT, expression.LIPS_INNER):
        assert cv2.contourArea(flat[list(ring)]) > 0.004  # in order, or it would cross itself
    assert flat[list(expression.EYE_RIGHT), 0].max() < 0 < flat[list(expression.EYE_LEFT), 0].min()
    for brow, eye in (("BROW_RIGHT", "EYE_RIGHT"), ("BROW_LEFT", "EYE_LEFT")):
        upper, lower = np.split(flat[list(getattr(expression, brow))], 2)
        assert (upper[:, 1] < lower[:, 1]).all()
        assert lower[:, 1].max() < flat[list(getattr(expression, eye)), 1].min()
        assert (np.diff(np.abs(upper[:, 0])) < 0).all()  # inwards
    nose = flat[list(expression.NOSE)]
    assert np.abs(nose[:, 0]).max() < 0.3
    assert nose[:, 1].max() < flat[list(expression.LIPS_OUTER), 1].min()


@pytest.mark.assets
@pytest.mark.parametrize("name", ["smile", "carphone"])
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_picture_gives_the_turned_mesh(name: str, quarters: int) -> None:
    frame, face = clip_frame(name, 10)
    mesh = FaceMesh("opencv")
    upright = located(mesh, frame, face)
    turned, turn = np.rot90(frame, quarters), turned_points(frame, quarters)
    corners = turn(np.array(face.box).reshape(2, 2))
    box = (*corners.min(axis=0), *corners.max(axis=0))
    found = mesh.locate(turned, box, turn(np.array(face.landmarks)).tolist())
    assert found is not None
    assert found.presence == pytest.approx(upright.presence, abs=0.5)
    width = face.box[2] - face.box[0]
    assert np.abs(found.points[:, :2] - turn(upright.points[:, :2])).max() < 0.005 * width
    assert np.abs(found.points[:, 2] - upright.points[:, 2]).max() < 0.005 * width
    blind = mesh.locate(turned, box)  # nobody told it
    assert blind is not None
    assert blind.presence < GOOD_PRESENCE


def turned_points(frame: np.ndarray, quarters: int) -> Any:
    """What ``np.rot90`` does to pixels, done to points."""
    height, width = frame.shape[:2]

    def turn(points: np.ndarray) -> np.ndarray:
        x, y = points[:, 0], points[:, 1]
        places = {1: (y, width - x), 2: (width - x, height - y), 3: (height - y, x)}
        return np.stack(places[quarters], axis=1)

    return turn


@pytest.mark.assets
def test_a_mirrored_picture_gives_the_mirrored_pose() -> None:
    picture, faces = group_photo()
    mesh, width = FaceMesh("opencv"), picture.shape[1]
    plain = np.stack([located(mesh, picture, face).points for face in faces])
    mirrored = []
    for face in faces:
        x0, y0, x1, y1 = face.box
        found = mesh.locate(picture[:, ::-1], (width - x1, y0, width - x0, y1))
        assert found is not None
        mirrored.append(found.points)
    reference = mean_mesh(np.concatenate([plain, mirrored]))
    here = pose_angles(frontalise(plain, reference).rotation)
    there = pose_angles(frontalise(np.stack(mirrored), reference).rotation)
    assert np.ptp(here[:, 0]) > 10  # they do look in different directions
    assert np.abs(there - here * [-1, 1, -1]).max() < 4


@pytest.mark.assets
def test_refining_follows_a_face_and_notices_when_it_is_gone() -> None:
    reader = VideoReader(asset_path("smile"))
    mesh = FaceMesh("opencv")
    face = CenterFace()([reader.frame(0)])[0][0]
    followed = located(mesh, reader.frame(0), face)
    for index in range(1, 31, 3):
        followed = mesh.refine(reader.frame(index), followed.points)
        assert followed.presence > GOOD_PRESENCE
    last = CenterFace()([reader.frame(28)])[0][0]
    fresh = located(mesh, reader.frame(28), last)
    width = face.box[2] - face.box[0]
    assert np.abs(followed.points - fresh.points).max() < 0.04 * width
    empty = VideoReader(asset_path("no_face")).frame(0)
    assert mesh.refine(empty, followed.points * 0.5).presence < 0


@pytest.mark.assets
def test_points_scale_with_the_frame() -> None:
    frame, face = clip_frame("smile", 0)
    mesh = FaceMesh("opencv")
    small = located(mesh, frame, face).points
    large = cv2.resize(frame, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    found = mesh.locate(large, [4 * v for v in face.box])
    assert found is not None
    width = face.box[2] - face.box[0]
    assert np.abs(found.points / 4 - small).max() < 0.01 * width


@pytest.mark.assets
def test_pickled_mesh_and_reversed_views_answer_the_same() -> None:
    frame, face = clip_frame("carphone", 0)
    mesh = FaceMesh()
    before = located(mesh, frame, face)
    view = np.ascontiguousarray(frame[..., ::-1])[..., ::-1]  # negative strides
    after = located(pickle.loads(pickle.dumps(mesh)), view, face)
    np.testing.assert_array_equal(after.points, before.points)
    assert after.presence == before.presence


@pytest.mark.assets
def test_both_runtimes_agree() -> None:
    pytest.importorskip("openvino")
    assert FaceMesh().runtime == "openvino"
    picture, faces = group_photo()
    for face in faces:
        ours, fast = (located(FaceMesh(r), picture, face) for r in ("opencv", "openvino"))
        assert np.abs(ours.points - fast.points).max() < 0.02
        assert abs(ours.presence - fast.presence) < 0.01
