"""YuNet: what is made of OpenCV's answers, input checks, and real faces."""

from __future__ import annotations

import pickle
from typing import Any

import cv2
import numpy as np
import pytest

from dp3_lightning.assets import ASSETS, asset_path
from dp3_lightning.faces import CenterFace, YuNet
from dp3_lightning.faces import yunet as module
from dp3_lightning.faces.tracker import pairwise_iou
from dp3_lightning.structures import FaceDetector, UInt8Array
from dp3_lightning.video import VideoReader

# Corner, width and height; person's right eye, left eye, nose, right and left mouth corner; score.
WEAK = [10, 20, 8, 6, 11, 22, 15, 22, 13, 24, 11, 25, 15, 25, 0.6]
STRONG = [40, 30, 20, 10, 44, 33, 54, 32, 50, 35, 45, 38, 53, 37, 0.9]


class Net:
    """Stands in for OpenCV's detector; remembers what it was shown."""

    def __init__(self, rows: list[list[float]]) -> None:
        self.rows = rows
        self.seen: list[tuple[tuple[int, int], UInt8Array]] = []
        self.size = (0, 0)

    def detect(self, picture: UInt8Array) -> tuple[int, np.ndarray | None]:
        self.seen.append((self.size, picture))
        return 1, np.array(self.rows, np.float32) if self.rows else None


def with_net(monkeypatch: pytest.MonkeyPatch, rows: list[list[float]], **options: Any) -> Any:
    detector, net = YuNet(**options), Net(rows)

    def sized(size: tuple[int, int]) -> Net:
        net.size = size
        return net

    monkeypatch.setattr(detector, "_open", sized)
    return detector, net


def test_answers_become_detections_best_first(monkeypatch: pytest.MonkeyPatch) -> None:
    detector, net = with_net(monkeypatch, [WEAK, STRONG])
    frame = np.full((60, 80, 3), (200, 100, 50), np.uint8)
    ((best, second),) = detector([frame])
    assert best.box == (40, 30, 60, 40)
    assert (best.score, second.score) == pytest.approx((0.9, 0.6))
    assert best.landmarks == ((44, 33), (54, 32), (50, 35), (45, 38), (53, 37))
    assert all(type(v) is float for v in (*best.box, best.score, *best.landmarks[0]))
    ((size, picture),) = net.seen
    assert size == (80, 60)
    assert picture[0, 0].tolist() == [50, 100, 200]  # OpenCV expects BGR


def test_boxes_come_back_in_pixels_of_the_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    detector, net = with_net(monkeypatch, [STRONG], max_side=64)
    ((found,),) = detector([np.zeros((101, 200, 3), np.uint8)])  # seen at 64 x 32
    assert net.seen[0][0] == (64, 32)
    assert net.seen[0][1].shape == (32, 64, 3)
    wide, high = 200 / 64, 101 / 32
    assert found.box == pytest.approx((40 * wide, 30 * high, 60 * wide, 40 * high))
    assert found.landmarks[4] == pytest.approx((53 * wide, 37 * high))


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        ((1080, 1920), {}, (1024, 576)),
        ((144, 176), {}, (176, 144)),
        ((144, 176), {"min_side": 288}, (352, 288)),
        ((100, 800), {"min_side": 400}, (1024, 128)),  # `max_side` wins
        ((1080, 1920), {"max_side": None}, (1920, 1080)),
        ((1, 4000), {}, (1024, 1)),
    ],
)
def test_size_at_which_a_frame_is_seen(
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, int],
    options: dict[str, Any],
    expected: tuple[int, int],
) -> None:
    detector, net = with_net(monkeypatch, [], **options)
    assert detector([np.zeros((*shape, 3), np.uint8)]) == [[]]
    assert net.seen[0][0] == expected


@pytest.mark.parametrize(
    ("frame", "error", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), TypeError, "frame 1 as a uint8 .* got dtype float32"),
        ([[0]], TypeError, "got list"),
        (np.zeros((8, 8, 4), np.uint8), ValueError, r"got \(8, 8, 4\)"),
        (np.zeros((0, 8, 3), np.uint8), ValueError, r"got \(0, 8, 3\)"),
    ],
)
def test_bad_frames_are_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch, frame: Any, error: type[Exception], message: str
) -> None:
    detector, net = with_net(monkeypatch, [STRONG])
    with pytest.raises(error, match=message):
        detector([np.zeros((8, 8, 3), np.uint8), frame])
    assert net.seen == []


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": 0.0},
        {"threshold": float("nan")},
        {"nms_threshold": -0.1},
        {"max_side": 31},
        {"min_side": 0},
    ],
)
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"Expected `{next(iter(options))}`"):
        YuNet(**options)


def test_name_tells_apart_what_may_answer_differently() -> None:
    variants: list[dict[str, Any]] = [
        {}, {"threshold": 0.6}, {"nms_threshold": 0.5}, {"max_side": 320}, {"max_side": None},
        {"min_side": 320},
    ]  # fmt: skip
    names = [YuNet(**options).name for options in variants]
    assert len(set(names)) == len(variants)
    assert ASSETS["yunet"].sha256[:8] in names[0]
    assert YuNet().name == names[0]


def test_the_model_is_opened_once_per_size_and_only_for_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[tuple[int, int]] = []
    detector: FaceDetector = YuNet()
    monkeypatch.setattr(detector, "_open", lambda size: opened.append(size) or Net([]))
    assert detector([]) == []
    assert opened == []
    for _ in range(2):
        detector([np.zeros((8, 9, 3), np.uint8), np.zeros((5, 7, 3), np.uint8)])
    assert opened == [(9, 8), (7, 5)]


