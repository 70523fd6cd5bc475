from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from dp3_lightning.anonymize.planning.plan import Plan, PlannedTrack
from dp3_lightning.anonymize.rendering.mesh import stage
from dp3_lightning.anonymize.rendering.mesh.people import DrawnFace, Person
from dp3_lightning.anonymize.rendering.mesh.renderer import MeshRenderer
from dp3_lightning.anonymize.rendering.mesh.role import Role
from dp3_lightning.anonymize.rendering.mesh.stage import TOO_ALIKE, prepare_mesh_renderer
from dp3_lightning.anonymize.rendering.renderer import RenderOptions
from dp3_lightning.faces.mesh import MeshFace
from tests.anonymize.rendering.mesh.mesh_fixtures import (
    REFERENCE,
    SIZE,
    FlatPainter,
    bounds,
    magenta_left,
    painted,
    posed,
)

LEFT, RIGHT = posed((80, 110), 30.0), posed((240, 110), 30.0)
N = 6
FRAME = np.minimum(painted(LEFT), painted(RIGHT))
for _mesh in (LEFT, RIGHT):
    _face = painted(_mesh)[..., 1] == 0
    FRAME[_face] = (255, 0, 255)


class Meshes:
    """Knows the two faces of the frame."""

    asked: ClassVar[list[int]] = []

    def locate(
        self, frame: np.ndarray, box: Sequence[float], roll: float = 0.0, **_: object
    ) -> MeshFace:
        middle = (box[0] + box[2]) / 2
        return MeshFace((LEFT if middle < 160 else RIGHT).astype(np.float32), 20.0)

    def refine(self, frame: np.ndarray, previous_points: np.ndarray) -> MeshFace:
        return MeshFace(previous_points.astype(np.float32), 20.0)


class Painter(FlatPainter):
    """Chooses people who know the latent that they were chosen by."""

    people: ClassVar[list[float]] = []  # of all draws, in order
    flaws: ClassVar[list[bool]] = []  # glasses or a fringe, of the first draws

    def __init__(self, generator: object, mesh: object, size: int, sketcher: object = None) -> None:
        super().__init__()
        self.size = size

    def choose(
        self, contexts: Any, motion: Any, draw: np.ndarray, *rest: Any, **options: Any
    ) -> Person:
        person = super().choose()
        person.latent = draw
        if float(draw[0]) not in Painter.people:
            Painter.people.append(float(draw[0]))
        number = Painter.people.index(float(draw[0]))
        person.flawed = number < len(Painter.flaws) and Painter.flaws[number]
        return person


class Judge:
    """Refuses the first few people that it is asked about."""

    refuse: ClassVar[int] = 0

    def __init__(self, casting: object, embedder: object) -> None:
        self.redraws: dict[str, int] = {}
        self.refused = 0

    def is_unlike(
        self, role: Role, boxes: Sequence[Any], frame_at: Callable[[int], np.ndarray]
    ) -> bool:
        self.refused += 1
        return self.refused > Judge.refuse

    def keep(self, person: str, refused: int) -> None:
        self.redraws[person] = refused


@pytest.fixture(autouse=True)
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "FaceMesh", Meshes)
    monkeypatch.setattr(stage, "PersonPainter", Painter)
    monkeypatch.setattr(stage, "Likeness", Judge)
    monkeypatch.setattr(Painter, "people", [])
    monkeypatch.setattr(Painter, "flaws", [])
    monkeypatch.setattr(Judge, "refuse", 0)


def track(mesh: np.ndarray, person: str, start: int = 0, n: int = N) -> PlannedTrack:
    return PlannedTrack(person, start, [bounds(mesh)] * n, ["detected"] * n)


def style(person: str) -> torch.Tensor:
    seed = zlib.crc32(person.encode())
    return torch.randn(1, 512, generator=torch.Generator().manual_seed(seed))


def prepared(
    *tracks: PlannedTrack,
    styles: Mapping[str, torch.Tensor] | None = None,
    frame_at: Callable[[int], np.ndarray] = lambda _: FRAME,
    **options: Any,
) -> MeshRenderer:
    plan = Plan("clip.mp4", "", max(t.stop for t in tracks), SIZE, list(tracks))
    generator: Any = SimpleNamespace(model=SimpleNamespace(reference=REFERENCE), strength=0.9)
    known = styles or {t.person: style(t.person) for t in tracks}
    return prepare_mesh_renderer(plan, generator, known, RenderOptions(), frame_at, **options)


