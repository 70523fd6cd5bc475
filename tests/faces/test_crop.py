import json
from pathlib import Path

import numpy as np
import pytest

from dp3_lightning.faces.crop import box_in_crop, crop_frame, expand_box, hole_mask

GOLDENS = Path(__file__).parents[1] / "data" / "goldens"


@pytest.mark.parametrize(("rule", "key"), [("fdf128", "fdf128"), ("fdf256", "fdf256_simple")])
def test_windows_match_300_recorded_ones(rule: str, key: str) -> None:
    rows = json.loads((GOLDENS / "geometry.json").read_text())["face"]
    assert len(rows) == 300
    for row in rows:
        assert list(expand_box(row["box"], row["imshape_HW"], rule)) == row[key], row


@pytest.mark.parametrize(("rule", "key"), [("fdf128", "fdf32"), ("fdf256", "simple32")])
def test_crops_and_holes_match_the_recorded_ones(rule: str, key: str) -> None:
    with np.load(GOLDENS / "crops.npz") as golden:
        frame = np.ascontiguousarray(golden["im"].transpose(1, 2, 0))
        for i, box in enumerate(golden[f"{key}/sorted_boxes"]):
            window = expand_box(box, frame.shape[:2], rule)
            assert list(window) == golden[f"{key}/{i}/boxes"][0].tolist()
            crop = crop_frame(frame, window, (32, 32)).transpose(2, 0, 1)
            np.testing.assert_array_equal(crop, golden[f"{key}/{i}/img"][0])
            mask = hole_mask(box_in_crop(box, window, (32, 32)), (32, 32))
            np.testing.assert_array_equal(mask, golden[f"{key}/{i}/mask"][0, 0])


def test_window_outside_the_frame_is_black() -> None:
    frame = np.full((40, 50, 3), 200, dtype=np.uint8)
    crop = crop_frame(frame, (-10, -10, 30, 30), (40, 40))
    assert (crop[:10] == 0).all()
    assert (crop[:, :10] == 0).all()
    assert (crop[10:, 10:] == 200).all()
    assert (crop_frame(frame, (60, 60, 80, 80), (20, 20)) == 0).all()
