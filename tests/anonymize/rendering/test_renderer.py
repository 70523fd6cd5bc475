from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from dp3_lightning.anonymize.planning.plan import Plan, PlannedTrack
from dp3_lightning.anonymize.rendering.renderer import FaceRenderer, RenderOptions
from dp3_lightning.generators import GeneratorAdapter, SolidGenerator
from dp3_lightning.optical_flow import FlowEstimator
from dp3_lightning.structures import UInt8Array
from tests.anonymize.anonymize_fixtures import (
    HEIGHT,
    WIDTH,
    Box,
    Faulty,
    Styled,
    draw_frames,
    painted_pixels,
    plan_for,
    square,
    tiny32,
)

N = 9
SCENES: dict[str, dict[str, list[Box]]] = {
    "sub-pixel motion": {"person-1": [square(30 + 0.37 * i, 20.2 + 0.61 * i) for i in range(N)]},
    "at the border": {
        "person-1": [square(-7 + 1.3 * i, -5 + 0.7 * i) for i in range(N)],
        "person-2": [square(WIDTH - 13 + 0.4 * i, HEIGHT - 12, 24) for i in range(N)],
    },
    "crossing": {
        "person-1": [square(10 + 6.1 * i, 20) for i in range(N)],
        "person-2": [square(64 - 5.2 * i, 24, 25) for i in range(N)],
    },
    "fast": {"person-1": [square(4 + 8 * i, 30 - 2 * i) for i in range(N)]},
}


def frames_of(faces: dict[str, list[Box]], swap: bool = False) -> list[UInt8Array]:
    per_frame = [[boxes[i] for boxes in faces.values()] for i in range(len(faces["person-1"]))]
    return draw_frames(per_frame, swap=swap)


def renderer_of(
    plan: Plan,
    generator: GeneratorAdapter | None,
    estimator: FlowEstimator | None = None,
    **options: object,
) -> FaceRenderer:
    styles: dict[str, Tensor] = {}
    if generator is not None and generator.z_dim:
        drawn = torch.Generator().manual_seed(4)
        for person in sorted({t.person for t in plan.tracks}):
            styles[person] = torch.randn(1, generator.z_dim, generator=drawn)
    return FaceRenderer(plan, generator, styles, RenderOptions(**options), estimator)  # type: ignore[arg-type]


def near(boxes: Sequence[Box], margin: float) -> np.ndarray:
    """Pixels within some distance of any box."""
    ys, xs = np.mgrid[0:HEIGHT, 0:WIDTH]
    found = np.zeros((HEIGHT, WIDTH), bool)
    for x0, y0, x1, y1 in boxes:
        found |= (
            (xs > x0 - margin - 1)
            & (xs < x1 + margin)
            & (ys > y0 - margin - 1)
            & (ys < y1 + margin)
        )
    return found


@pytest.mark.parametrize(
    "make", [lambda: SolidGenerator((32, 32)), tiny32], ids=["solid", "tiny32"]
)
@pytest.mark.parametrize("feather", [0.0, 0.08, 0.15])
@pytest.mark.parametrize("propagation", ["off", "fixed:4", "adaptive"])
def test_no_pixel_of_a_face_survives_and_nothing_else_changes(
    propagation: str, feather: float, make: type[GeneratorAdapter]
) -> None:
    generator = make()
    for scene, faces in SCENES.items():
        frames = frames_of(faces)
        plan = plan_for(faces, N)
        options = {"propagation": propagation, "feather": feather}
        result = renderer_of(plan, generator, **options).render(frames, 0)
        assert result.failures == []
        assert result.n_drawn + result.n_carried == N * len(faces)
        assert (result.n_carried > 0) == (propagation != "off") or propagation == "adaptive"
        for i, (real, drawn) in enumerate(zip(frames, result.frames, strict=True)):
            boxes = [boxes[i] for boxes in faces.values()]
            assert painted_pixels(real).sum() > 150, scene
            assert not painted_pixels(drawn).any(), (scene, i)
            # Not even the exact level of the real face by chance.
            inside = near(boxes, 0.0)
            same = (drawn == real).all(axis=2) & inside
            assert not same.any(), (scene, i)
            far = ~near(boxes, 0.15 * 26 + 2)
            assert np.array_equal(drawn[far], real[far]), (scene, i)


