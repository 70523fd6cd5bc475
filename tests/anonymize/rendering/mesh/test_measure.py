"""What is measured around a face: skin and colours of pixels that stay visible."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from dp3_lightning.anonymize.rendering.mesh.measure import measure_motion
from dp3_lightning.anonymize.rendering.mesh.motion import RawMotion, track_motion
from dp3_lightning.faces.appearance import fill_outline, scaled_outline
from tests.anonymize.rendering.mesh.mesh_fixtures import (
    REFERENCE,
    SKIN,
    one_track_plan,
    painted,
    posed,
)


def measured(frames: list[np.ndarray], mesh: np.ndarray) -> RawMotion:
    """What is measured of a face that a network finds exactly."""
    face = SimpleNamespace(points=mesh.astype(np.float32), presence=20.0)
    finder: Any = SimpleNamespace(locate=lambda *a, **k: face, refine=lambda *a, **k: face)
    plan = one_track_plan([mesh] * len(frames), frames[0].shape[:2])
    return measure_motion(enumerate(frames), plan, finder).found[0]


def grey_film(mesh: np.ndarray, size: tuple[int, int], face: tuple[int, int, int]) -> np.ndarray:
    frame = painted(mesh, size, (128, 128, 128))
    inside = fill_outline(size, scaled_outline(mesh, 1.05)) > 0
    frame[inside] = face
    return frame


@pytest.mark.parametrize("scale", [30.0, 110.0])
def test_vivid_faces_do_not_make_a_grey_film_colourful(scale: float) -> None:
    size = (400, 480)
    mesh = posed((240, 180), scale=scale)
    vivid, dull = (
        measured([grey_film(mesh, size, color)] * 5, mesh)
        for color in ((255, 0, 255), (128, 128, 128))
    )
    np.testing.assert_array_equal(vivid.chroma, dull.chroma)
    assert vivid.chroma.max() < 5
    motion = track_motion(vivid, REFERENCE)
    assert motion is not None
    assert motion.grey


def test_what_is_inside_the_face_is_not_measured() -> None:
    mesh = posed((160, 110), scale=50.0)
    rng = np.random.default_rng(0)
    frame = np.clip(np.array(SKIN) + rng.integers(-12, 13, (240, 320, 1)), 0, 255).astype(np.uint8)
    inside = fill_outline(frame.shape[:2], scaled_outline(mesh, 1.05)) > 0
    results = []
    for values in (0, 255, rng.integers(0, 256, (int(inside.sum()), 3))):
        other = frame.copy()
        other[inside] = values
        results.append(measured([other], mesh))
    for result in results[1:]:
        np.testing.assert_array_equal(result.skin, results[0].skin)
        np.testing.assert_array_equal(result.coverage, results[0].coverage)
        np.testing.assert_array_equal(result.chroma, results[0].chroma)
    skin = cv2.cvtColor(np.array([[SKIN]], np.float32) / 255, cv2.COLOR_RGB2LAB)[0, 0]
    assert np.abs(results[0].skin[0] - skin).max() < 2
    assert results[0].coverage[0] > 0.9


def test_colours_beside_the_face_make_a_film_colourful() -> None:
    mesh = posed((160, 110), scale=40.0)
    frame = grey_film(mesh, (240, 320), (128, 128, 128))
    frame[:, 198:] = (200, 60, 40)  # a curtain
    raw = measured([frame] * 5, mesh)
    assert raw.chroma.min() > 40
    motion = track_motion(raw, REFERENCE)
    assert motion is not None
    assert not motion.grey
