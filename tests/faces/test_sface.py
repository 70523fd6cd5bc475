"""SFace: alignment by hand-made landmarks, input checks, and who is who in the sample pictures."""

from __future__ import annotations

import pickle
from typing import Any

import cv2
import numpy as np
import pytest

from dp3_lightning.assets import ASSETS, asset_path
from dp3_lightning.faces import SFaceEmbedder, YuNet
from dp3_lightning.faces.embedder import FaceEmbedder
from dp3_lightning.faces.sface import ARCFACE_POINTS, SFace, align_face
from dp3_lightning.structures import Detection, FloatArray, UInt8Array
from dp3_lightning.video import VideoReader


def similar(points: FloatArray, scale: float, degrees: float, shift: tuple[float, float]) -> Any:
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * points @ turn.T + shift


def places(side: int) -> UInt8Array:
    """Frame whose pixels say where they are: x and y, from their middle, rounded down."""
    y, x = np.mgrid[:side, :side]
    return np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)


def test_a_face_already_in_place_is_not_changed() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    np.testing.assert_array_equal(align_face(frame, ARCFACE_POINTS), frame)


@pytest.mark.parametrize(("scale", "degrees"), [(1.0, 25.0), (0.5, -40.0), (1.8, 10.0), (0.8, 0.0)])
def test_every_pixel_comes_from_where_the_similarity_says(scale: float, degrees: float) -> None:
    to_middle = np.array((120, 130)) - similar(np.array([[56.0, 56.0]]), scale, degrees, (0, 0))[0]
    chip = align_face(places(250), similar(ARCFACE_POINTS, scale, degrees, tuple(to_middle)))
    grid = np.stack(np.meshgrid(np.arange(112), np.arange(112)), axis=-1) + 0.5
    expected = similar(grid.reshape(-1, 2), scale, degrees, tuple(to_middle)).reshape(112, 112, 2)
    inside = ((expected > 2) & (expected < 248)).all(axis=-1)
    assert inside.mean() > 0.8
    assert np.abs(chip[..., :2] - (expected - 0.5))[inside].max() < 1.2


@pytest.mark.parametrize(("scale", "degrees"), [(1.0, 25.0), (0.5, -40.0), (1.8, 10.0), (0.8, 0.0)])
def test_a_spot_comes_to_lie_within_a_twentieth_of_a_pixel(scale: float, degrees: float) -> None:
    wanted, shift = np.array([[60.0, 52.0]]), (90.0, 95.0)
    x, y = similar(wanted, scale, degrees, shift)[0]
    rows, columns = np.mgrid[:250, :250] + 0.5
    spot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * (6 * scale) ** 2))
    frame = np.repeat(spot.round().astype(np.uint8)[..., None], 3, axis=2)
    chip = align_face(frame, similar(ARCFACE_POINTS, scale, degrees, shift))[..., 0].astype(float)
    middles = np.arange(112) + 0.5
    found = (chip.sum(axis=0) @ middles, chip.sum(axis=1) @ middles) / chip.sum()
    assert np.abs(found - wanted[0]).max() < 0.05  # half a pixel forgotten: 0.1 to 0.5


def test_landmarks_that_fit_nowhere_exactly_are_fitted_by_least_squares() -> None:
    noise = np.random.default_rng(1).normal(0, 4, (5, 2))
    marks = similar(ARCFACE_POINTS, 1.3, 15, (40, 20)) + noise
    # x' = a x - b y + c, y' = b x + a y + d
    one, zero = np.ones(5), np.zeros(5)
    x, y = marks.T
    rows = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    a, b, c, d = np.linalg.lstsq(rows, ARCFACE_POINTS.T.reshape(-1), rcond=None)[0]
    chip = align_face(places(250), marks)
    for column, row in ((30, 30), (56, 70), (80, 90)):
        there = np.linalg.solve([[a, -b], [b, a]], (column + 0.5 - c, row + 0.5 - d))
        assert np.abs(chip[row, column, :2] - (there - 0.5)).max() < 1.2


def test_shrinking_averages_instead_of_picking_pixels() -> None:
    stripes = np.zeros((1000, 1000, 3), np.uint8)
    stripes[:, ::2] = 255
    chip = align_face(stripes, similar(ARCFACE_POINTS, 7.3, 20, (250, 20)))
    middle = chip[30:80, 30:80].astype(float)
    assert middle.mean() == pytest.approx(127.5, abs=2)
    assert middle.std() < 8  # picking pixels: above 50


