"""How a face moves and what tone its skin has, from meshes that are known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from dp3_lightning.evaluation import MEANING, evaluate_pair
from dp3_lightning.evaluation.meshes import MESH_FIGURES, TrackMeshes, mesh_figures
from dp3_lightning.faces.mesh import MeshFace
from dp3_lightning.structures import UInt8Array
from tests.evaluation.evaluation_fixtures import N, changed, clip, frames, plan, tools
from tests.metrics.test_landmarks import FACE, talking


def known(n: int, share: float = 1.0) -> np.ndarray:
    return np.arange(n) < share * n


def test_a_face_follows_itself_and_a_mask_does_not() -> None:
    real, mask = talking(), talking("mouth opening")
    n = len(real)
    color = [(np.array([50.0, 10, 10]), np.array([53.0, 14, 10]))]
    itself = mesh_figures(TrackMeshes(real, real, known(n), known(n), color))
    for name in MESH_FIGURES[:10]:
        assert itself[name] == pytest.approx(1), name
    assert itself["skin difference"] == 5
    assert itself["skin lightness difference"] == 3
    assert itself["skin lightness, original"] == 50
    other = mesh_figures(TrackMeshes(real, mask, known(n), known(n)))
    assert abs(other["mouth opening correlation"]) < 0.2
    assert other["yaw correlation"] > 0.99
    assert math.isnan(other["skin difference"])


def test_what_hardly_moves_in_the_original_is_not_judged() -> None:
    """A still head that is measured with noise: its correlation would be that of the noise."""
    rng = np.random.default_rng(0)
    real = talking("yaw")
    n = len(real)
    noisy = [real + 0.05 * rng.normal(size=real.shape) for _ in range(2)]
    values = mesh_figures(TrackMeshes(*noisy, known(n), known(n)))
    assert math.isnan(values["yaw correlation"])
    assert values["pitch correlation"] > 0.99
    assert values["mouth opening correlation"] > 0.99


def test_frames_without_a_mesh_do_not_count_and_are_told() -> None:
    real, made = talking(), talking()
    made[24:] = np.nan
    n = len(real)
    values = mesh_figures(TrackMeshes(real, made, known(n), known(n, 0.5)))
    assert values["mesh found"] == 0.5
    assert values["landmark correlation"] == pytest.approx(1)
    lost = mesh_figures(TrackMeshes(real, made, known(n), known(n, 0.0)))
    assert lost["mesh found"] == 0
    assert math.isnan(lost["landmark correlation"])
    nothing = mesh_figures(TrackMeshes(real, made, known(n, 0.0), known(n)))
    assert all(map(math.isnan, nothing.values()))


class MouthOfTheFrame:
    """A mesh on the known face, whose lip hangs as low as the frame's lower face is bright."""

    def locate(self, frame: UInt8Array, box: object, **_: object) -> MeshFace:
        del box
        face = FACE.copy()
        face[[14, 87, 317], 1] += frame[54:70, 62:98].mean() / 255
        points = face * 18 + [80, 48, 0]
        return MeshFace(points.astype(np.float32), 20.0)

    def refine(self, frame: UInt8Array, points: object) -> MeshFace:
        return self.locate(frame, points)


def with_mouth(pictures: list[UInt8Array], rhythm: float) -> list[UInt8Array]:
    for i, frame in enumerate(pictures):
        frame[54:70, 62:98] = int(128 + 60 * math.sin(i * rhythm))
    return pictures


@pytest.mark.parametrize(("rhythm", "low", "high"), [(0.9, 0.99, 1.01), (2.3, -0.7, 0.7)])
def test_the_command_measures_motion_on_both_videos(
    tmp_path: Path, rhythm: float, low: float, high: float
) -> None:
    original = clip(tmp_path / "in.mkv", with_mouth(frames(), 0.9))
    output = clip(tmp_path / "out.mkv", with_mouth(frames(), rhythm))
    measured_with = tools()
    measured_with.mesh = MouthOfTheFrame()  # type: ignore[assignment]
    (face,) = evaluate_pair(original, output, plan(), measured_with)
    assert low < face.values["mouth opening correlation"] < high
    assert face.values["mesh found"] == 1
    assert set(face.values) <= set(MEANING)
    assert face.frames == (0, N - 1)


def test_a_darker_face_has_another_tone(tmp_path: Path) -> None:
    original = clip(tmp_path / "in.mkv", frames())
    made = frames()
    for frame in made:
        frame[24:72, 60:100] //= 2
    measured_with = tools()
    measured_with.mesh = MouthOfTheFrame()  # type: ignore[assignment]
    (face,) = evaluate_pair(original, clip(tmp_path / "out.mkv", made), plan(), measured_with)
    assert face.values["skin lightness difference"] < -15
    assert face.values["skin difference"] >= -face.values["skin lightness difference"] - 1e-6


def test_seams_identity_and_detections(tmp_path: Path) -> None:
    """A step at the box shows as a seam; a pulse of colour as flicker of identity."""
    values = {}
    for kind in ("flickering", "blurred", "black"):
        (tmp_path / kind).mkdir()
        original = clip(tmp_path / kind / "in.mkv", frames())
        output = clip(tmp_path / kind / "out.mkv", changed(kind))
        values[kind] = evaluate_pair(original, output, plan(), tools())[0].values
    assert values["flickering"]["identity flicker"] > 5
    assert values["blurred"]["identity flicker"] < 3
    assert values["black"]["detections kept"] == 0
    assert values["blurred"]["detections kept"] == 1
    assert values["blurred"]["face size"] == pytest.approx(48, abs=1)
    assert values["flickering"]["seam"] > 0
