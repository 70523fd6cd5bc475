from __future__ import annotations

import numpy as np
import pytest

from dp3_lightning.faces import TiledDetector
from dp3_lightning.faces.tiling import merge, tile_corners
from dp3_lightning.structures import Detection, UInt8Array


class Shrinking:
    """Finds white squares, but only those that are large for the picture it is given."""

    name = "shrinking"

    def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
        return [self._one(frame) for frame in frames]

    def _one(self, frame: UInt8Array) -> list[Detection]:
        found = []
        mask = frame[..., 0] == 255
        for value in np.unique(frame[mask][:, 1]) if mask.any() else []:
            rows, columns = np.nonzero(mask & (frame[..., 1] == value))
            box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            if box[2] - box[0] >= 0.1 * max(frame.shape):
                found.append(Detection(tuple(map(float, box)), 0.9))  # type: ignore[arg-type]
        return found


def picture(*squares: tuple[int, int, int]) -> UInt8Array:
    frame = np.zeros((200, 400, 3), np.uint8)
    for number, (x, y, side) in enumerate(squares, start=1):
        frame[y : y + side, x : x + side] = (255, number, 0)
    return frame


def test_small_faces_are_found_once_and_large_ones_too() -> None:
    frame = picture((10, 10, 24), (300, 120, 24), (130, 20, 140))
    plain, tiled = Shrinking(), TiledDetector(Shrinking(), tiles=2)
    assert [d.box for d in plain([frame])[0]] == [(130, 20, 270, 160)]
    found = sorted(d.box for d in tiled([frame])[0])
    # Parts of the large face inside a tile are the same face.
    assert found == [(10, 10, 34, 34), (130, 20, 270, 160), (300, 120, 324, 144)]
    assert "shrinking" in tiled.name
    assert tiled.name != TiledDetector(Shrinking(), tiles=3).name


@pytest.mark.parametrize("size", [(200, 400), (1080, 1920), (1920, 1080), (37, 301), (64, 64)])
@pytest.mark.parametrize("tiles", [1, 2, 3, 5])
def test_tiles_cover_the_frame_and_overlap(size: tuple[int, int], tiles: int) -> None:
    corners = tile_corners(size, tiles, 0.25)
    if tiles == 1:
        assert corners == []  # the whole frame is looked at anyway
        return
    seen = np.zeros(size, int)
    for x0, y0, x1, y1 in corners:
        assert 0 <= x0 < x1 <= size[1]
        assert 0 <= y0 < y1 <= size[0]
        seen[y0:y1, x0:x1] += 1
    assert seen.min() >= 1
    longer = max(size) / (tiles - (tiles - 1) * 0.25)
    assert all(max(x1 - x0, y1 - y0) <= longer + 2 for x0, y0, x1, y1 in corners)


def test_landmarks_move_with_their_tile_and_neighbours_stay_two() -> None:
    near = [Detection((0, 0, 10, 10), 0.9), Detection((8, 0, 18, 10), 0.8)]
    assert len(merge(near)) == 2

    class Marks:
        name = "marks"

        def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
            box = (1.0, 2.0, 5.0, 6.0)
            return [
                [Detection(box, 0.5, ((2.0, 3.0),))] if f.shape[1] < 400 else [] for f in frames
            ]

    found = TiledDetector(Marks(), tiles=2)([picture()])[0]
    offsets = {(d.box[0] - 1, d.box[1] - 2) for d in found}
    assert len(offsets) == len(found) > 1
    for detection in found:
        assert detection.landmarks is not None
        assert detection.landmarks[0] == (detection.box[0] + 1, detection.box[1] + 1)


@pytest.mark.parametrize(("name", "value"), [("tiles", 0), ("overlap", 1.0), ("overlap", -0.1)])
def test_arguments_out_of_range(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"`{name}`.*{value}"):
        TiledDetector(Shrinking(), **{name: value})  # type: ignore[arg-type]
