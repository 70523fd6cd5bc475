"""The page about one output: who was drawn, and which frames fell back to blur."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dp3_lightning.anonymize import Outcome
from dp3_lightning.anonymize.picture_job import write_picture
from dp3_lightning.anonymize.rendering.choice import people_of
from dp3_lightning.anonymize.rendering.renderer import FaceRenderer
from dp3_lightning.anonymize.workspace import Workspace
from dp3_lightning.reports.anonymized import write_report
from dp3_lightning.reports.fallbacks import fallbacks, ranges_of
from tests.anonymize.rendering.mesh.mesh_fixtures import (
    SKIN,
    one_track_plan,
    painted,
    posed,
    renderer_of,
)


def failure(frame: int, reason: str = "no mesh", blurred: bool = True) -> dict[str, Any]:
    return {"frame": frame, "person": "person-1", "reason": reason, "blurred": blurred}


def record(**changes: Any) -> dict[str, Any]:
    """A manifest of 40 frames with one person."""
    track = {
        "person": "person-1", "action": "generate", "reason": "",
        "ranges": [[0, 29, "detected"], [30, 39, "filled"]],
        "frames": {"detected": 30, "filled": 10}, "distance_to_original": None,
    }  # fmt: skip
    return {
        "tool": "dp3_lightning 0",
        "output": {"name": "out.png"},
        "generator": {"name": "face-prior", "weights_sha256": "ab"},
        "frames": {
            "n_frames": 40, "cuts": [], "undecodable_repeated": [], "missing_at_the_end": 0,
            "detector_failed_blurred": [],
        },
        "faces": {"drawn": 2, "carried": 3, "people_refused_as_too_alike": {"person-1": 2}},
        "tracks": [track],
        "failures": [],
        "verify": {
            "frames_checked": 40, "found_and_blurred": [], "unresolved": [],
            "frames_unchecked": [],
        },
        "identity": {},
        "safe": True,
        **changes,
    }  # fmt: skip


def page_of(folder: Path, manifest: dict[str, Any], **options: Any) -> str:
    write_picture(folder / "out.png", np.full((40, 60, 3), 128, np.uint8))
    (folder / "out.png.dp3.json").write_text(json.dumps(manifest))
    return write_report(folder / "out.png", **options).read_text()


def pictures_in(page: str) -> list[np.ndarray]:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    data = [np.frombuffer(base64.b64decode(text), np.uint8) for text in found]
    pictures = [cv2.imdecode(part, cv2.IMREAD_COLOR) for part in data]
    return [picture[..., ::-1] for picture in pictures if picture is not None]


def test_frames_join_to_stretches() -> None:
    assert ranges_of([5, 3, 4, 9, 4]) == ((3, 5), (9, 9))
    assert ranges_of([]) == ()


def test_every_reason_has_its_frames() -> None:
    failures = [failure(n) for n in (3, 4, 5, 9)] + [failure(7, "drawing failed: x")]
    failures.append(failure(2, "half of it, carried", blurred=False))
    frames = {**record()["frames"], "detector_failed_blurred": [20, 21]}
    verify = {**record()["verify"], "found_and_blurred": [{"frame": 30, "box": [0, 0, 1, 1]}]}
    rows = fallbacks(record(failures=failures, frames=frames, verify=verify))
    assert [(row.person, row.frames_text(), row.n_frames) for row in rows] == [
        ("", "20 to 21", 2),
        ("", "30", 1),
        ("person-1", "3 to 5, 9", 4),
        ("person-1", "7", 1),
    ]
    many = fallbacks(record(failures=[failure(2 * n) for n in range(20)]))
    assert many[0].frames_text().endswith("20, 22 and 8 more stretches")


def test_tracks_that_were_blurred_as_a_whole_are_named() -> None:
    why = "the drawn face passed for the real person (distance 0.91)"
    track = {**record()["tracks"][0], "action": "blur", "reason": why}
    (row,) = fallbacks(record(tracks=[track]))
    assert (row.reason, row.ranges) == (why, ((0, 39),))
    # Whoever asked for blur got what was asked for.
    wanted = {"name": "blur", "weights_sha256": None}
    assert fallbacks(record(tracks=[track], generator=wanted)) == []


def test_the_page_tells_why_frames_are_blurred(tmp_path: Path) -> None:
    page = page_of(tmp_path, record(failures=[failure(n, "a <hand>") for n in range(4, 13)]))
    assert "<td>person-1</td><td>9</td><td>4 to 12</td><td>a &lt;hand&gt;</td>" in page
    assert "person-1: blurred, frames 4 to 12: a &lt;hand&gt;" in page  # on the timeline
    later = page_of(tmp_path, record(failures=[failure(6, "half a face", blurred=False)]))
    assert "From frame 6 on: half a face" in later
    assert "<p>None.</p>" in later


def test_the_sheet_shows_who_was_drawn_and_how_many_were_refused(tmp_path: Path) -> None:
    face = np.full((64, 64, 3), (10, 200, 30), np.uint8)
    page = page_of(tmp_path, record(), people={"person-1": face})
    _, shown = pictures_in(page)
    assert np.abs(shown.astype(int) - (10, 200, 30)).max() < 6
    assert "person-1; refused before as too alike: 2" in page
    assert "None of them exists" in page
    assert "None of them exists" not in page_of(tmp_path, record())


def test_people_on_the_sheet_are_drawn_ones() -> None:
    meshes = [posed()] * 3
    renderer = renderer_of(meshes, [painted(mesh) for mesh in meshes])
    (face,) = people_of(renderer, renderer.plan).values()
    assert (face == SKIN).all()
    blurred = one_track_plan(meshes, action="blur")
    assert people_of(renderer, blurred) == {}
    assert people_of(FaceRenderer(renderer.plan, None, {}), renderer.plan) == {}


def test_drawn_people_outlive_a_killed_run(tmp_path: Path) -> None:
    faces = {"person-1": np.full((8, 8, 3), 9, np.uint8), "a/b é": np.zeros((4, 4, 3), np.uint8)}
    workspace = Workspace(tmp_path / "out.mp4", "run")
    assert workspace.people() == {}
    workspace.keep_people(faces)
    workspace.close()
    again = Workspace(tmp_path / "out.mp4", "run")
    found = again.people()
    assert list(found) == list(faces)
    assert all((found[name] == faces[name]).all() for name in faces)
    (again.folder / "people.npz").write_bytes(b"PK damaged")
    assert again.people() == {}
    again.keep_people({})
    assert again.people() == {}
    again.close()


def test_pictures_stay_out_of_records() -> None:
    outcome = Outcome(people={"person-1": np.zeros((4, 4, 3), np.uint8)})
    assert "people" not in json.loads(json.dumps(outcome.as_dict()))
    assert Outcome.from_dict(outcome.as_dict()).people == {}


@pytest.mark.parametrize("name", ["out.png", "out.mp4"])
def test_an_output_without_a_manifest_has_no_page(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match="anonymize the video again"):
        write_report(tmp_path / name)