def test_everybody_gets_the_person_of_the_own_style() -> None:
    renderer = prepared(track(LEFT, "person-1"), track(RIGHT, "person-2"))
    assert sorted(renderer.roles) == [0, 1]
    assert not renderer.problems
    assert not renderer.refusals
    assert renderer.redraws == {"person-1": 0, "person-2": 0}
    for number, person in enumerate(("person-1", "person-2")):
        np.testing.assert_allclose(renderer.roles[number].person.latent, style(person)[0])
    result = renderer.render([FRAME] * N, 0)
    assert not result.failures
    assert [magenta_left(frame) for frame in result.frames] == [0] * N


def test_four_refusals_leave_the_face_blurred_and_tell_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Judge, "refuse", 4)
    renderer = prepared(track(LEFT, "person-1", 2), track(RIGHT, "person-2", 2))
    assert list(renderer.roles) == [1]
    assert renderer.redraws == {"person-1": 4, "person-2": 0}
    assert renderer.refusals == {0: TOO_ALIKE}
    assert len(Painter.people) == 4 + 1  # four different ones, and the other person's
    result = renderer.render([FRAME] * N, 2)
    assert {f.reason for f in result.failures} == {TOO_ALIKE}  # in every frame, not only the first
    assert {f.person for f in result.failures} == {"person-1"}


def test_who_is_refused_is_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Judge, "refuse", 3)
    renderer = prepared(track(LEFT, "person-1"))
    assert renderer.redraws == {"person-1": 3}
    assert not renderer.problems
    assert not renderer.refusals
    assert renderer.roles[0].person.latent[0] == Painter.people[3]


def test_people_with_glasses_are_drawn_anew_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Painter, "flaws", [True, True])
    renderer = prepared(track(LEFT, "person-1"))
    assert len(Painter.people) == 3
    assert renderer.roles[0].person.flawed is False
    assert renderer.redraws == {"person-1": 0}  # glasses are no likeness


def test_people_with_glasses_are_drawn_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Painter, "flaws", [True] * 99)
    renderer = prepared(track(LEFT, "person-1"))
    assert len(Painter.people) == 1 + 5
    assert renderer.roles[0].person.flawed
    assert not renderer.problems
    assert not renderer.refusals


def test_glasses_use_no_draw_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Painter, "flaws", [True] * 99)
    monkeypatch.setattr(Judge, "refuse", 3)
    renderer = prepared(track(LEFT, "person-1"))
    assert sorted(renderer.roles) == [0]
    assert renderer.redraws == {"person-1": 3}


def test_all_tracks_of_a_person_get_one_drawn_person() -> None:
    renderer = prepared(
        track(LEFT, "person-1", 0), track(RIGHT, "person-1", 10, 9), track(RIGHT, "person-2")
    )
    first, second, other = (renderer.roles[n].person for n in range(3))
    assert first is second
    assert other is not first
    assert renderer.roles[1].start == 10


def test_what_fails_while_somebody_is_chosen_is_told_and_others_are_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    choose = Painter.choose

    def failing(self: Painter, contexts: Any, motion: Any, draw: np.ndarray, *rest: Any) -> Person:
        if draw[0] == style("person-1")[0, 0]:
            raise RuntimeError("out of memory")
        return choose(self, contexts, motion, draw, *rest)

    monkeypatch.setattr(Painter, "choose", failing)
    renderer = prepared(track(LEFT, "person-1"), track(RIGHT, "person-2"))
    assert list(renderer.roles) == [1]
    assert list(renderer.refusals) == [0]
    assert "RuntimeError: out of memory" in renderer.refusals[0]
    result = renderer.render([FRAME] * N, 0)
    assert {f.reason for f in result.failures} == {renderer.refusals[0]}
    assert {f.person for f in result.failures} == {"person-1"}
    assert {f.frame for f in result.failures} == set(range(N))
    middle = result.frames[0][100:120, 230:250].reshape(-1, 3).mean(0)
    assert middle[1] > 100  # skin, no magenta


