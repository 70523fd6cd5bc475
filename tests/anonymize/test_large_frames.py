"""Real faces, real detectors: small faces in 4K, and a plan whose boxes slip."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dp3_lightning.anonymize import CheckOptions, Settings, anonymize_video, read_plan, write_plan
from dp3_lightning.anonymize.manifest import read_manifest
from dp3_lightning.anonymize.planning.planner import plan_picture
from dp3_lightning.assets import asset_path
from dp3_lightning.faces import YuNet, detector_named
from dp3_lightning.structures import UInt8Array

SIDES = (28, 50, 900)  # pixels of the faces' height
CORNERS = ((3700, 30), (1890, 1900), (100, 100))


def canvas() -> tuple[UInt8Array, list[tuple[int, int, int, int]]]:
    """A frame of 3840x2160, BGR, and the places of the middles of its faces."""
    picture = np.asarray(cv2.imread(str(asset_path("group_photo"))), np.uint8)
    (found,) = YuNet()([picture[..., ::-1]])
    x0, y0, x1, y1 = (round(v) for v in max(found, key=lambda face: face.score).box)
    margin = (y1 - y0) // 2
    face = picture[y0 - margin : y1 + margin, x0 - margin : x1 + margin]
    frame = np.full((2160, 3840, 3), (120, 110, 90), np.uint8)
    places = []
    for side, (x, y) in zip(SIDES, CORNERS, strict=True):
        scale = side / (y1 - y0)
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        part = cv2.resize(face, None, fx=scale, fy=scale, interpolation=how)
        height, width = part.shape[:2]
        frame[y : y + height, x : x + width] = part
        middle = (x + width // 2, y + height // 2)
        places.append(
            (middle[0] - side // 5, middle[1] - side // 5, *(v + side // 5 for v in middle))
        )
    return frame, places


def change(before: UInt8Array, after: UInt8Array, place: tuple[int, int, int, int]) -> float:
    """Mean difference in levels."""
    x0, y0, x1, y1 = place
    part = before[y0:y1, x0:x1].astype(np.int16) - after[y0:y1, x0:x1]
    return float(np.abs(part).mean())


@pytest.mark.assets
def test_small_and_large_faces_of_a_4k_frame_are_blurred(tmp_path: Path) -> None:
    frame, places = canvas()
    cv2.imwrite(str(tmp_path / "in.png"), frame)
    outcome = anonymize_video(tmp_path / "in.png", tmp_path / "out.png", "blur")
    result = np.asarray(cv2.imread(str(tmp_path / "out.png")), np.uint8)
    assert all(change(frame, result, place) > 6 for place in places)
    assert outcome.verdict == "checked"
    record = read_manifest(tmp_path / "out.png")
    assert record is not None
    assert record["safe"] == "checked"
    assert record["detectors"]["plan"]["smallest_face"] == 20
    assert record["detectors"]["plan"]["models_sha256"].keys() == {"centerface"}
    assert record["detectors"]["check"]["models_sha256"].keys() == {"yunet"}
    assert record["identity"]["models_sha256"].keys() == {"sface", "yunet"}


@pytest.mark.assets
def test_a_plan_whose_boxes_slip_by_half_a_face_ends_in_hidden_faces(
    tmp_path: Path,
) -> None:
    frame, places = canvas()
    cv2.imwrite(str(tmp_path / "in.png"), frame)
    plan = plan_picture(tmp_path / "in.png", frame[..., ::-1], detector_named("fast"))
    for track in plan.tracks:  # to the right by nearly half a face
        track.boxes = [
            (x0 + 0.47 * (x1 - x0), y0, x1 + 0.47 * (x1 - x0), y1) for x0, y0, x1, y1 in track.boxes
        ]
    write_plan(plan, tmp_path / "plan.json")
    outcome = anonymize_video(
        tmp_path / "in.png",
        tmp_path / "out.png",
        "solid",
        plan=read_plan(tmp_path / "plan.json"),
        settings=Settings(check=CheckOptions(identity_check="off")),
    )
    result = np.asarray(cv2.imread(str(tmp_path / "out.png")), np.uint8)
    assert outcome.exit_code or all(
        (result[y0:y1, x0:x1] < 12).mean() > 0.95 for x0, y0, x1, y1 in places
    )
    assert outcome.blurred
