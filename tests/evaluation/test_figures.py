from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dp3_lightning.anonymize.planning.plan import PlannedTrack
from dp3_lightning.cli.evaluate import evaluate_command
from dp3_lightning.evaluation import MEANING, FaceView, evaluate_pair, face_views
from dp3_lightning.evaluation.watching import FacesOfFrames
from dp3_lightning.structures import Detection, UInt8Array
from tests.evaluation.evaluation_fixtures import N, changed, clip, figures, frames, plan, tools


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
    assert values["interior PSNR"] == 100  # the worst leak counts, though it has no end
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
    with pytest.raises(ValueError, match=r"frames of \(90, 160\).*\(96, 160\)"):
        evaluate_pair(original, original, replace(plan(), size=(90, 160)), tools())
    with pytest.raises(ValueError, match=r"another content than 'in\.mkv'"):
        evaluate_pair(original, original, replace(plan(), sha256="0" * 64), tools())
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


@pytest.mark.parametrize("left", [0, -28])
def test_what_lies_outside_the_frame_does_not_count(tmp_path: Path, left: int) -> None:
    """A blurred face is as blurred where it leaves the frame, though black meets black there."""
    shifted = [np.roll(frame, left - 60, axis=1) for frame in frames()]
    blurred = [np.roll(frame, left - 60, axis=1) for frame in changed("blurred")]
    original, output = clip(tmp_path / "in.mkv", shifted), clip(tmp_path / "out.mkv", blurred)
    box = (float(left), 24.0, left + 40.0, 72.0)
    track = PlannedTrack("a", 0, [box] * N, ["detected"] * N)  # type: ignore[arg-type]
    (face,) = evaluate_pair(original, output, plan(tracks=[track]), tools())
    assert face.values["sharpness"] < 0.3
    assert face.values["interior SSIM"] < 0.8
    (view,) = face_views(plan(tracks=[track]), N)
    shown = view.region().mean((1, 2, 3))
    assert shown[0] == pytest.approx((40 + left) * 48 / 67.2**2, abs=0.03)


def test_a_detector_of_fakes_with_weights_and_one_that_was_asked_before(tmp_path: Path) -> None:
    class Trained(torch.nn.Module):
        name = "trained"

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(()))

        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return self.weight * pictures.mean((1, 2, 3))

    original = clip(tmp_path / "in.mkv", frames())
    output = clip(tmp_path / "out.mkv", changed("black"))
    used, known = tools(), FacesOfFrames()
    used.fake_detector = Trained()
    (face,) = evaluate_pair(original, output, plan(), used, known)
    assert face.values["detector AUC"] in (0, 1)

    class Silent:
        name = "silent"

        def __call__(self, pictures: list[UInt8Array]) -> list[list[Detection]]:
            assert pictures[0].max() < 30  # the output; the original is known
            return [[]]

    used.detector = Silent()
    assert evaluate_pair(original, output, plan(), used, known)[0].values["face found"] == 0


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
    values = record["videos"][0]["faces"][0]["values"]
    assert values["sharpness"] < 0.3
    assert values["interior SSIM"] < 0.9
    assert "tOF" in capsys.readouterr().out
    assert (tmp_path / "out.mp4.eval.html").is_file()


def test_the_ring_is_around_the_face_and_does_not_contain_it(tmp_path: Path) -> None:
    """What flickers well inside the face is no jump of its surroundings."""
    made = frames()
    for i, frame in enumerate(made):
        part = frame[32:64, 68:92]
        part[:] = np.clip(part.astype(int) + (25 if i % 2 else -25), 0, 255)
    values = figures(tmp_path, made)
    assert values["excess warping error"] > 20
    assert abs(values["excess warping error, ring"]) < 0.02 * values["excess warping error"]