@pytest.mark.parametrize("feather", [0.0, 0.08, 0.15])
def test_drawn_faces_do_not_depend_on_the_pixels_of_the_real_ones(feather: float) -> None:
    """Other faces at the same places: the same pictures. Black, as a blur hands on the means."""
    generator = tiny32()
    options = {"propagation": "off", "feather": feather, "fallback": "solid"}
    for scene, faces in SCENES.items():
        plan = plan_for(faces, N)
        first, second = frames_of(faces), []
        rng = np.random.default_rng(0)
        for frame in first:
            noise = rng.integers(0, 256, frame.shape, dtype=np.uint8)
            second.append(np.where(painted_pixels(frame)[..., None], noise, frame))
        results = [renderer_of(plan, generator, **options).render(f, 0) for f in (first, second)]
        assert results[0].n_drawn == N * len(faces)
        for a, b in zip(results[0].frames, results[1].frames, strict=True):
            assert np.array_equal(a, b), scene


@pytest.mark.parametrize("feather", [0.0, 0.15])
def test_the_drawn_rim_does_not_depend_on_the_blurred_face(feather: float) -> None:
    """Faces of other means, so that their blurs differ: the same pictures within one level."""
    for scene in ("sub-pixel motion", "at the border", "fast"):
        faces = SCENES[scene]
        plan, first, second = plan_for(faces, N), frames_of(faces), []
        for frame in first:
            bright = frame.copy()
            bright[painted_pixels(frame)] = (250, 240, 230)
            second.append(bright)
        results = []
        for frames in (first, second):
            options = {"feather": feather, "propagation": "off", "fallback": "blur"}
            results.append(renderer_of(plan, tiny32(), **options).render(frames, 0).frames)
        assert not np.array_equal(first[0], second[0])
        for i, (a, b) in enumerate(zip(*results, strict=True)):
            assert np.abs(a.astype(int) - b).max() <= 1, (scene, i)


@pytest.mark.parametrize("order", [("person-1", "person-2"), ("person-2", "person-1")])
def test_the_larger_face_is_laid_over_the_smaller(order: tuple[str, str]) -> None:
    """A face in front is usually the larger."""
    boxes = {"person-1": [square(20.0, 10.0, 40.0)], "person-2": [square(52.0, 20.0, 16.0)]}
    styles = {"person-1": torch.tensor([[9.0, -9, -9]]), "person-2": torch.tensor([[-9.0, 9, -9]])}
    plan = plan_for({person: boxes[person] for person in order}, 1)
    options = RenderOptions(propagation="off", feather=0.0, color_match=False)
    frame = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    drawn = FaceRenderer(plan, Styled(), styles, options).render([frame], 0).frames[0]
    assert drawn[28, 56].argmax() == 0  # both boxes
    assert drawn[28, 64].argmax() == 1  # the smaller alone


def test_color_match_is_steady_where_the_surroundings_flicker() -> None:
    """Corrections are averaged over frames: a lamp that flickers does not make a face pulse."""
    boxes = [square(40.0, 20.0)] * N
    plan = plan_for({"person-1": boxes}, N)
    frames = [np.full((HEIGHT, WIDTH, 3), 127 + (10 if i % 2 else -10), np.uint8) for i in range(N)]
    generator = SolidGenerator((32, 32), value=0.0)
    drawn = renderer_of(plan, generator, propagation="off").render(frames, 0).frames
    inside = np.array([frame[26:34, 46:54].mean() for frame in drawn])
    assert np.abs(np.diff(inside)).max() < 2  # the surroundings change by 20


@pytest.mark.parametrize("treatment", ["blur", "pixelate", "solid"])
def test_treatments_without_a_network_hide_every_face(treatment: str) -> None:
    for faces in SCENES.values():
        frames = frames_of(faces)
        result = renderer_of(plan_for(faces, N), None, fallback=treatment).render(frames, 0)
        assert result.n_drawn == 0
        assert result.failures == []
        for i, drawn in enumerate(result.frames):
            assert not painted_pixels(drawn).any()
            far = ~near([boxes[i] for boxes in faces.values()], 0.12 * 25 + 2)
            assert np.array_equal(drawn[far], frames[i][far])


def test_input_frames_stay_as_they_are() -> None:
    faces = SCENES["crossing"]
    frames = frames_of(faces)
    before = [f.copy() for f in frames]
    renderer_of(plan_for(faces, N), SolidGenerator((32, 32))).render(frames, 0)
    assert all(np.array_equal(a, b) for a, b in zip(frames, before, strict=True))