def test_size_scales_the_points_and_outside_is_black() -> None:
    frame = np.full((112, 112, 3), 90, np.uint8)
    frame[40:60, 40:60] = 200
    large = align_face(frame, ARCFACE_POINTS, size=224)
    assert large.shape == (224, 224, 3)
    assert (large[84:116, 84:116] == 200).all()
    assert (large[70:76, 70:76] == 90).all()
    moved = align_face(frame, ARCFACE_POINTS - (60, 0))
    assert (moved[:, :59] == 0).all()
    assert (moved[:, 61:100] == frame[:, 1:40]).all()


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        (np.zeros((4, 2)), r"`landmarks` of shape \(5, 2\), got \(4, 2\)"),
        (np.full((5, 2), 7.0), r"Expected `landmarks` of a face, got \[\[7\.0, 7\.0\]"),
        (np.full((5, 2), np.nan), r"Expected `landmarks` of a face"),
    ],
)
def test_landmarks_that_are_none(landmarks: FloatArray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        align_face(np.zeros((9, 9, 3), np.uint8), landmarks)


@pytest.mark.parametrize(
    ("chips", "error", "message"),
    [
        (np.zeros((1, 112, 112, 3), np.float32), TypeError, "`chips` as a uint8 .* dtype float32"),
        ([1], TypeError, "got list"),
        (np.zeros((112, 112, 3), np.uint8), ValueError, r"\(N, 112, 112, 3\), got \(112, 112, 3\)"),
        (np.zeros((1, 3, 112, 112), np.uint8), ValueError, r"got \(1, 3, 112, 112\)"),
    ],
)
def test_bad_chips(chips: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SFace().embed(chips)


def test_no_chips_need_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dp3_lightning.faces.sface.asset_path", lambda name: pytest.fail(name))
    assert SFace().embed(np.zeros((0, 112, 112, 3), np.uint8)).shape == (0, 128)


class Detector:
    """Stands in for YuNet: finds these faces in every frame."""

    def __init__(self, *boxes: tuple[float, float, float, float]) -> None:
        self.boxes = boxes
        self.seen: list[UInt8Array] = []

    def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
        self.seen += frames
        return [[self.face(box) for box in self.boxes] for _ in frames]

    @staticmethod
    def face(box: tuple[float, float, float, float]) -> Detection:
        marks = ARCFACE_POINTS / 112 * (box[2] - box[0]) + box[:2]
        return Detection(box, 0.9, tuple((float(x), float(y)) for x, y in marks))


class Network:
    """Stands in for the recogniser: remembers the chip."""

    def embed(self, chips: UInt8Array) -> Any:
        (self.chip,) = chips
        return np.eye(1, 128, dtype=np.float32)


def test_the_face_that_overlaps_the_box_best_is_cut_out() -> None:
    embedder: Any = SFaceEmbedder()
    embedder._network = Network()
    frame = np.random.default_rng(2).integers(0, 256, (400, 500, 3), np.uint8)
    # The surroundings of the box begin at (172, 72): 1.5 times its side.
    embedder._detector = Detector((10, 10, 50, 60), (28, 28, 140, 140), (90, 90, 170, 170))
    found = embedder(frame, (200, 100, 312, 212))
    assert (found.shape, found.dtype) == ((128,), np.float64)
    np.testing.assert_array_equal(embedder._network.chip, frame[100:212, 200:312])
    (seen,) = embedder._detector.seen
    np.testing.assert_array_equal(seen, frame[72:240, 172:340])


def test_without_a_face_in_the_box_there_is_no_embedding() -> None:
    embedder: Any = SFaceEmbedder()
    embedder._network = None  # may not be asked
    frame = np.zeros((400, 500, 3), np.uint8)
    embedder._detector = Detector()
    assert embedder(frame, (200, 100, 312, 212)) is None
    embedder._detector = Detector((0, 0, 45, 45))  # a neighbour who reaches into the box
    assert embedder(frame, (200, 100, 312, 212)) is None
    embedder._detector = None
    for outside in ((600, 10, 650, 60), (-90, 10, -50, 60), (20, 20, 20, 20)):
        assert embedder(frame, outside) is None


def test_threshold_is_a_distance_and_the_name_knows_the_model() -> None:
    embedder: FaceEmbedder = SFaceEmbedder()
    assert 1 - embedder.threshold**2 / 2 == pytest.approx(0.363)
    assert ASSETS["sface"].sha256[:8] in embedder.name
    assert SFaceEmbedder(threshold=0.9).threshold == 0.9
    with pytest.raises(ValueError, match="Expected `threshold` > 0, got 0"):
        SFaceEmbedder(threshold=0)


def picture(name: str) -> UInt8Array:
    return np.ascontiguousarray(np.asarray(cv2.imread(str(asset_path(name))), np.uint8)[..., ::-1])


def faces(frame: UInt8Array) -> list[Detection]:
    return sorted(YuNet()([frame])[0], key=lambda face: face.box[0])


def embed(embedder: SFaceEmbedder, frame: UInt8Array, box: Any = None) -> FloatArray:
    vector = embedder(frame, faces(frame)[0].box if box is None else box)
    assert vector is not None
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    return vector


def distance(a: FloatArray, b: FloatArray) -> float:
    return float(np.linalg.norm(a - b))


@pytest.mark.assets
def test_pictures_of_one_person_are_closer_than_those_of_two() -> None:
    embedder = SFaceEmbedder()
    obama, obama2, biden = (
        embed(embedder, picture(name))
        for name in ("portrait_obama", "portrait_obama2", "portrait_biden")
    )
    assert distance(obama, obama2) < 0.8
    assert min(distance(obama, biden), distance(obama2, biden)) > embedder.threshold
    frame = VideoReader(asset_path("speech")).frame(50)  # faces of 35 pixels: Biden, then Obama
    left, right = (embed(embedder, frame, face.box) for face in faces(frame))
    assert distance(left, biden) < embedder.threshold < distance(left, obama)
    assert distance(right, obama) < embedder.threshold < distance(right, biden)


@pytest.mark.assets
def test_five_people_in_the_group_photo_and_boxes_may_be_drawn_loosely() -> None:
    embedder, frame = SFaceEmbedder(), picture("group_photo")
    boxes = np.array([face.box for face in faces(frame)])
    tight = [embed(embedder, frame, box) for box in boxes]
    apart = [distance(a, b) for k, a in enumerate(tight) for b in tight[:k]]
    assert len(apart) == 10
    assert sorted(apart)[1] > embedder.threshold  # two men in sunglasses pass for one
    assert min(apart) > 1.0
    margin = 0.25 * (boxes[:, 2:] - boxes[:, :2])
    for box, by, vector in zip(boxes, margin, tight, strict=True):
        assert distance(embed(embedder, frame, box + np.r_[-by, by]), vector) < 0.5


@pytest.mark.assets
def test_moved_resized_and_tilted_copies_are_the_same_person() -> None:
    embedder, frame = SFaceEmbedder(), picture("portrait_obama")
    reference, (face,) = embed(embedder, frame), faces(frame)
    box = np.array(face.box)
    moved = np.roll(frame, (40, -60), axis=(0, 1))
    assert distance(embed(embedder, moved, box + np.tile((-60, 40), 2)), reference) < 0.3
    for factor, most in ((0.3, 0.4), (0.1, 0.9)):  # faces of 70 and of 23 pixels
        small = cv2.resize(frame, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        assert distance(embed(embedder, small, box * factor), reference) < most
    middle = tuple((box[:2] + box[2:]) / 2)
    height, width = frame.shape[:2]
    tilt = cv2.getRotationMatrix2D(middle, 30, 1.0)
    tilted = cv2.warpAffine(frame, tilt, (width, height))
    assert distance(embed(embedder, tilted, box), reference) < 0.6


@pytest.mark.assets
def test_nobody_is_recognised_where_nobody_is() -> None:
    embedder = SFaceEmbedder()
    assert embedder(VideoReader(asset_path("no_face")).frame(40), (40, 40, 140, 140)) is None
    assert embedder(picture("group_photo"), (20, 520, 120, 640)) is None


@pytest.mark.assets
def test_a_batch_is_embedded_as_its_chips_are_one_by_one() -> None:
    frame = picture("group_photo")
    chips = np.stack([align_face(frame, face.landmarks or ()) for face in faces(frame)] * 4)
    network = SFace()
    together = network.embed(chips)
    assert (together.shape, together.dtype) == ((20, 128), np.float32)
    alone = np.concatenate([network.embed(chip[None]) for chip in chips[:5]])
    np.testing.assert_allclose(together, np.tile(alone, (4, 1)), atol=1e-3)
    swapped = network.embed(chips[..., ::-1])  # a view; and the order of colours counts
    assert np.linalg.norm(swapped - together, axis=1).min() > 0.05


@pytest.mark.assets
def test_pickled_embedder_answers_the_same() -> None:
    frame = picture("portrait_obama")
    embedder = SFaceEmbedder(threshold=1.0)
    before = embed(embedder, frame)
    copy = pickle.loads(pickle.dumps(embedder))
    assert (copy.name, copy.threshold) == (embedder.name, 1.0)
    np.testing.assert_array_equal(embed(copy, frame), before)
