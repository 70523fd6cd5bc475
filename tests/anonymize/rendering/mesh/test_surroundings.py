"""What surrounds a face is cut without the face."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dp3_lightning.anonymize.rendering.mesh.surroundings import context_of
from dp3_lightning.faces.expression import five_points
from tests.anonymize.rendering.mesh.mesh_fixtures import SIZE, bounds, painted, posed


def scene(box: tuple[float, ...], size: tuple[int, int], grey: int = 100) -> np.ndarray:
    """One grey, and magenta wherever a pixel touches the box."""
    frame = np.full((*size, 3), grey, np.uint8)
    x0, y0 = (max(int(np.floor(v)), 0) for v in box[:2])
    x1, y1 = (max(int(np.ceil(v)), 0) for v in box[2:])
    frame[y0:y1, x0:x1] = (255, 0, 255)
    return frame


CONTEXTS = {
    "plain": (posed(), SIZE),
    "turned": (posed(roll=40), SIZE),
    "upside down": (posed(roll=180), SIZE),
    "tiny": (posed((8, 8), 4.0), (16, 16)),
    "shrunk": (posed((500, 480), 220.0), (960, 1000)),
    "shrunk strongly": (posed((1000, 1000), 1100.0), (2100, 2000)),
    "leaves at the left": (posed((5, 110)), SIZE),
    "leaves at the corner": (posed((318, 236)), SIZE),
    "larger than the frame": (posed((160, 110), 400.0), SIZE),
    "outside": (posed((-200, 110)), SIZE),
}


@pytest.mark.parametrize("case", CONTEXTS)
def test_contexts_hold_nothing_of_the_box(case: str) -> None:
    mesh, size = CONTEXTS[case]
    box = bounds(mesh)
    levels, known = context_of(scene(box, size), box, five_points(mesh))
    assert levels.shape == (3, 128, 128)
    assert known.shape == (1, 128, 128)
    assert levels.dtype == known.dtype == torch.float32
    assert torch.isfinite(levels).all()
    assert known.min() >= 0
    assert known.max() <= 1 + 1e-5
    seen = known[0] > 0.05
    assert (levels[:, ~seen] == 0).all()
    if case in ("larger than the frame", "outside"):
        assert not seen.any()
    else:
        assert (levels[:, seen] - (100 / 127.5 - 1)).abs().max() < 0.01
        assert not seen[50:90, 50:78].any()  # the face
        assert seen.float().mean() > 0.04


def test_contexts_do_not_change_with_what_is_in_the_box() -> None:
    mesh = posed(scale=60.0, roll=20)
    box = bounds(mesh)
    frame = painted(mesh)
    other = frame.copy()
    x0, y0, x1, y1 = box
    ys, xs = slice(max(int(y0), 0), int(np.ceil(y1))), slice(int(x0), int(np.ceil(x1)))
    other[ys, xs] = np.random.default_rng(0).integers(0, 256, other[ys, xs].shape)
    first, second = (context_of(f, box, five_points(mesh)) for f in (frame, other))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert first[0].std() > 0.05  # and shows what is around


def test_only_the_part_around_a_face_is_worked_on() -> None:
    """What is far away costs nothing and changes nothing: a face in a corner of a large film."""
    mesh = posed(scale=40.0, roll=-15)
    box, five = bounds(mesh), five_points(mesh)
    frame = painted(mesh)
    large = np.full((1200, 1900, 3), 255, np.uint8)
    large[700:940, 900:1220] = frame
    shift = np.array([900.0, 700.0])
    moved = [box[0] + 900, box[1] + 700, box[2] + 900, box[3] + 700]
    small, whole = context_of(frame, box, five), context_of(large, moved, five + shift)
    both = (small[1] > 0.99) & (whole[1] > 0.99)
    assert both.float().mean() > 0.2
    assert ((small[0] - whole[0]).abs() * both).max() < 0.02