@pytest.mark.parametrize("how", ["raise", "nan", "inf", "-inf"])
def test_a_face_that_fails_is_blurred_and_listed_and_the_others_are_drawn(how: str) -> None:
    faces = SCENES["sub-pixel motion"]
    frames, plan = frames_of(faces), plan_for(faces, N)
    generator = Faulty(lambda call, face: call == 4, how)
    options = {"propagation": "off", "batch_size": 1, "color_match": False}
    result = renderer_of(plan, generator, **options).render(frames, 0)
    if how == "raise":  # asked once more for that face alone
        generator = Faulty(lambda call, face: call in (4, 5), how)
        result = renderer_of(plan, generator, **options).render(frames, 0)
    (failure,) = result.failures
    assert (failure.frame, failure.person) == (4, "person-1")
    assert ("broken" if how == "raise" else "not numbers") in failure.reason
    assert result.n_drawn == N - 1
    blurred = renderer_of(plan, None).render(frames, 0).frames[4]
    box = near([faces["person-1"][4]], -3)
    drawn_color = round((0.1 + 1) * 127.5)
    for i, frame in enumerate(result.frames):
        assert not painted_pixels(frame).any()
        flat = np.abs(frame[near([faces["person-1"][i]], -3)].astype(int) - drawn_color).max() <= 1
        assert flat == (i != 4)
    assert np.abs(result.frames[4][box].astype(int) - blurred[box]).mean() < 12


def test_one_bad_face_in_a_batch_spoils_no_other() -> None:
    faces = SCENES["crossing"]
    plan = plan_for(faces, N)

    class RaisesForOne(Styled):
        def draw(self, condition: Tensor, keep_mask: Tensor, w: Tensor | None, conditions):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            assert w is not None
            if (w[:, 0] == 9).any():
                raise RuntimeError("not this one")
            return super().draw(condition, keep_mask, w, conditions)

    styles = {"person-1": torch.tensor([[9.0, 0, 0]]), "person-2": torch.tensor([[0.5, 0, 0]])}
    options = RenderOptions(propagation="off", batch_size=8)
    result = FaceRenderer(plan, RaisesForOne(), styles, options).render(frames_of(faces), 0)
    assert {(f.person, f.frame) for f in result.failures} == {("person-1", i) for i in range(N)}
    assert result.n_drawn == N
    assert not any(painted_pixels(f).any() for f in result.frames)


@pytest.mark.parametrize("propagation", ["off", "fixed:4", "adaptive"])
@pytest.mark.parametrize("how", ["raise", "nan"])
def test_a_generator_that_always_fails_leaves_the_blur(propagation: str, how: str) -> None:
    faces = SCENES["crossing"]
    frames, plan = frames_of(faces), plan_for(faces, N)
    generator = Faulty(lambda call, face: True, how)
    result = renderer_of(plan, generator, propagation=propagation).render(frames, 0)
    assert (result.n_drawn, result.n_carried) == (0, 0)
    listed = {(f.frame, f.person) for f in result.failures}
    assert listed == {(i, person) for i in range(N) for person in faces}
    for frame, real in zip(result.frames, frames, strict=True):
        assert not painted_pixels(frame).any()
        assert not np.array_equal(frame, real)


@pytest.mark.parametrize("how", ["raise", "nan"])
def test_a_failed_key_frame_is_blurred_and_its_neighbours_carry_from_the_other(how: str) -> None:
    faces = {"person-1": [square(30 + 0.5 * i) for i in range(N)]}
    frames = frames_of(faces)
    # Keys 0, 4, 8 in one batch; with `raise`, call 0 fails, then they come one by one.
    bad = {"nan": lambda call, face: face == 1, "raise": lambda call, face: call in (0, 2)}[how]
    options = {"propagation": "fixed:4", "color_match": False, "batch_size": 3}
    result = renderer_of(plan_for(faces, N), Faulty(bad, how), **options).render(frames, 0)
    assert [f.frame for f in result.failures] == [4]
    assert (result.n_drawn, result.n_carried) == (2, 6)
    for i, frame in enumerate(result.frames):
        assert not painted_pixels(frame).any()
        inside = frame[near([faces["person-1"][i]], -3)].astype(int)
        assert (np.abs(inside - 140).max() <= 1) == (i != 4)


class BrokenFlow(FlowEstimator):
    name = "broken"

    def _estimate(self, source: Tensor, target: Tensor) -> Tensor:
        raise RuntimeError("no flow today")


@pytest.mark.parametrize("propagation", ["fixed:4", "adaptive"])
def test_without_flow_every_frame_is_drawn_and_it_is_on_record(propagation: str) -> None:
    faces = SCENES["crossing"]
    frames = frames_of(faces)
    generator = SolidGenerator((32, 32))
    plan = plan_for(faces, N)
    result = renderer_of(plan, generator, BrokenFlow(), propagation=propagation).render(frames, 0)
    assert (result.n_drawn, result.n_carried) == (2 * N, 0)
    assert sorted({f.person for f in result.failures}) == ["person-1", "person-2"]
    assert all("no flow today" in f.reason for f in result.failures)
    off = renderer_of(plan, generator, propagation="off").render(frames, 0)
    assert all(np.array_equal(a, b) for a, b in zip(result.frames, off.frames, strict=True))


