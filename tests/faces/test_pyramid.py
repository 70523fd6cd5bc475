"""Small and large faces in frames of any size: levels, tiles, borders, turns, merging."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dp3_lightning.assets import asset_path
from dp3_lightning.faces import PyramidDetector, UnionDetector, YuNet, detector_named
from dp3_lightning.faces.choice import describe_detector, detector_of_another_family
from dp3_lightning.faces.pyramid import level_scales
from dp3_lightning.faces.tiling import merge
from dp3_lightning.faces.tracker import pairwise_iou
from dp3_lightning.structures import Detection, UInt8Array

Box = tuple[float, float, float, float]


class Discs:
    """Finds white discs of 20 to 400 pixels, as networks find faces of some sizes only."""

    name, family, smallest = "discs", "discs", 20.0

    def __init__(self, low: float = 20, high: float = 400) -> None:
        self.low, self.high = low, high
        self.files = {"discs": "00"}
        self.sizes: list[tuple[int, ...]] = []

    def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
        self.sizes += [frame.shape[:2] for frame in frames]
        return [self.find(frame) for frame in frames]

    def find(self, frame: UInt8Array) -> list[Detection]:
        mask = (frame.min(axis=2) > 127).astype(np.uint8)
        count, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        boxes = [(float(x), float(y), float(x + w), float(y + h)) for x, y, w, h, _ in stats[1:]]
        sized = [b for b in boxes if self.low <= max(b[2] - b[0], b[3] - b[1]) <= self.high]
        assert count == len(boxes) + 1
        return [Detection(b, 0.9, ((b[0], b[1]), (b[2], b[1]))) for b in sized]


def frame_with(discs: list[tuple[int, int, int]], size: tuple[int, int]) -> UInt8Array:
    frame = np.zeros((*size, 3), np.uint8)
    for x, y, diameter in discs:
        cv2.circle(frame, (x, y), diameter // 2, (255, 255, 255), -1)
    return frame


@pytest.mark.parametrize("size", [(2160, 3840), (3000, 1700), (240, 320), (700, 50)])
def test_small_and_large_discs_are_found_once_anywhere(size: tuple[int, int]) -> None:
    height, width = size
    rng = np.random.default_rng(1)
    for diameter in (24, 130, 390, 1000, 1900):
        if diameter > 0.9 * min(size):
            continue
        half = diameter // 2 + 1
        for _ in range(2):
            x, y = int(rng.integers(half, width - half)), int(rng.integers(half, height - half))
            (found,) = PyramidDetector(Discs())([frame_with([(x, y, diameter)], size)])
            assert len(found) == 1, (diameter, x, y)
            box = np.array(found[0].box)
            expected = np.array([x - half, y - half, x + half, y + half])
            assert np.abs(box - expected).max() < 2 + 0.03 * diameter
            assert found[0].landmarks is not None
            assert found[0].landmarks[1] == pytest.approx((box[2], box[1]))


def test_memory_is_bounded_by_tiles_and_sizes_repeat() -> None:
    discs = Discs()
    PyramidDetector(discs)([np.zeros((6000, 8000, 3), np.uint8)])
    assert max(max(size) for size in discs.sizes) <= 1536
    assert all(side % 32 == 0 for size in discs.sizes for side in size)
    assert len(set(discs.sizes)) <= 5


def test_small_frames_are_enlarged_but_not_without_end() -> None:
    discs = Discs()
    detector = PyramidDetector(discs)
    (found,) = detector([frame_with([(60, 60, 14)], (120, 160))])
    assert len(found) == 1
    assert detector.smallest_face(120, 160) == pytest.approx(20 / 1.5)
    assert detector.smallest_face(2160, 3840) == 20
    detector([np.zeros((1, 2000, 3), np.uint8), np.zeros((1, 1, 3), np.uint8)])
    assert max(max(size) for size in discs.sizes) < 2100


def test_levels_end_where_the_whole_frame_is_small() -> None:
    assert level_scales(200, 300, 1.0) == [1.0]
    assert level_scales(2160, 3840, 1.0) == pytest.approx([1, 1 / 3, 1 / 9, 1 / 27])


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turned_pictures_give_boxes_of_the_frame(turns: int) -> None:
    class UprightOnly(Discs):
        """Finds a disc only when the mark beside it is above."""

        def find(self, frame: UInt8Array) -> list[Detection]:
            ys, xs = np.nonzero(frame[..., 0] == 60)
            found = super().find(frame)
            if not len(ys) or not found:
                return []
            return found if abs(xs.mean() - np.mean([found[0].box[0], found[0].box[2]])) < 8 and (
                ys.mean() < found[0].box[1]
            ) else []  # fmt: skip

    frame = frame_with([(150, 140, 60)], (260, 330))
    frame[80:90, 145:155] = (60, 0, 0)
    turned = np.ascontiguousarray(np.rot90(frame, turns))
    assert len(PyramidDetector(UprightOnly())([frame])[0]) == 1
    assert PyramidDetector(UprightOnly())([turned]) == [[]]
    (found,) = PyramidDetector(UprightOnly(), turned=True)([turned])
    assert len(found) == 1
    ys, xs = np.nonzero(turned.min(axis=2) > 127)
    expected = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    assert found[0].box == pytest.approx(expected, abs=3)


def test_mirror_images_at_the_border_are_not_faces() -> None:
    (found,) = PyramidDetector(Discs(low=8))([frame_with([(17, 200, 26)], (400, 500))])
    assert len(found) == 1
    assert found[0].box[0] >= 0


def test_a_sure_find_inside_a_face_does_not_take_its_place() -> None:
    face, nose = Detection((0, 0, 100, 100), 0.6), Detection((40, 40, 60, 60), 0.9)
    assert face in merge([face, nose])
    surer = Detection((0, 0, 100, 100), 0.95)
    assert merge([surer, nose]) == [surer]


class Says:
    def __init__(self, name: str, *faces: Detection) -> None:
        self.name, self.faces = name, list(faces)

    def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
        return [list(self.faces) for _ in frames]


def test_a_union_reports_every_face_once() -> None:
    both, one, other = ((x, 0.0, x + 10, 10.0) for x in (0.0, 30.0, 60.0))
    first = Says("first", Detection(both, 0.5), Detection(one, 0.7))
    second = Says("second", Detection(both, 0.9), Detection(other, 0.4))
    union = UnionDetector([first, second])
    (found,) = union([np.zeros((20, 80, 3), np.uint8)])
    assert [(face.box, face.score) for face in found] == [(both, 0.9), (one, 0.7), (other, 0.4)]
    assert "first" in union.name
    assert "second" in union.name
    with pytest.raises(ValueError, match="at least one detector"):
        UnionDetector([])


def test_detectors_have_names_whose_capitals_do_not_matter() -> None:
    assert detector_named("CenterFace").name == detector_named("fast").name
    assert detector_named("thorough").name != detector_named("fast").name
    assert detector_named(" YuNet ").name.startswith("yunet")
    with pytest.raises(ValueError, match=r"'RetinaFace'.*fast, thorough, centerface, yunet, dsfd"):
        detector_named("RetinaFace")


@pytest.mark.parametrize(
    ("name", "other"), [("fast", "yunet"), ("yunet", "centerface"), ("thorough", "yunet")]
)
def test_the_check_takes_a_detector_of_another_family(name: str, other: str) -> None:
    assert detector_of_another_family(detector_named(name)).family == other  # type: ignore[attr-defined]


def test_records_say_what_can_be_found() -> None:
    record = describe_detector(detector_named("fast"), (2160, 3840))
    assert record["smallest_face"] == 20
    assert record["threshold"] == 0.3
    assert len(record["models_sha256"]["centerface"]) == 64
    assert set(describe_detector(detector_named("thorough"), (9, 9))["models_sha256"]) == {
        "centerface", "yunet",
    }  # fmt: skip
    assert describe_detector(Says("own"), (9, 9)) == {
        "name": "own", "models_sha256": {}, "threshold": None, "smallest_face": None,
    }  # fmt: skip


def real_face() -> UInt8Array:
    """A face of 111 pixels' height with its surroundings."""
    picture = np.asarray(cv2.imread(str(asset_path("group_photo"))), np.uint8)[..., ::-1]
    (found,) = YuNet()([picture])
    face = max(found, key=lambda f: f.score)
    x0, y0, x1, y1 = (round(v) for v in face.box)
    margin = (y1 - y0) // 2
    return np.ascontiguousarray(
        picture[max(y0 - margin, 0) : y1 + margin, max(x0 - margin, 0) : x1 + margin]
    )


