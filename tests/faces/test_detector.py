"""CenterFace: decoding on made-up network outputs, input checks, and real faces."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from dp3_lightning.assets import ASSETS, asset_path
from dp3_lightning.faces import CenterFace
from dp3_lightning.faces.center_map import decode
from dp3_lightning.faces.detector import network_size
from dp3_lightning.structures import Detection, FaceDetector
from dp3_lightning.video import VideoReader


def clip_frames(name: str, step: int = 1) -> list[np.ndarray]:
    with av.open(str(asset_path(name))) as container:
        frames = container.decode(video=0)
        return [f.to_ndarray(format="rgb24") for i, f in enumerate(frames) if i % step == 0]


def outputs(
    cells: dict[tuple[int, int], float], height: float = 40.0, width: float = 20.0
) -> list[np.ndarray]:
    """Network answer on an 8x16 grid with faces of one size at ``cells`` (row, column)."""
    heat = np.zeros((1, 1, 8, 16), np.float32)
    for (row, column), score in cells.items():
        heat[0, 0, row, column] = score
    size = np.zeros((1, 2, 8, 16), np.float32)
    size[0, 0], size[0, 1] = np.log(height / 4), np.log(width / 4)
    offset = np.zeros((1, 2, 8, 16), np.float32)
    offset[0, 0], offset[0, 1] = 0.25, -0.25
    marks = np.zeros((1, 10, 8, 16), np.float32)
    marks[0, 0::2] = np.array([0.25, 0.25, 0.5, 0.75, 0.75]).reshape(5, 1, 1)  # y
    marks[0, 1::2] = np.array([0.25, 0.75, 0.5, 0.25, 0.75]).reshape(5, 1, 1)  # x
    return [heat, size, offset, marks]


def test_decode_places_box_and_landmarks() -> None:
    (found,) = decode(outputs({(3, 10): 0.9}))
    # centre = (cell + offset + 0.5) * 4: x = (10 - 0.25 + 0.5) * 4, y = (3 + 0.25 + 0.5) * 4
    assert found.box == pytest.approx((41 - 10, 15 - 20, 41 + 10, 15 + 20), abs=1e-4)
    assert found.score == pytest.approx(0.9)
    expected = [(36, 5), (46, 5), (41, 15), (36, 25), (46, 25)]
    np.testing.assert_allclose(np.array(found.landmarks), expected, atol=1e-4)


def test_decode_scales_each_axis_to_the_frame() -> None:
    (plain,) = decode(outputs({(3, 10): 0.9}))
    (scaled,) = decode(outputs({(3, 10): 0.9}), scale=(2.0, 0.5))
    per_axis = np.array([2.0, 0.5])
    np.testing.assert_allclose(scaled.box, np.array(plain.box) * np.tile(per_axis, 2))
    np.testing.assert_allclose(np.array(scaled.landmarks), np.array(plain.landmarks) * per_axis)


def test_decode_keeps_plain_numbers_and_sorts_by_score() -> None:
    found = decode(outputs({(1, 1): 0.5, (1, 14): 0.8, (7, 8): 0.29}, height=8, width=8))
    assert [round(d.score, 3) for d in found] == [0.8, 0.5]
    assert all(type(value) is float for d in found for value in (*d.box, d.score))
    assert decode(outputs({})) == []


def test_decode_suppresses_the_weaker_of_two_overlapping_boxes() -> None:
    near = {(3, 8): 0.6, (3, 9): 0.9}  # 4 pixels apart, 20 wide: IoU 16 / 24
    (found,) = decode(outputs(near))
    assert found.score == pytest.approx(0.9)
    assert len(decode(outputs(near), nms_threshold=0.65)) == 1
    assert len(decode(outputs(near), nms_threshold=0.68)) == 2


def test_decode_refuses_another_network() -> None:
    with pytest.raises(ValueError, match="C = 1, 2, 2, 10, got C = "):
        decode(outputs({})[::-1])


@pytest.mark.parametrize(
    ("frame", "options", "expected"),
    [
        ((144, 176), {}, (128, 192)),
        ((144, 176), {"max_side": 640, "min_side": 320}, (320, 384)),
        ((288, 352), {"max_side": 640, "min_side": 320}, (320, 384)),
        ((360, 640), {"max_side": 640, "min_side": 320}, (352, 640)),
        ((1080, 1920), {"max_side": 640, "min_side": 320}, (352, 640)),
        ((1920, 1080), {"max_side": 630}, (608, 352)),
        ((20, 4000), {"max_side": 640, "min_side": 320}, (32, 640)),
        ((5, 5), {}, (32, 32)),
    ],
)
def test_network_size(
    frame: tuple[int, int], options: dict[str, int], expected: tuple[int, int]
) -> None:
    assert network_size(*frame, **options) == expected


@pytest.mark.parametrize(
    ("frame", "error", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), TypeError, "frame 1 as a uint8 .* got dtype float32"),
        ([[0]], TypeError, "got list"),
        (np.zeros((8, 8), np.uint8), ValueError, r"shape \(H, W, 3\), got \(8, 8\)"),
        (np.zeros((8, 8, 4), np.uint8), ValueError, r"got \(8, 8, 4\)"),
        (np.zeros((0, 8, 3), np.uint8), ValueError, r"got \(0, 8, 3\)"),
    ],
)
def test_bad_frames_are_refused_before_any_work(
    frame: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        CenterFace()([np.zeros((8, 8, 3), np.uint8), frame])


def test_a_bare_frame_gets_a_hint() -> None:
    with pytest.raises(ValueError, match=r"pass a single frame as \[frame\]"):
        CenterFace()(np.zeros((8, 8, 3), np.uint8))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": 0.0},
        {"threshold": 1.5},
        {"nms_threshold": -0.1},
        {"max_side": 31},
        {"min_side": 0},
    ],
)
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"Expected `{next(iter(options))}`"):
        CenterFace(**options)


def test_name_tells_apart_what_may_answer_differently(tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(b"another model")
    variants: list[dict[str, Any]] = [
        {}, {"threshold": 0.5}, {"nms_threshold": 0.5}, {"max_side": 320}, {"max_side": None},
        {"min_side": None}, {"model": other},
    ]  # fmt: skip
    names = [CenterFace(**options).name for options in variants]
    assert len(set(names)) == len(variants)
    assert ASSETS["centerface"].sha256[:8] in names[0]
    assert CenterFace().name == names[0]
    detector: FaceDetector = CenterFace()
    assert detector([]) == []


def test_missing_model_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="leave `model` out"):
        CenterFace(model=tmp_path / "gone.onnx")


def close(found: Detection, expected: Detection, pixels: float) -> bool:
    return bool(np.abs(np.array(found.box) - expected.box).max() <= pixels)


@pytest.mark.assets
def test_five_faces_in_the_group_photo_with_sensible_landmarks() -> None:
    picture = np.asarray(cv2.imread(str(asset_path("group_photo"))), np.uint8)
    picture = picture[..., ::-1]  # BGR to RGB; also: a view with negative strides works
    (found,) = CenterFace()([picture])
    assert len(found) == 5
    assert [d.score for d in found] == sorted((d.score for d in found), reverse=True)
    for detection in found:
        x0, y0, x1, y1 = detection.box
        left_eye, right_eye, nose, left_mouth, right_mouth = detection.landmarks or ()
        assert x0 < left_eye[0] < right_eye[0] < x1
        assert left_mouth[0] < right_mouth[0]
        assert y0 < left_eye[1] < nose[1] < left_mouth[1] < y1


@pytest.mark.assets
def test_nobody_in_the_clip_without_faces() -> None:
    assert all(found == [] for found in CenterFace()(clip_frames("no_face", step=10)))


@pytest.mark.assets
def test_carphone_has_one_steady_face() -> None:
    found = CenterFace()(clip_frames("carphone", step=10))
    assert [len(faces) for faces in found] == [1] * 12
    boxes = np.array([faces[0].box for faces in found])
    sides = boxes[:, 2:] - boxes[:, :2]
    middle = np.median(boxes, axis=0)
    assert np.abs(boxes - middle).max() < 30  # the man moves, but stays where he is
    assert (sides.max(axis=0) / sides.min(axis=0) < 1.35).all()


@pytest.mark.assets
@pytest.mark.parametrize("min_side", [320, None])
def test_box_follows_the_scale_of_the_frame(min_side: int | None) -> None:
    frame = clip_frames("carphone", step=60)[0]
    large = cv2.resize(frame, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    (one,), (two,) = CenterFace(min_side=min_side)([frame, large])  # sizes may differ in a call
    error = np.abs(np.array(two.box) / 2 - one.box).max()
    assert error < (1.0 if min_side else 6.0)


@pytest.mark.assets
def test_small_faces_are_found_because_small_frames_are_enlarged() -> None:
    frame = clip_frames("speech", step=60)[0]
    tiny = cv2.resize(frame, (80, 60), interpolation=cv2.INTER_AREA)  # faces of 8 pixels
    (found,) = CenterFace()([tiny])
    (full,) = CenterFace()([frame])
    assert len(found) == len(full) == 2
    assert all(any(close(a, scaled(b, 0.25), 3.0) for b in full) for a in found)


def scaled(detection: Detection, factor: float) -> Detection:
    x0, y0, x1, y1 = (factor * value for value in detection.box)
    return Detection((x0, y0, x1, y1), detection.score)


@pytest.mark.assets
def test_pickled_detector_answers_the_same() -> None:
    frames = clip_frames("carphone", step=60)
    detector = CenterFace()
    before = detector(frames)
    copy = pickle.loads(pickle.dumps(detector))
    assert copy.name == detector.name
    assert copy(frames) == before


@pytest.mark.assets
def test_openvino_finds_the_same_faces() -> None:
    pytest.importorskip("openvino")
    ours, fast = CenterFace(), CenterFace(runtime="openvino")
    assert ours.name != fast.name
    assert CenterFace(runtime="auto").runtime == "openvino"
    reader = VideoReader(asset_path("speech"))
    frames = [reader.frame(i) for i in (0, 50, 100)]
    for plain, quick in zip(ours(frames), fast(frames), strict=True):
        assert len(plain) == len(quick) == 2
        for a, b in zip(plain, quick, strict=True):
            width = a.box[2] - a.box[0]
            assert np.abs(np.subtract(a.box, b.box)).max() < 0.05 * width
            assert abs(a.score - b.score) < 0.05


@pytest.mark.assets
def test_openvino_answers_in_the_order_of_the_frames_whatever_their_sizes() -> None:
    pytest.importorskip("openvino")
    detector = CenterFace(runtime="openvino")
    reader = VideoReader(asset_path("speech"))
    frames = [reader.frame(i) for i in range(0, 100, 10)]
    frames[3::4] = [np.ascontiguousarray(f[:, :200]) for f in frames[3::4]]
    assert detector(frames) == [detector([frame])[0] for frame in frames]
    assert detector([]) == []


def test_absent_openvino_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"dp3-lightning\[fast\]"):
        CenterFace(runtime="openvino")
    assert CenterFace(runtime="auto").runtime == "opencv"