def test_a_track_to_keep_keeps_its_pixels_and_others_do_not() -> None:
    faces = {
        "person-1": [square(5 + 0.3 * i) for i in range(N)],
        "person-2": [square(60 + 0.3 * i) for i in range(N)],
    }
    plan = plan_for(faces, N)
    plan.tracks[0].action, plan.tracks[0].reason = "keep", "me"
    frames = frames_of(faces)
    result = renderer_of(plan, SolidGenerator((32, 32))).render(frames, 0)
    for i, (frame, real) in enumerate(zip(result.frames, frames, strict=True)):
        kept = near([faces["person-1"][i]], 0)
        assert np.array_equal(frame[kept], real[kept])
        assert not painted_pixels(frame)[near([faces["person-2"][i]], 0)].any()


@pytest.mark.parametrize("padded", ["blur", "generate"])
def test_padded_frames_are_blurred_unless_asked_otherwise(padded: str) -> None:
    faces = {"person-1": [square(30.0)] * N}
    plan = plan_for(faces, N)
    plan.tracks[0].origins = ["padded"] * 3 + ["detected"] * 4 + ["padded"] * 2
    frames = frames_of(faces)
    options = {"padded": padded, "color_match": False, "propagation": "off"}
    result = renderer_of(plan, SolidGenerator((32, 32)), **options).render(frames, 0)
    black = [bool((f[near([square(30.0)], -3)] <= 1).all()) for f in result.frames]
    expected = [True] * N if padded == "generate" else [False] * 3 + [True] * 4 + [False] * 2
    assert black == expected
    assert not any(painted_pixels(f).any() for f in result.frames)
    assert RenderOptions().padded == "blur"


def test_a_frame_without_detection_is_blurred_as_a_whole() -> None:
    faces = SCENES["crossing"]
    plan = plan_for(faces, N, undetected=[3])
    plan.tracks[0].action, plan.tracks[0].reason = "keep", "even so"
    frames = frames_of(faces)
    hidden = [square(40, 2, 12)]  # a face nobody planned
    for frame in frames:
        frame[2:14, 40:52] = (255, 0, 255)
        frame[2:14:2, 40:52:2] = (0, 255, 0)
    result = renderer_of(plan, SolidGenerator((32, 32))).render(frames, 0)
    assert painted_pixels(result.frames[2])[near(hidden, 0)].any()  # the others show it
    assert not painted_pixels(result.frames[3]).any()
    assert not np.array_equal(result.frames[3][50:, :20], frames[3][50:, :20])
    assert np.array_equal(result.frames[2][50:, :20], frames[2][50:, :20])


