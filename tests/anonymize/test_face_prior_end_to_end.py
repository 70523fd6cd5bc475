"""A real video through the face prior: what comes out, and what happens when a part fails."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from dp3_lightning.anonymize import Outcome, anonymize_video
from dp3_lightning.anonymize.manifest import read_manifest
from dp3_lightning.anonymize.rendering.drawing import Drawing
from dp3_lightning.assets import asset_path
from dp3_lightning.assets.table import FACE_PRIOR_TERMS
from dp3_lightning.faces import CenterFace
from dp3_lightning.faces.mesh import FaceMesh
from dp3_lightning.generators.face_prior.fast import FastSynthesis
from dp3_lightning.reports.anonymized import write_report
from dp3_lightning.video import VideoReader, write_video
from tests.anonymize.anonymize_fixtures import decoded, leftovers, settings

pytestmark = [pytest.mark.assets, pytest.mark.slow]
N = 20


class Run(NamedTuple):
    source: Path
    output: Path
    outcome: Outcome
    boxes: np.ndarray  # (N, 4)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smile")
    with VideoReader(asset_path("smile")) as reader:
        frames = list(reader.frames(0, N))
    return write_video(folder / "in.mp4", frames, 25, crf=10)


def anonymize(source: Path, output: Path, drawing: str | Drawing = "face-prior") -> Outcome:
    return anonymize_video(
        source,
        output,
        drawing,
        settings=settings(seed=1, identity_check="auto", check_detector="auto"),
        cache=source.parent / "cache",
    )


@pytest.fixture(scope="module")
def drawing() -> Drawing:
    return Drawing.prepare("face-prior")


@pytest.fixture(scope="module")
def run(source: Path) -> Run:
    output = source.parent / "out.mp4"
    outcome = anonymize(source, output)
    found = CenterFace(runtime="auto")(decoded(source))
    return Run(source, output, outcome, np.array([faces[0].box for faces in found]))


def record_of(output: Path) -> dict[str, Any]:
    record = read_manifest(output)
    assert record is not None
    return record


def part(frame: np.ndarray, box: np.ndarray, scale: float) -> tuple[slice, slice]:
    """Where a box lies that is scaled about its centre."""
    center, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * scale
    x0, y0 = np.maximum(center - half, 0).astype(int)
    x1, y1 = np.minimum(center + half, frame.shape[1::-1]).astype(int)
    return slice(y0, y1), slice(x0, x1)


def test_every_face_is_drawn_and_told(run: Run) -> None:
    assert run.outcome.safe
    assert not run.outcome.failures
    assert run.outcome.n_drawn + run.outcome.n_carried == N
    assert 1 < run.outcome.n_drawn < N
    record = record_of(run.output)
    assert record["generator"]["name"] == "face-prior"
    assert record["generator"]["licence"] == FACE_PRIOR_TERMS
    assert set(record["faces"]["people_refused_as_too_alike"]) == {"person-1"}
    assert record["faces"]["drawn"] == run.outcome.n_drawn
    assert record["identity"]["recogniser"].startswith("sface")
    assert record["pseudonyms"]["from"] == "seed"
    assert not leftovers(run.output.parent)
    json.dumps(record)
    (face,) = run.outcome.people.values()
    assert face.shape[2] == 3
    assert face.shape[0] in (256, 512)
    assert "None of them exists" in write_report(run.output, run.outcome.people).read_text()


def test_faces_are_others_and_what_is_far_away_stays(run: Run) -> None:
    before, after = decoded(run.source), decoded(run.output)
    assert len(after) == N
    for real, drawn, box in zip(before, after, run.boxes, strict=True):
        difference = np.abs(real.astype(int) - drawn)
        assert difference[part(real, box, 0.6)].mean() > 8
        far = np.ones(real.shape[:2], bool)
        far[part(real, box, 2.2)] = False
        assert difference[far].mean() < 2
        assert np.quantile(difference[far], 0.999) < 20


def test_there_is_a_face_in_the_output(run: Run) -> None:
    found = CenterFace(runtime="auto")(decoded(run.output))
    centers = (run.boxes[:, :2] + run.boxes[:, 2:]) / 2
    sides = run.boxes[:, 2:] - run.boxes[:, :2]
    hit = [
        any(
            (np.abs((np.array(face.box[:2]) + face.box[2:]) / 2 - center) < 0.2 * side).all()
            for face in faces
        )
        for faces, center, side in zip(found, centers, sides, strict=True)
    ]
    assert np.mean(hit) >= 0.95


def test_it_works_without_network_and_gives_the_same_again(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **_: object) -> None:
        raise OSError(f"a connection was tried: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    outcome = anonymize(run.source, tmp_path / "again.mp4")
    assert outcome.safe
    assert outcome.redraws == run.outcome.redraws
    first, second = decoded(run.output), decoded(tmp_path / "again.mp4")
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


def assert_blurred_and_told(run: Run, output: Path, outcome: Outcome, reason: str) -> None:
    assert outcome.safe
    assert outcome.exit_code == 0
    assert outcome.n_drawn == outcome.n_carried == 0
    assert {f.frame for f in outcome.failures if f.blurred} == set(range(N))
    assert any(reason in f.reason for f in outcome.failures)
    assert reason in json.dumps(record_of(output)["failures"])
    before, after = decoded(run.source), decoded(output)
    for real, blurred, box in zip(before, after, run.boxes, strict=True):
        inner = part(real, box, 0.7)
        # Of what makes a face sharp next to nothing is left.
        sharp, soft = (
            np.abs(np.diff(f[inner].astype(int), axis=1)).mean() for f in (real, blurred)
        )
        assert soft < 0.5 * sharp
        assert np.abs(real[inner].astype(int) - blurred[inner]).mean() > 5


def test_meshes_that_fail_blur_everybody(
    run: Run, drawing: Drawing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the mesh network is broken")

    monkeypatch.setattr(FaceMesh, "locate", broken)
    monkeypatch.setattr(FaceMesh, "refine", broken)
    outcome = anonymize(run.source, tmp_path / "out.mp4", drawing)
    assert_blurred_and_told(run, tmp_path / "out.mp4", outcome, "the mesh network is broken")


def test_a_synthesis_of_no_numbers_blurs_everybody(
    run: Run, drawing: Drawing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_numbers(self: FastSynthesis, w: torch.Tensor, size: int = 256) -> torch.Tensor:
        return torch.full((len(w), 3, size, size), torch.nan)

    monkeypatch.setattr(FastSynthesis, "__call__", no_numbers)
    outcome = anonymize(run.source, tmp_path / "out.mp4", drawing)
    assert_blurred_and_told(run, tmp_path / "out.mp4", outcome, "not numbers")


def test_a_synthesis_that_breaks_half_way_blurs_what_it_does_not_draw(
    run: Run, drawing: Drawing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dp3_lightning.anonymize.rendering.mesh.people import PersonPainter

    express = PersonPainter.express

    def tired(self: PersonPainter, person: Any, motion: np.ndarray, corrections: int = 1) -> Any:
        if corrections:  # a key face, none that is only looked at
            raise MemoryError("no memory left")
        return express(self, person, motion, corrections)

    monkeypatch.setattr(PersonPainter, "express", tired)
    outcome = anonymize(run.source, tmp_path / "out.mp4", drawing)
    assert_blurred_and_told(run, tmp_path / "out.mp4", outcome, "no memory left")
