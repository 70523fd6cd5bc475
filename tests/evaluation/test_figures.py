from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dp3_lightning.anonymize.plan import Plan, PlannedTrack
from dp3_lightning.evaluation import MEANING, FaceView, Tools, evaluate_pair, face_views
from dp3_lightning.evaluation.command import evaluate_command, evaluation_record
from dp3_lightning.optical_flow import FarnebackFlow
from dp3_lightning.reports.evaluation import write_evaluation_report
from dp3_lightning.structures import Detection, FloatArray, UInt8Array
from dp3_lightning.video import write_video

N = 12


class Known:
    """Finds the face where the plan says, with marks of its own."""

    name = "known"

    def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
        marks = ((70.0, 40.0), (90.0, 40.0), (80.0, 50.0), (72.0, 60.0), (88.0, 60.0))
        dark = [frame.max() < 30 for frame in frames]
        return [[] if d else [Detection((60, 24, 100, 72), 0.9, marks)] for d in dark]


class MeanColor:
    name = "mean"
    threshold = 0.1

    def __call__(self, frame: UInt8Array, box: Sequence[float]) -> FloatArray | None:
        x0, y0, x1, y1 = (round(v) for v in box)
        return np.append(frame[y0:y1, x0:x1].mean((0, 1)) / 255, 1.0)


class Difference(nn.Module):
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return (first - second).square().mean((1, 2, 3), keepdim=True)


def tools(**values: object) -> Tools:
    made = {"embedder": MeanColor(), "perceptual": Difference(), **values}
    return Tools(FarnebackFlow(), Known(), made["embedder"], made["perceptual"], "difference", None)  # type: ignore[arg-type]


def frames() -> list[UInt8Array]:
    """A textured face whose mouth opens and closes, in front of a still wall."""
    rng = np.random.default_rng(0)
    wall = cv2.resize(rng.integers(60, 200, (12, 20, 3), dtype=np.uint8), (160, 96))
    made = []
    y, x = np.mgrid[0:48, 0:40].astype(float)
    for i in range(N):
        opening = 2.5 * np.sin(i * 0.9)
        stretch = np.where(y > 30, (y - 30) / 18 * opening, 0)
        skin = 128 + 40 * np.sin(x / 3) + 40 * np.cos((y - stretch) / 2.5)
        frame = wall.copy()
        frame[24:72, 60:100] = skin[..., None].clip(0, 255).astype(np.uint8)
        made.append(frame)
    return made


def plan(**values: object) -> Plan:
    track = PlannedTrack("person-1", 0, [(60.0, 24.0, 100.0, 72.0)] * N, ["detected"] * N)
    made = {"n_frames": N, "tracks": [track], **values}
    return Plan("in.mkv", "", size=(96, 160), **made)  # type: ignore[arg-type]


def clip(path: Path, pictures: Sequence[UInt8Array]) -> Path:
    return write_video(path, pictures, 10, lossless=True)


def figures(folder: Path, pictures: Sequence[UInt8Array], **values: object) -> dict[str, float]:
    original, output = clip(folder / "in.mkv", frames()), clip(folder / "out.mkv", pictures)
    (face,) = evaluate_pair(original, output, plan(), tools(**values))
    assert (face.person, face.frames) == ("person-1", (0, N - 1))
    return face.values


def changed(kind: str) -> list[UInt8Array]:
    made = []
    for i, frame in enumerate(frames()):
        face = frame[24:72, 60:100]
        if kind == "blurred":
            face[:] = cv2.GaussianBlur(face, (0, 0), 4)
        elif kind == "flickering":
            face[:] = np.clip(face.astype(int) + (20 if i % 2 else -20), 0, 255)
        elif kind == "frozen":
            face[:] = frames()[0][24:72, 60:100]
        elif kind == "black":
            frame[:] = 0
        made.append(frame)
    return made


def test_the_original_itself_scores_perfectly(tmp_path: Path) -> None:
    values = figures(tmp_path, frames())
    perfect = {
        "excess warping error": 0, "excess warping error, ring": 0, "tOF": 0, "tLP": 0,
        "TL-ID": 1, "TG-ID": 1, "sharpness": 1, "identity distance": 0,
        "identity distance, least": 0, "face found": 1, "landmark error": 0, "pose error": 0,
        "mouth correlation": 1, "interior SSIM": 1, "interior MS-SSIM": 1, "flicker": 1,
        "high frequencies": 1, "total variation": 1, "recognised": 1,
        "interior perceptual distance": 0, "excess warping error, view": 0,
    }  # fmt: skip
    for name, value in perfect.items():
        assert values[name] == pytest.approx(value, abs=1e-6), name
    assert values["interior PSNR"] == math.inf
    assert set(values) <= set(MEANING)