@pytest.mark.parametrize("propagation", ["off", "fixed:4", "adaptive"])
def test_rendering_is_a_pure_function_of_its_frames(propagation: str) -> None:
    faces = SCENES["crossing"]
    frames, plan = frames_of(faces), plan_for(faces, N)
    first = renderer_of(plan, tiny32(), propagation=propagation)
    whole = first.render(frames, 0).frames
    first.render(frames[4:], 4)
    again = first.render(frames, 0).frames
    other = renderer_of(plan, tiny32(), propagation=propagation)
    other.render(frames[5:7], 5)
    elsewhere = other.render(frames, 0).frames
    for a, b, c in zip(whole, again, elsewhere, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(a, c)


@pytest.mark.parametrize(("propagation", "length"), [("off", 3), ("off", 5), ("fixed:4", 4)])
def test_pieces_of_any_length_join_without_a_seam(propagation: str, length: int) -> None:
    """Pieces share their last frame with the next; keys of `fixed:4` fall on those frames."""
    faces = SCENES["sub-pixel motion"]
    frames, plan = frames_of(faces), plan_for(faces, N)
    options = {"propagation": propagation, "color_match": False, "batch_size": 1}
    renderer = renderer_of(plan, tiny32(), **options)
    whole = renderer.render(frames, 0).frames
    for start in range(0, N - 1, length):
        stop = min(start + length + 1, N)
        piece = renderer.render(frames[start:stop], start).frames
        for i, frame in enumerate(piece):
            assert np.array_equal(frame, whole[start + i]), (start, i)


def test_the_frame_two_pieces_share_is_the_same_in_both() -> None:
    faces = SCENES["crossing"]
    frames, plan = frames_of(faces), plan_for(faces, N)
    renderer = renderer_of(plan, tiny32(), propagation="adaptive", color_match=False, batch_size=1)
    left, right = renderer.render(frames[:5], 0).frames, renderer.render(frames[4:], 4).frames
    assert np.array_equal(left[4], right[0])


def test_color_match_brings_the_drawn_face_closer_to_what_surrounds_it() -> None:
    boxes = [square(40.0, 20.0)] * 3
    frames = [np.full((HEIGHT, WIDTH, 3), (144, 116, 138), np.uint8) for _ in range(3)]
    for frame in frames:
        frame[20:40, 40:60] = (255, 0, 255)
        frame[20:40:2, 40:60] = (0, 255, 0)
    plan = plan_for({"person-1": boxes}, 3)
    generator = SolidGenerator((32, 32), value=0.0)  # level 127.5
    distance = {}
    for match in (False, True):
        options = {"color_match": match, "feather": 0.15, "propagation": "off"}
        drawn = renderer_of(plan, generator, **options).render(frames, 0).frames[1]
        inside = drawn[22:38, 42:58].astype(float).mean(axis=(0, 1))
        distance[match] = np.abs(inside - (144, 116, 138)).max()
        assert not painted_pixels(drawn).any()
    assert distance[False] > 15
    assert distance[True] < 3


def test_a_color_match_is_limited_and_made_of_what_surrounds_the_face_only() -> None:
    """Another face color, same surroundings: the same picture."""
    plan = plan_for({"person-1": [square(40.0, 20.0)]}, 1)
    results = []
    for level in (0, 255):
        frame = np.full((HEIGHT, WIDTH, 3), 250, np.uint8)
        frame[20:40, 40:60] = level
        options = {"feather": 0.15, "propagation": "off"}
        generator = SolidGenerator((32, 32), value=-1.0)
        results.append(renderer_of(plan, generator, **options).render([frame], 0).frames[0])
    assert np.array_equal(results[0], results[1])
    assert results[0][22:38, 42:58].max() <= 40  # 0.3 of [-1, 1]


def test_a_track_may_begin_and_end_within_the_frames() -> None:
    boxes = [square(30.0 + i) for i in range(3)]
    track = PlannedTrack("person-1", 3, list(boxes), ["detected"] * 3)
    plan = Plan("clip.mp4", "", N, (HEIGHT, WIDTH), [track])
    frames = draw_frames([[boxes[i - 3]] if 3 <= i < 6 else [] for i in range(N)])
    result = renderer_of(plan, SolidGenerator((32, 32)), propagation="off").render(frames[2:7], 2)
    assert result.n_drawn == 3
    for i, frame in enumerate(result.frames, start=2):
        assert np.array_equal(frame, frames[i]) == (i in (2, 6))
        assert not painted_pixels(frame).any()


@pytest.mark.parametrize("treatment", ["blur", "pixelate"])
def test_a_face_half_out_of_the_frame_is_not_hidden_more_finely_than_a_whole_one(
    treatment: str,
) -> None:
    """A face of 40 pixels has blocks of 8; that 8 columns of it are left is no reason for less."""
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    box = (WIDTH - 8.0, 12.0, WIDTH + 32.0, 52.0)
    plan = plan_for({"person-1": [box]}, 1)
    (hidden,) = renderer_of(plan, None, fallback=treatment).render([frame], 0).frames
    columns = hidden[14:50, WIDTH - 8 :].astype(float)
    jumps = np.abs(np.diff(columns, axis=1)).mean()
    whole = (30.0, 12.0, 70.0, 52.0)
    plan = plan_for({"person-1": [whole]}, 1)
    (other,) = renderer_of(plan, None, fallback=treatment).render([frame], 0).frames
    inner = other[14:50, 32:68].astype(float)
    assert jumps < 2 * np.abs(np.diff(inner, axis=1)).mean()


@pytest.mark.parametrize("treatment", ["blur", "pixelate"])
@pytest.mark.parametrize("box", [(40.0, 10.0, 45.0, 50.0), (40.0, 30.0, 48.0, 38.0)])
def test_nothing_of_a_narrow_or_tiny_face_stays_as_it_is(box: Box, treatment: str) -> None:
    """What a detector that cuts its boxes at the border gives for a face that is leaving."""
    (frame,) = draw_frames([[box]])
    plan = plan_for({"person-1": [box]}, 1)
    (hidden,) = renderer_of(plan, None, fallback=treatment).render([frame], 0).frames
    assert not painted_pixels(hidden).any()
