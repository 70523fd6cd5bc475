from __future__ import annotations

from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest

from dp3_lightning.faces.feather import outward_share, pixel_region
from dp3_lightning.faces.obscure import Treatment, fill_from_around, obscure
from dp3_lightning.structures import FloatArray, UInt8Array

TREATMENTS = get_args(Treatment)
SIZE = (90, 120)
Box = tuple[float, float, float, float]

BOXES: list[Box] = [
    (30, 20, 80, 70),
    (30.4, 20.9, 62.1, 70.3),
    (-20.5, -10.25, 31.7, 35.2),
    (89.6, 60.2, 140, 130),
    (-50, -50, 200, 200),
]


def touched(box: Box, size: tuple[int, int] = SIZE) -> npt.NDArray[np.bool_]:
    """Pixels that share any area with a box, by definition: pixel i covers [i, i + 1)."""
    rows, columns = np.arange(size[0]), np.arange(size[1])
    in_y = (rows + 1 > box[1]) & (rows < box[3])
    in_x = (columns + 1 > box[0]) & (columns < box[2])
    return np.outer(in_y, in_x)


def noise(seed: int = 0) -> UInt8Array:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def finest_detail() -> UInt8Array:
    """Black and white pixels in turn: any mean over some of them is grey."""
    checks = np.indices(SIZE).sum(axis=0) % 2 * 255
    return np.repeat(checks[..., None], 3, axis=-1).astype(np.uint8)


def random_boxes(count: int) -> list[Box]:
    rng = np.random.default_rng(3)
    corners = rng.uniform((-30, -30), (110, 80), (count, 2))
    sides = rng.uniform(12, 70, (count, 2))
    return [(x, y, x + w, y + h) for (x, y), (w, h) in zip(corners, sides, strict=True)]


# ---------------------------------------------------------------------- treatments


@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("treatment", TREATMENTS)
def test_no_touched_pixel_keeps_its_detail(treatment: Treatment, soft: bool) -> None:
    for box in [*BOXES, *random_boxes(40)]:
        visible = pixel_region(box, SIZE)
        if visible is None or min(visible[2] - visible[0], visible[3] - visible[1]) < 12:
            continue
        frame = finest_detail()
        obscure(frame, box, treatment, soft=soft)
        inside = frame[touched(box)].astype(int)
        if treatment == "solid":
            assert (inside == 0).all()
        else:
            assert np.abs(inside - 127.5).max() < 60, box


@pytest.mark.parametrize("treatment", TREATMENTS)
@pytest.mark.parametrize("box", [*BOXES, (10.5, 10.5, 11.4, 11.4), (200, 5, 220, 30)])
def test_pixels_outside_stay_as_they_are(treatment: Treatment, box: Box) -> None:
    frame = noise()
    obscure(frame, box, treatment, soft=False)
    outside = ~touched(box)
    assert np.array_equal(frame[outside], noise()[outside])


def test_a_soft_blur_fades_out_within_its_band() -> None:
    box, frame = (40.3, 30.2, 80.3, 60.2), noise()
    obscure(frame, box)
    band = 0.12 * 40
    grown = touched((box[0] - band, box[1] - band, box[2] + band, box[3] + band))
    assert np.array_equal(frame[~grown], noise()[~grown])
    changed = np.abs(frame.astype(int) - noise()).max(axis=-1) > 0
    ring = grown & ~touched(box)
    assert 0.7 < changed[ring].mean() <= 1
    # The hard edge of the other way is gone: real pixels come back bit by bit.
    change = np.abs(frame.astype(float) - noise()).mean(axis=-1)
    row, right = slice(35, 55), 81
    assert change[row, right - 3].mean() > 2 * change[row, right + 3].mean() > 0


@pytest.mark.parametrize("treatment", ["solid", "pixelate"])
@pytest.mark.parametrize("soft", [True, False])
def test_solid_and_pixelation_end_at_the_box(treatment: Treatment, soft: bool) -> None:
    box, frame = (30, 20, 80, 70), noise()
    obscure(frame, box, treatment, soft=soft)
    expected = noise()
    if treatment == "solid":
        expected[20:70, 30:80] = 0
    else:
        blocks = expected[20:70, 30:80].reshape(5, 10, 5, 10, 3).mean(axis=(1, 3))
        means = blocks.repeat(10, axis=0).repeat(10, axis=1)
        assert np.abs(frame[20:70, 30:80] - means).max() <= 0.5001
        expected[20:70, 30:80] = frame[20:70, 30:80]
    assert np.array_equal(frame, expected)