def group_photo() -> UInt8Array:
    picture = np.asarray(cv2.imread(str(asset_path("group_photo"))), np.uint8)
    return picture[..., ::-1]  # BGR to RGB; also: a view with negative strides works


def by_place(detector: FaceDetector, picture: UInt8Array) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and landmarks from left to right."""
    faces = sorted(detector([picture])[0], key=lambda face: face.box[0])
    return np.array([f.box for f in faces]), np.array([f.landmarks for f in faces])


def widths(boxes: np.ndarray) -> np.ndarray:
    """Widths of faces, the measure of errors: eyes are 0.4 of them apart."""
    return (boxes[:, 2] - boxes[:, 0])[:, None, None]


@pytest.mark.assets
def test_five_faces_in_the_group_photo_where_the_other_detector_sees_them() -> None:
    picture = group_photo()
    boxes, marks = by_place(YuNet(), picture)
    assert len(boxes) == 5
    others, other_marks = by_place(CenterFace(), picture)
    assert (np.diag(pairwise_iou(boxes, others)) > 0.6).all()
    assert (np.abs(marks - other_marks) < 0.15 * widths(boxes)).all()
    scores = [face.score for face in YuNet()([picture])[0]]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.assets
def test_landmarks_begin_at_the_left_of_the_picture_mirrored_or_not() -> None:
    picture = group_photo()
    boxes, marks = by_place(YuNet(), picture)
    left_eye, right_eye, nose, left_mouth, right_mouth = marks.transpose(1, 2, 0)
    assert (boxes[:, 0] < left_eye[0]).all()
    assert (left_eye[0] < right_eye[0]).all()
    assert (right_eye[0] < boxes[:, 2]).all()
    assert (left_mouth[0] < right_mouth[0]).all()
    assert (left_eye[1] < nose[1]).all()
    assert (nose[1] < left_mouth[1]).all()
    _, mirrored = by_place(YuNet(), picture[:, ::-1])
    back = mirrored[::-1][:, [1, 0, 2, 4, 3]] * (-1, 1) + (picture.shape[1], 0)
    assert (np.abs(back - marks) < 0.15 * widths(boxes)).all()


@pytest.mark.assets
def test_boxes_follow_a_shift_and_a_change_of_size() -> None:
    picture = group_photo()
    boxes, marks = by_place(YuNet(), picture)
    moved = np.full((800, 1024, 3), 128, np.uint8)
    moved[96 : 96 + picture.shape[0], 16 : 16 + picture.shape[1]] = picture
    shifted, shifted_marks = by_place(YuNet(), moved)
    assert (np.diag(pairwise_iou(shifted - (16, 96, 16, 96), boxes)) > 0.85).all()
    assert (np.abs(shifted_marks - (16, 96) - marks) < 0.15 * widths(boxes)).all()
    large = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    scaled, scaled_marks = by_place(YuNet(), large)
    assert (np.diag(pairwise_iou(scaled / 2, boxes)) > 0.85).all()
    assert (np.abs(scaled_marks / 2 - marks) < 0.15 * widths(boxes)).all()


@pytest.mark.assets
def test_nobody_in_the_clip_without_faces() -> None:
    reader = VideoReader(asset_path("no_face"))
    assert YuNet()([reader.frame(i) for i in range(0, len(reader), 10)]) == [[]] * 10


@pytest.mark.assets
def test_small_faces_are_found_when_small_frames_are_enlarged() -> None:
    picture = group_photo()
    tiny = cv2.resize(picture, (70, 47), interpolation=cv2.INTER_AREA)  # faces of 6 pixels
    assert len(YuNet()([tiny])[0]) < 5
    boxes, _ = by_place(YuNet(min_side=320), tiny)
    assert len(boxes) == 5
    assert (np.diag(pairwise_iou(boxes / 0.07, by_place(YuNet(), picture)[0])) > 0.6).all()


@pytest.mark.assets
def test_answers_do_not_depend_on_the_other_frames_nor_on_pickling() -> None:
    reader = VideoReader(asset_path("speech"))
    frames = [reader.frame(i) for i in (0, 50, 100)]
    frames.insert(1, np.ascontiguousarray(frames[1][:, :160]))
    detector = YuNet()
    before = detector(frames)
    assert [len(faces) for faces in before] == [2, 1, 2, 2]
    copy = pickle.loads(pickle.dumps(detector))
    assert copy.name == detector.name
    assert copy(frames) == before == [YuNet()([frame])[0] for frame in frames]


@pytest.mark.assets
def test_opening_says_nothing_and_leaves_opencv_as_talkative_as_it_was(
    capfd: pytest.CaptureFixture[str],
) -> None:
    logging = getattr(cv2.utils, "logging", None)
    level = logging and logging.getLogLevel()
    YuNet()([np.zeros((1, 1, 3), np.uint8), np.zeros((40, 3, 3), np.uint8)])
    assert capfd.readouterr() == ("", "")
    assert level == (logging and logging.getLogLevel())


@pytest.mark.parametrize("fails", [False, True])
def test_log_level_comes_back_even_after_an_error(
    monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    levels = [3]

    class Logging:
        LOG_LEVEL_ERROR = 2
        getLogLevel = staticmethod(lambda: levels[-1])
        setLogLevel = staticmethod(levels.append)

    monkeypatch.setattr(cv2.utils, "logging", Logging, raising=False)
    try:
        with module._without_warnings():
            if fails:
                raise RuntimeError
    except RuntimeError:
        pass
    assert levels == [3, 2, 3]
