from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from dp3_lightning.data.synthetic import HEAD, SyntheticClip, _Stage, synthetic_clip
from dp3_lightning.data.synthetic_layers import FaceLook

PAIRWISE = ("flow_to_previous", "flow_from_previous", "flow_to_first", "flow_from_first")


def arrays(clip: SyntheticClip) -> dict[str, Any]:
    return {field.name: getattr(clip, field.name) for field in dataclasses.fields(clip)}


def same(a: SyntheticClip, b: SyntheticClip) -> bool:
    return all(np.array_equal(x, arrays(b)[key]) for key, x in arrays(a).items())


def stage(**changes: Any) -> _Stage:
    arguments: dict[str, Any] = {
        "identity": 0, "n_frames": 6, "size": (64, 80), "motion": 1.0, "mouth": True,
        "occluder": True, "cuts": [], "seed": 0,
    }  # fmt: skip
    return _Stage(**(arguments | changes))


def test_shapes_and_types() -> None:
    clip = synthetic_clip(n_frames=4, size=(48, 64))
    assert clip.frames.shape == (4, 48, 64, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.boxes.shape == (4, 4)
    assert clip.boxes.dtype == np.float64
    assert clip.pair_valid.tolist() == [True] * 3
    for key in PAIRWISE:
        assert arrays(clip)[key].shape == (3, 2, 48, 64)
        assert arrays(clip)[key].dtype == np.float32
    for seen in (clip.visible_in_previous, clip.visible_in_first):
        assert seen.shape == (3, 48, 64)
        assert seen.dtype == np.bool_
    single = synthetic_clip(n_frames=1, size=(48, 64))
    assert single.flow_to_previous.shape == (0, 2, 48, 64)
    assert single.visible_in_first.shape == (0, 48, 64)


def test_same_arguments_same_clip() -> None:
    arguments: dict[str, Any] = {"n_frames": 3, "size": (48, 48), "occluder": True, "noise": 2.0}
    clip = synthetic_clip(1, seed=5, **arguments)
    assert same(clip, synthetic_clip(1, seed=5, **arguments))
    assert not same(clip, synthetic_clip(1, seed=6, **arguments))
    assert not same(clip, synthetic_clip(2, seed=5, **arguments))


def test_identity_changes_the_head_only() -> None:
    a, b = (synthetic_clip(k, n_frames=2, size=(64, 64)) for k in (0, 1))
    corner = np.s_[:, :5, :5]
    assert np.array_equal(a.frames[corner], b.frames[corner])
    x, y = a.boxes[0].reshape(2, 2).mean(0).astype(int)
    assert not np.array_equal(a.frames[:, y - 8 : y + 8, x], b.frames[:, y - 8 : y + 8, x])


def test_flow_leads_to_the_same_colour() -> None:
    # Analytic, not sampled: the surface point under the flow's end has the colour of its start.
    scene = stage()
    for a, b in ((3, 2), (2, 3), (5, 0)):
        flow, seen = scene._move(a, b)
        target = scene.grid + flow[0] + 1j * flow[1]
        for layer, mask in enumerate(scene._masks(a)):
            points = scene._undo(target[mask & seen], b, layer)
            if layer == HEAD:
                points = scene.look.unspeak(points, float(scene.opening[b]))
            np.testing.assert_allclose(points, scene.surfaces[a][mask & seen], atol=1e-6)


def test_mouth_inverts_to_a_ten_thousandth_of_a_pixel() -> None:
    y, x = np.mgrid[-1.1:1.1:221j, -0.9:0.9:61j]
    points = x + 1j * y
    for identity in range(4):
        look = FaceLook(identity)
        for opening in (-0.25, 0.2, 0.5):
            spoken = look.speak(points, opening)
            half_face = 80  # px at 256 px
            assert np.abs(look.unspeak(spoken, opening) - points).max() * half_face < 1e-4
            assert np.abs(spoken - points).max() * 27 > 0.5  # and it moves, at 96 px
            assert np.all(np.diff(spoken.imag, axis=0) > 0)  # without folding


def test_flow_follows_the_box() -> None:
    clip = synthetic_clip(n_frames=6, size=(96, 96), mouth=False)
    centres = clip.boxes.reshape(-1, 2, 2).mean(1)  # (T, xy)
    for i in range(5):
        x, y = (centres[i + 1] - 0.5).round().astype(int)  # box coordinates to pixel index
        expected = centres[i] - centres[i + 1]
        np.testing.assert_allclose(clip.flow_to_previous[i, :, y, x], expected, atol=0.1)
    assert np.abs(np.diff(centres, axis=0)).max() > 1


def test_boxes_hug_the_face_ellipse() -> None:
    scene = stage(occluder=False, size=(128, 128))
    for t in range(6):
        points = scene._undo(scene.grid, t, HEAD)
        face = np.hypot(points.real / scene.look.aspect, points.imag) < 1
        rows, columns = np.nonzero(face.any(1))[0], np.nonzero(face.any(0))[0]
        pixels = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        inside = (pixels - scene.box(t)) * [1, 1, -1, -1]  # from the box inwards, at pixel edges
        assert np.all(inside > -0.5)
        assert np.all(inside < 1.5)  # a round end may fall between two pixel centres


def test_visibility_knows_layers_and_borders() -> None:
    clip = synthetic_clip(n_frames=6, size=(96, 96), occluder=True)
    y, x = np.mgrid[:96, :96]
    for flow, seen in zip(clip.flow_to_previous, clip.visible_in_previous, strict=True):
        left = (x + flow[0] < -0.01) | (x + flow[0] > 95.01)
        left |= (y + flow[1] < -0.01) | (y + flow[1] > 95.01)
        assert not seen[left].any()
        assert left.any()
        assert (~seen & ~left).any()  # something came out from behind the head or the hand
        assert seen.mean() > 0.85


def test_stillness() -> None:
    clip = synthetic_clip(n_frames=3, size=(48, 48), motion=0, mouth=False)
    assert np.array_equal(clip.frames[0], clip.frames[2])
    assert np.abs(clip.flow_to_first).max() < 1e-6
    assert clip.visible_in_first.all()
    talking = synthetic_clip(n_frames=3, size=(48, 48), motion=0)
    assert np.abs(talking.flow_to_first).max() > 0.05
    assert np.abs(talking.flow_to_first[:, 0]).max() < 1e-6  # the mouth moves vertically


def test_cuts() -> None:
    clip = synthetic_clip(n_frames=6, size=(64, 64), cuts=(2, 4))
    assert clip.pair_valid.tolist() == [True, False, True, False, True]
    whole = synthetic_clip(n_frames=6, size=(64, 64))
    assert np.array_equal(clip.frames[:2], whole.frames[:2])
    for i in (1, 3):
        assert not clip.visible_in_previous[i].any()
        assert not clip.flow_to_previous[i].any()
        assert not clip.flow_from_previous[i].any()
        jump = np.abs(clip.frames[i + 1].astype(int) - clip.frames[i]).mean()
        usual = np.abs(whole.frames[i + 1].astype(int) - whole.frames[i]).mean()
        assert jump > 1.5 * usual
    assert clip.visible_in_first[0].any()
    assert not clip.visible_in_first[1:].any()
    assert not clip.flow_from_first[1:].any()


def test_hand_covers_the_face_in_the_middle_of_the_clip() -> None:
    bare = synthetic_clip(n_frames=9, size=(64, 64))
    clip = synthetic_clip(n_frames=9, size=(64, 64), occluder=True)
    x0, y0, x1, y1 = clip.boxes[4].round().astype(int)
    changed = np.any(clip.frames[4] != bare.frames[4], axis=-1)
    assert changed[y0:y1, x0:x1].mean() > 0.15
    assert np.array_equal(clip.boxes, bare.boxes)


def test_noise_touches_the_frames_only() -> None:
    clean = synthetic_clip(n_frames=2, size=(48, 48))
    noisy = synthetic_clip(n_frames=2, size=(48, 48), noise=4.0)
    assert (noisy.frames.astype(int) - clean.frames).std() == pytest.approx(4, rel=0.1)
    assert np.array_equal(noisy.flow_to_previous, clean.flow_to_previous)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_frames": 0}, "n_frames.*got 0"),
        ({"size": (8, 64)}, r"size.*\(8, 64\)"),
        ({"cuts": (0,)}, r"cuts.*\[0\]"),
        ({"cuts": (16,)}, r"1\.\.15.*\[16\]"),
        ({"motion": -1.0}, "motion"),
        ({"identity": -1}, "identity"),
        ({"noise": -1.0}, "noise"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        synthetic_clip(**arguments)
