"""Landmarks of the real faces, for generators that turn faces with them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dp3_lightning.assets import asset_path
from dp3_lightning.data import VideoClipDataModule, datamodule
from dp3_lightning.data.clip_index import ClipEntry
from dp3_lightning.data.clips import VideoClips, find_landmarks
from dp3_lightning.faces.alignment import upright_points
from dp3_lightning.faces.expression import five_points
from dp3_lightning.faces.mesh import GOOD_PRESENCE, MeshFace
from dp3_lightning.video import VideoReader, write_video
from tests.face_prior_fixtures import aligned_mesh, rotated
from tests.training_fixtures import write_people

SIDE = 64
BOXES = np.array([[10.0, 8.0, 50.0, 58.0], [12.0, 9.0, 52.0, 59.0], [14.0, 10.0, 54.0, 60.0]])


class Turned:
    """Finds a face that is turned by 20 degrees in the middle of the box."""

    def __init__(self, presence: Sequence[float | None] = (GOOD_PRESENCE + 5,)) -> None:
        self.presence = presence
        self.frames: list[np.ndarray] = []
        self.boxes: list[list[float]] = []

    def mesh(self, box: Sequence[float]) -> np.ndarray:
        x0, y0, _, y1 = box
        mesh = rotated(aligned_mesh(64), 20, (32, 32)) * (y1 - y0) / 64
        return mesh + np.array([x0, y0, 0])

    def locate(self, frame: np.ndarray, box: Sequence[float], **_: object) -> MeshFace | None:
        assert frame.dtype == np.uint8
        assert frame.flags["C_CONTIGUOUS"]
        self.frames.append(frame)
        self.boxes.append(list(box))
        presence = self.presence[(len(self.boxes) - 1) % len(self.presence)]
        return None if presence is None else MeshFace(self.mesh(box), presence)


def crops(n: int = 3) -> np.ndarray:
    return np.random.default_rng(0).uniform(-6, 261, (n, SIDE, SIDE, 3)).astype(np.float32)


def found(mesh: Any, n: int = 3) -> np.ndarray:
    marks = find_landmarks(mesh, crops(n), BOXES[:n])
    assert marks.dtype == torch.float32
    assert marks.shape == (n, 5, 2)
    return marks.numpy()


def test_landmarks_are_those_of_the_mesh_in_pixels_of_the_crop() -> None:
    mesh = Turned()
    marks = found(mesh)
    for row, box in zip(marks, BOXES, strict=True):
        np.testing.assert_allclose(row, five_points(mesh.mesh(box)), atol=1e-4)
    assert mesh.boxes == BOXES.tolist()
    for frame, crop in zip(mesh.frames, crops(), strict=True):
        np.testing.assert_array_equal(frame, np.clip(np.rint(crop), 0, 255))


@pytest.mark.parametrize("presence", [None, GOOD_PRESENCE - 1, -20.0])
def test_without_a_mesh_they_lie_upright_in_the_box(presence: float | None) -> None:
    marks = found(Turned([GOOD_PRESENCE + 1, presence, GOOD_PRESENCE + 1]))
    np.testing.assert_allclose(marks[1], upright_points(BOXES[1]), atol=1e-4)
    for at in (0, 2):
        assert np.abs(marks[at] - upright_points(BOXES[at])).max() > 3


def test_upright_landmarks_are_level_and_inside_the_box() -> None:
    marks = upright_points((10, 20, 50, 70))
    assert marks.shape == (5, 2)
    assert ((marks > [10, 20]) & (marks < [50, 70])).all()
    eyes, nose, mouth = marks[:2], marks[2], marks[3:]
    assert eyes[0, 0] < nose[0] < eyes[1, 0]
    assert mouth[0, 0] < nose[0] < mouth[1, 0]
    assert eyes[:, 1].max() < nose[1] < mouth[:, 1].min()
    np.testing.assert_allclose(eyes[0, 1], eyes[1, 1], atol=0.5)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_clips_look_at_the_pixels_that_they_give_out(tmp_path: Path, flip: float) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (96, 128, 3), dtype=np.uint8) for _ in range(3)]
    video = VideoReader(write_video(tmp_path / "in.mkv", frames, 25, lossless=True))
    entry = ClipEntry(0, 0, np.tile([50.0, 30.0, 78.0, 66.0], (3, 1)))
    mesh: Any = Turned()
    sample = VideoClips([video], [entry], 3, (64, 64), flip=flip, mesh=mesh)[0]
    levels = sample["clip"].permute(0, 2, 3, 1).numpy() * 127.5 + 127.5
    for seen, given in zip(mesh.frames, levels, strict=True):
        assert np.abs(seen - given).max() <= 0.51
    np.testing.assert_allclose(mesh.boxes, sample["box"], atol=1e-3)
    expected = [five_points(mesh.mesh(box)) for box in mesh.boxes]
    np.testing.assert_allclose(sample["landmarks"], expected, atol=1e-3)
    assert "landmarks" not in VideoClips([video], [entry], 3, (64, 64))[0]


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    detector = write_people(
        tmp_path / "videos", ["ann", "bob", "cid", "dot"], n_frames=8, size=(64, 80)
    )
    return {
        "source": str(tmp_path / "videos"),
        "clip_length": 3,
        "image_size": 32,
        "batch_size": 2,
        "flow": False,
        "detector": detector,
        "val_fraction": 0.5,
        "cache_dir": str(tmp_path / "cache"),
    }


def test_batches_have_landmarks_when_asked(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datamodule, "FaceMesh", lambda runtime: Turned())
    data = VideoClipDataModule(**options, landmarks=True)
    data.setup()
    loaders: list[Any] = [data.train_dataloader(), data.val_dataloader(), data.predict_dataloader()]
    for loader in loaders:
        batch = next(iter(loader))
        n = len(batch["clip"])
        assert batch["landmarks"].shape == (n, 3, 5, 2)
        assert torch.isfinite(batch["landmarks"]).all()
        centers = batch["landmarks"].mean(2)
        box = batch["box"]
        assert ((centers > box[..., :2] - 16) & (centers < box[..., 2:] + 16)).all()


def test_batches_have_none_unless_asked(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(runtime: str) -> None:
        raise AssertionError("a mesh network was made")

    monkeypatch.setattr(datamodule, "FaceMesh", never)
    data = VideoClipDataModule(**options)
    data.setup("fit")
    assert "landmarks" not in next(iter(data.train_dataloader()))


WORKERS = """
import sys
import numpy as np
from dp3_lightning.data import VideoClipDataModule
from dp3_lightning.faces import CenterFace
from dp3_lightning.faces.mesh import FaceMesh

# What ran before in this process has started the threads of every runtime.
CenterFace(runtime="auto")([np.zeros((64, 64, 3), np.uint8)] * 4)
for runtime in ("opencv", "auto"):
    FaceMesh(runtime).locate(np.zeros((64, 64, 3), np.uint8), (4, 4, 28, 28))
data = VideoClipDataModule(
    "carphone", clip_length=3, batch_size=2, image_size=64, landmarks=True, num_workers=1,
    split_by="time", cache_dir=sys.argv[1],
)
data.prepare_data()
data.setup("fit")
batch = next(iter(data.train_dataloader()))
assert batch["landmarks"].shape == (2, 3, 5, 2)
assert batch["landmarks"].isfinite().all()
"""


@pytest.mark.assets
def test_the_mesh_network_works_in_loader_processes(tmp_path: Path) -> None:
    asset_path("carphone")
    # A process of its own: a fork may hang, and then only this test fails.
    done = subprocess.run(
        [sys.executable, "-c", WORKERS, str(tmp_path)], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