@pytest.mark.assets
@pytest.mark.parametrize("name", ["fast", "yunet"])
def test_real_faces_of_26_to_1000_pixels_are_found_in_4k(name: str) -> None:
    face = real_face()
    canvas = np.full((2160, 3840, 3), (90, 110, 120), np.uint8)
    places = []
    for side, (x, y) in {26: (3700, 30), 50: (1890, 1050), 1000: (100, 100)}.items():
        scale = 2 * side / face.shape[0]  # half of the crop is the face
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        part = cv2.resize(face, None, fx=scale, fy=scale, interpolation=how)
        height, width = part.shape[:2]
        canvas[y : y + height, x : x + width] = part[: 2160 - y, : 3840 - x]
        places.append((x + width / 4, y + height / 4, x + width * 0.75, y + height * 0.75))
    (found,) = detector_named(name)([canvas])
    overlaps = pairwise_iou(np.array(places), np.array([f.box for f in found]))
    assert (overlaps.max(axis=1) > 0.3).all(), overlaps.max(axis=1)


@pytest.mark.assets
def test_a_real_face_of_which_a_third_is_in_the_frame_is_found() -> None:
    face = cv2.resize(real_face(), (120, 120), interpolation=cv2.INTER_AREA)
    canvas = np.full((360, 640, 3), (90, 110, 120), np.uint8)
    canvas[100:220, :50] = face[:, 70:]  # the face ends at 90
    (found,) = detector_named("fast")([canvas])
    assert len(found) == 1


@pytest.mark.assets
def test_opencv_answers_alike_whatever_it_was_shown_before() -> None:
    from dp3_lightning.faces import CenterFace

    face, detector = real_face(), CenterFace(max_side=None, min_side=None, runtime="opencv")
    frames = [cv2.resize(face, (side, side)) for side in (160, 320, 96, 160)]
    fresh = [CenterFace(max_side=None, min_side=None, runtime="opencv")([f])[0] for f in frames]
    assert detector(frames) == fresh