def test_a_mesh_that_fails_is_told_and_the_face_blurred(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no runtime")

    monkeypatch.setattr(Meshes, "locate", broken)
    renderer = prepared(track(LEFT, "person-1"))
    assert not renderer.roles
    assert len(renderer.problems) == N
    assert all("no runtime" in p.reason for p in renderer.problems)
    result = renderer.render([FRAME] * N, 0)
    assert {f.frame for f in result.failures} == set(range(N))
    assert (result.frames[0][100:120, 70:90] != FRAME[100:120, 70:90]).any()


def test_the_same_styles_draw_the_same_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Judge, "refuse", 2)
    monkeypatch.setattr(Painter, "flaws", [False, True])
    found = []
    for _ in range(2):
        Painter.people.clear()
        torch.manual_seed(len(found))  # global state decides nothing
        renderer = prepared(track(LEFT, "person-1"))
        found.append((renderer.roles[0].person.latent, list(Painter.people), renderer.redraws))
    assert found[0][1:] == found[1][1:]
    assert len(set(found[0][1])) == len(found[0][1]) >= 3
    np.testing.assert_array_equal(found[0][0], found[1][0])
    Painter.people.clear()
    other = prepared(track(LEFT, "person-1"), styles={"person-1": style("somebody else")})
    assert not np.allclose(other.roles[0].person.latent, found[0][0])


def test_each_frame_is_looked_at_once_in_order_and_told() -> None:
    looked: list[int] = []
    told: list[int] = []
    plan_tracks = [track(LEFT, "person-1", 3), track(RIGHT, "person-2", 12)]
    plan_tracks[1].origins[0] = "padded"
    plan = Plan("clip.mp4", "", 18, SIZE, plan_tracks, lost=[4], undetected=[5])
    generator: Any = SimpleNamespace(model=SimpleNamespace(reference=REFERENCE), strength=0.9)
    styles = {t.person: style(t.person) for t in plan_tracks}

    def frame_at(index: int) -> np.ndarray:
        looked.append(index)
        return FRAME

    prepare_mesh_renderer(plan, generator, styles, RenderOptions(), frame_at, told.append)
    wanted = [3, 6, 7, 8, 13, 14, 15, 16, 17]
    assert looked[: len(wanted)] == wanted
    assert told == [index + 1 for index in wanted]
    assert 12 not in looked  # nobody was seen there


def test_lost_frames_are_not_looked_at() -> None:
    looked: list[int] = []
    plan = Plan("clip.mp4", "", N, SIZE, [track(LEFT, "person-1")], lost=[2, 3])
    generator: Any = SimpleNamespace(model=SimpleNamespace(reference=REFERENCE), strength=0.9)

    def frame_at(index: int) -> np.ndarray:
        looked.append(index)
        return FRAME

    prepare_mesh_renderer(
        plan, generator, {"person-1": style("person-1")}, RenderOptions(), frame_at
    )
    assert not {2, 3} & set(looked)


def test_kept_and_blurred_faces_are_not_looked_at() -> None:
    kept = track(LEFT, "person-1")
    kept.action, kept.reason = "keep", "the speaker agreed"

    def never(index: int) -> np.ndarray:
        raise AssertionError(f"frame {index} was asked for")

    assert not prepared(kept, frame_at=never).roles


class Slow(Painter):
    def express(self, person: Person, motion: np.ndarray, corrections: int = 1) -> DrawnFace:
        raise RuntimeError("too late")


def test_what_fails_while_colours_are_fitted_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "PersonPainter", Slow)
    renderer = prepared(track(LEFT, "person-1"))
    assert not renderer.roles
    assert "too late" in renderer.refusals[0]


def test_faces_that_are_told_to_be_blurred_are_blurred(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no colours")

    monkeypatch.setattr("dp3_lightning.anonymize.rendering.mesh.measure.lab_of", broken)
    renderer = prepared(track(LEFT, "person-1"))
    result = renderer.render([FRAME] * N, 0)
    assert any("no colours" in f.reason for f in result.failures)
    assert not result.drawn
    assert not result.carried