def test_every_fault_shows_in_its_figure(tmp_path: Path) -> None:
    kinds = ("blurred", "flickering", "frozen", "black")
    found = {}
    for kind in kinds:
        (tmp_path / kind).mkdir()
        found[kind] = figures(tmp_path / kind, changed(kind))
    assert found["blurred"]["sharpness"] < 0.3
    assert found["flickering"]["excess warping error"] > 100
    assert (
        found["flickering"]["excess warping error"] > 5 * found["blurred"]["excess warping error"]
    )
    assert found["frozen"]["tOF"] > 0.2
    assert not found["frozen"]["mouth correlation"] > 0.3
    assert found["black"]["face found"] == 0
    assert math.isnan(found["black"]["landmark error"])
    assert found["black"]["identity distance"] > 0.5
    assert found["black"]["interior PSNR"] < 15


def test_what_is_not_at_hand_is_left_out(tmp_path: Path) -> None:
    values = figures(tmp_path, frames(), embedder=None, perceptual=None)
    assert not {"TL-ID", "tLP", "identity distance", "MobileNetV2 Frechet"} & set(values)
    assert "tOF" in values


def test_unequal_lengths_and_foreign_plans_are_named(tmp_path: Path) -> None:
    original = clip(tmp_path / "in.mkv", frames())
    short = clip(tmp_path / "short.mkv", frames()[:-1])
    with pytest.raises(ValueError, match=f"the {N} frames.*got {N - 1}"):
        evaluate_pair(original, short, plan(), tools())
    with pytest.raises(ValueError, match="plan has 99 frames"):
        evaluate_pair(original, original, plan(n_frames=99), tools())
    with pytest.raises(ValueError, match="No face is followed"):
        evaluate_pair(original, original, plan(tracks=[]), tools())


def test_views_follow_the_face_and_know_cuts() -> None:
    boxes = [(20.0 + 2 * i, 30.0, 60.0 + 2 * i, 80.0) for i in range(N)]
    track = PlannedTrack("a", 3, boxes, ["detected"] * N)  # type: ignore[arg-type]
    (view,) = face_views(plan(n_frames=30, tracks=[track], cuts=[7]), 30)
    assert isinstance(view, FaceView)
    assert len(view) == N
    assert view.pair_valid.tolist() == [i != 7 for i in range(4, 3 + N)]
    sides = view.windows[:, 2] - view.windows[:, 0]
    assert np.allclose(sides, 70)
    assert np.allclose(view.boxes[6], view.boxes[5], atol=1e-6)  # steady in the view
    area = view.region().mean((1, 2, 3))
    assert torch.allclose(area, torch.full((N,), 40 * 50 / 70**2), atol=0.02)
    assert view.region(-0.2).sum() > view.region().sum() > view.region(0.2).sum()


def test_record_is_strict_json_and_the_page_shows_no_original_unless_asked(tmp_path: Path) -> None:
    original, output = (
        clip(tmp_path / "in.mkv", frames()),
        clip(tmp_path / "out.mkv", changed("black")),
    )
    record = evaluation_record(original, output, plan(), tools(embedder=None))
    text = json.dumps(record, allow_nan=False)
    assert record["faces"][0]["values"]["landmark error"] is None
    assert str(tmp_path) not in text
    page = write_evaluation_report(output, record).read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert "Original" not in page
    both = write_evaluation_report(output, record, original).read_text()
    assert "<h3>Original</h3>" in both
    assert both.count("data:image/jpeg") == 2 * page.count("data:image/jpeg")


def test_outputs_that_are_missing_are_named(tmp_path: Path) -> None:
    original = clip(tmp_path / "in.mkv", frames())
    with pytest.raises(FileNotFoundError, match=r"none\.mkv"):
        evaluate_command([str(tmp_path / "none.mkv"), "--original", str(original)])


@pytest.mark.assets
def test_the_command_on_a_real_clip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dp3_lightning import anonymize_video
    from dp3_lightning.assets import asset_path
    from dp3_lightning.video import VideoReader

    reader = VideoReader(asset_path("carphone"))
    original = clip(tmp_path / "in.mkv", list(reader.frames(0, 12)))
    output = tmp_path / "out.mp4"
    anonymize_video(original, output, "blur", cache=tmp_path)
    assert evaluate_command([str(output), "--original", str(original), "--report"]) == 0
    record = json.loads((tmp_path / "out.mp4.eval.json").read_text())
    values = record["faces"][0]["values"]
    assert values["sharpness"] < 0.3
    assert values["interior SSIM"] < 0.9
    assert "tOF" in capsys.readouterr().out
    assert (tmp_path / "out.mp4.eval.html").is_file()