def shuffled(face: UInt8Array, block: int, box: tuple[int, int, int, int]) -> UInt8Array:
    """Another face with the same mean in every block of a grid; pixels outside a box stay."""
    rng = np.random.default_rng(9)
    other = face.copy()
    x0, y0, x1, y1 = box
    for y in range(0, len(face), block):
        for x in range(0, face.shape[1], block):
            part = other[max(y, y0) : min(y + block, y1), max(x, x0) : min(x + block, x1)]
            flat = part.reshape(-1, 3)
            part[:] = flat[rng.permutation(len(flat))].reshape(part.shape)
    return other


@pytest.mark.parametrize(
    ("treatment", "soft", "side", "origin"),
    # A soft blur of 125 px takes its means over 155 px: blocks of 31 px again end at whole pixels.
    [("blur", False, 50, 0), ("pixelate", True, 50, 0), ("blur", True, 125, 15)],
)
def test_only_means_of_blocks_are_left(
    treatment: Treatment, soft: bool, side: int, origin: int
) -> None:
    whole = side + 2 * origin
    face = np.random.default_rng(4).integers(0, 256, (whole, whole, 3), dtype=np.uint8)
    face[: whole // 2] //= 3
    box = (origin, origin, origin + side, origin + side)
    other = shuffled(face, whole // 5, box)
    assert (face != other).any(axis=-1).mean() > 0.5
    for picture in (face, other):
        obscure(picture, box, treatment, soft=soft)
    assert np.array_equal(face, other)
    assert np.ptp(face[:, whole // 2].astype(int)) > 30  # and something is: light and skin tone


@pytest.mark.parametrize("blocks", [1, 3, 8])
def test_number_of_blocks(blocks: int) -> None:
    frame = noise()
    obscure(frame, (20, 10, 100, 82), "pixelate", blocks)
    colors = np.unique(frame[10:82, 20:100].reshape(-1, 3), axis=0)
    assert len(colors) == blocks * round(80 / (72 / blocks))


def test_a_long_box_has_no_fine_blocks() -> None:
    frame = noise()
    obscure(frame, (0, 40, 120, 46), "pixelate")
    assert len(np.unique(frame[40:46].reshape(-1, 3), axis=0)) <= 5 * 20


@pytest.mark.parametrize("treatment", TREATMENTS)
@pytest.mark.parametrize("box", [(120.0, 0, 150, 30), (-40, 10, 0, 50), (10, 95, 40, 130)])
def test_a_box_beside_the_frame_changes_nothing(treatment: Treatment, box: Box) -> None:
    frame = noise()
    obscure(frame, box, treatment, soft=False)
    assert np.array_equal(frame, noise())


@pytest.mark.parametrize("side", [0.01, 0.4, 1, 1.2, 5])
def test_solid_covers_the_smallest_face(side: float) -> None:
    for corner in (10.0, 10.5, 10.9):
        box, frame = (corner, corner, corner + side, corner + side), finest_detail() | 8
        obscure(frame, box, "solid")
        assert np.array_equal((frame == 0).all(axis=-1), touched(box))


def test_nothing_of_a_colour_is_left_beside_other_colours() -> None:
    # Fine stripes of a colour that occurs nowhere else: no pixel may still have it, or nearly so.
    for box in random_boxes(20):
        visible = pixel_region(box, SIZE)
        if visible is None or min(visible[2] - visible[0], visible[3] - visible[1]) < 12:
            continue
        frame = np.full((*SIZE, 3), 90, np.uint8)
        frame[:, ::2][touched(box)[:, ::2]] = (255, 0, 255)
        obscure(frame, box)
        assert (np.abs(frame.astype(int) - (255, 0, 255)).max(axis=-1) > 40).all()


# ---------------------------------------------------------------------- shares


def sub_pixel_boxes(count: int = 200) -> list[Box]:
    rng = np.random.default_rng(5)
    boxes = []
    for _ in range(count):
        corner, side = rng.uniform(-5, 40, 2), rng.choice([0.01, 0.3, 1, 7, 20]) * rng.random(2)
        box = np.concatenate([corner, corner + side + 1e-3])
        # Edges exactly on pixels and just beside them are where rounding goes wrong.
        box = np.round(box) + rng.choice([0, 1e-9, -1e-9], 4) if rng.random() < 0.3 else box
        if (box[2:] > box[:2]).all():
            boxes.append(tuple(box.tolist()))
    return boxes


@pytest.mark.parametrize("band", [1e-3, 0.4, 1.0, 3.7, 12.0])
def test_share_is_one_on_the_box_and_zero_beyond_the_band(band: float) -> None:
    size = (50, 60)
    for box in sub_pixel_boxes():
        share = outward_share((0, 0, 60, 50), box, band)[..., 0]
        assert share.shape == size
        assert (share[touched(box, size)] == 1).all(), box
        grown = (box[0] - band, box[1] - band, box[2] + band, box[3] + band)
        assert share[~touched(grown, size)].max(initial=0) < 1e-6, box
        assert 0 <= share.min() <= share.max() <= 1


def rises_then_falls(line: FloatArray) -> bool:
    top = int(line.argmax())
    return bool((np.diff(line[: top + 1]) >= 0).all() and (np.diff(line[top:]) <= 0).all())


def test_share_falls_away_from_the_box_and_reaches_all_values() -> None:
    for box in sub_pixel_boxes(60):
        share = outward_share((0, 0, 60, 50), box, 6.3)[..., 0]
        assert all(rises_then_falls(line) for line in (*share, *share.T))
    share = outward_share((0, 0, 60, 50), (20, 20, 30, 30), 10)[25, :, 0]
    assert np.unique(share.round(3)).size > 8
    assert share[35] == pytest.approx(0.5)  # half-way at half the band
    assert share[34] == pytest.approx(1 - share[36])
    assert share[31] > 0.95  # flat at both ends: no edge shows
    assert share[39] < 0.05


def test_share_of_a_part_is_the_part_of_the_share() -> None:
    box = (12.3, 14.7, 25.1, 31.9)
    whole = outward_share((0, 0, 60, 50), box, 5)
    assert np.array_equal(outward_share((7, 9, 33, 40), box, 5), whole[9:40, 7:33])


@pytest.mark.parametrize("band", [0.0, 2.6])
def test_region_is_all_pixels_touched_and_no_more(band: float) -> None:
    size = (50, 60)
    for box in sub_pixel_boxes():
        grown = (box[0] - band, box[1] - band, box[2] + band, box[3] + band)
        expected = touched(grown, size)
        region = pixel_region(box, size, band)
        found = np.zeros(size, bool)
        if region is not None:
            assert 0 <= region[0] < region[2] <= 60
            assert 0 <= region[1] < region[3] <= 50
            found[region[1] : region[3], region[0] : region[2]] = True
        assert np.array_equal(found, expected), box


@pytest.mark.parametrize("box", [(60, 0, 70, 9), (-9, 0, 0, 9), (0, 50, 9, 60), (0, -9, 9, 0)])
def test_no_region_where_the_box_only_meets_the_edge(box: Box) -> None:
    assert pixel_region(box, (50, 60)) is None
    assert pixel_region(box, (50, 60), 0.5) is not None


@pytest.mark.parametrize("side", [2, 3, 4, 5])
@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("treatment", ["blur", "pixelate"])
def test_small_faces_are_changed_too(treatment: Treatment, soft: bool, side: int) -> None:
    frame = (np.indices((40, 40)).sum(axis=0) % 2 * 255)[..., None].repeat(3, -1).astype(np.uint8)
    before: UInt8Array = frame.copy()
    obscure(frame, (10, 10, 10 + side, 10 + side), treatment, soft=soft)
    inside = np.abs(frame.astype(int) - before)[10 : 10 + side, 10 : 10 + side]
    assert inside.min() > 20


@pytest.mark.parametrize("visible", [10, 40, 100])
def test_a_face_half_outside_the_frame_is_not_sharper(visible: int) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    obscure(frame, (visible - 200, 50, visible, 250), "pixelate")
    part = frame[50:250, :visible].astype(int)
    # Five blocks of 40 px over the face's 200 px: not more than four changes down a column.
    changes = (np.abs(np.diff(part, axis=0)).max(axis=-1) > 0)[:, 0].sum()
    assert changes <= 4


@pytest.mark.parametrize(
    "box", [(10.3, 8.0, 20.7, 19.5), (-4.0, -3.0, 9.0, 7.0), (25.0, 0.0, 40.0, 24.0)]
)
def test_filling_takes_from_around_only(box: tuple[float, float, float, float]) -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:24, 0:40]
    frame = np.stack([3 * x + 20, 5 * y, 2 * x + y], axis=-1).astype(np.uint8)
    region = pixel_region(box, frame.shape[:2])
    assert region is not None
    x0, y0, x1, y1 = region
    other = frame.copy()
    other[y0:y1, x0:x1] = rng.integers(0, 256, (y1 - y0, x1 - x0, 3))
    outside = np.ones((24, 40), bool)
    outside[y0:y1, x0:x1] = False
    filled = frame.copy()
    fill_from_around(filled, box)
    fill_from_around(other, box)
    assert np.array_equal(filled, other)
    assert np.array_equal(filled[outside], frame[outside])
    if box[0] > 0 and box[2] < 40:  # a slope goes on where both sides are seen
        assert np.abs(filled.astype(int) - frame).max() <= 12


def test_filling_a_whole_frame_leaves_nothing() -> None:
    frame = np.full((8, 8, 3), 200, np.uint8)
    fill_from_around(frame, (-1.0, -1.0, 9.0, 9.0))
    assert not frame.any()
    fill_from_around(frame, (20.0, 20.0, 30.0, 30.0))  # beside the frame
