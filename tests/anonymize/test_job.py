"""What holds for videos and pictures alike: both go through one job."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp3_lightning.anonymize import Drawing, job
from dp3_lightning.anonymize.manifest import read_manifest
from dp3_lightning.anonymize.pictures import read_picture, write_picture
from dp3_lightning.cli.anonymize import anonymize_command
from dp3_lightning.structures import FloatArray, UInt8Array
from tests.anonymize.anonymize_fixtures import (
    Box,
    Styled,
    decoded,
    done,
    draw_frames,
    leftovers,
    painted_pixels,
    run,
    square,
    tiny32,
    write_clip,
)

_NOISE = 6  # levels by which an encoder changes a plain colour
KINDS = pytest.mark.parametrize("suffix", [".mp4", ".png"])


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DP3_CACHE", str(tmp_path_factory.mktemp("cache")))


def write(folder: Path, suffix: str, face: Box) -> Path:
    """A picture, or a video of four frames, with one face that keeps still."""
    source = folder / f"in{suffix}"
    if suffix == ".mp4":
        return write_clip(source, [[face]] * 4)
    write_picture(source, draw_frames([[face]])[0])
    return source


def shown(path: Path) -> UInt8Array:
    return read_picture(path) if path.suffix == ".png" else decoded(path)[0]


def record_of(output: Path) -> dict[str, Any]:
    record = read_manifest(output)
    assert record is not None
    return record


@KINDS
@pytest.mark.parametrize(("compat", "action"), [("none", "blur"), ("dp2", "generate")])
def test_deep_privacy2_draws_small_faces_too(
    tmp_path: Path, suffix: str, compat: str, action: str
) -> None:
    source, output = write(tmp_path, suffix, square(30, side=18)), tmp_path / f"out{suffix}"
    outcome = run(source, output, tiny32(), compat=compat, min_generate_size=40.0)
    record = record_of(output)
    assert [track["action"] for track in record["tracks"]] == [action]
    assert record["settings"]["render"]["compat"] == compat
    assert bool(outcome.n_drawn) == (action == "generate")


@KINDS
@pytest.mark.parametrize(("compat", "action"), [("none", "blur"), ("dp2", "generate")])
def test_a_dry_run_plans_as_the_run_does(
    tmp_path: Path, suffix: str, compat: str, action: str
) -> None:
    source, output = write(tmp_path, suffix, square(30, side=18)), tmp_path / f"out{suffix}"
    squares = "tests.anonymize.anonymize_fixtures.SquareDetector"
    options = [f"--detector={squares}", "--identity-check=off", "--min-generate-size=40"]
    command = [str(source), "-o", str(output), "--dry-run", f"--compat={compat}", *options]
    assert anonymize_command(command) == 0
    plan = json.loads((tmp_path / f"out{suffix}.plan.json").read_text())
    assert [track["action"] for track in plan["tracks"]] == [action]
    assert plan["settings"]["smooth_window"] == (1 if compat == "dp2" else 9)


@KINDS
def test_the_manifest_is_there_before_the_output(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in between, a run leaves no output that could pass for somebody else's file."""
    source, output = write(tmp_path, suffix, square(30)), tmp_path / f"out{suffix}"
    write_manifest, before = job.write_manifest, b"an older file"
    output.write_bytes(before)

    def looking(place: Path, record: dict[str, Any]) -> Path:
        assert output.read_bytes() == before
        return write_manifest(place, record)

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "write_manifest", killed)
    with pytest.raises(KeyboardInterrupt):
        run(source, output, overwrite=True)
    assert output.read_bytes() == before
    assert [name for name in leftovers(tmp_path) if "partial" in name] == []
    monkeypatch.setattr(job, "write_manifest", looking)
    run(source, output, overwrite=True)
    assert done(source, output)
    assert leftovers(tmp_path) == []
    assert not painted_pixels(shown(output)).any()


class TakesTheFirstForReal:
    """Takes the real face and the first one that is drawn for one person, others for another.

    Args:
        always: take all that is ever drawn for the real person, until it is black.
    """

    def __init__(self, always: bool = False) -> None:
        self.name, self.threshold, self.always = "first", 0.2, always
        self.seen: list[FloatArray] = []

    def __call__(self, frame: UInt8Array, box: Sequence[float]) -> FloatArray | None:
        x0, y0, x1, y1 = (round(v) for v in box)
        color = frame[y0 + 6 : y1 - 6, x0 + 6 : x1 - 6].reshape(-1, 3).mean(axis=0)
        if all(np.abs(color - other).max() > _NOISE for other in self.seen):
            self.seen.append(color)
        same = any(np.abs(color - other).max() <= _NOISE for other in self.seen[:2])
        return np.zeros(3) if self.always or same else np.ones(3)


@KINDS
def test_a_drawn_person_who_is_too_alike_is_drawn_again_before_blurring(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = write(tmp_path, suffix, square(30)), tmp_path / f"out{suffix}"
    embedder = TakesTheFirstForReal()
    monkeypatch.setattr(job, "recogniser", lambda check: (embedder, ""))
    monkeypatch.setattr(Drawing, "redraws", 3)
    outcome = run(source, output, Styled(), seed=1, truncation=1.0, color_match=False)
    assert outcome.redraws == {"person-1": 1}
    assert record_of(output)["faces"]["people_refused_as_too_alike"] == {"person-1": 1}
    assert [track["action"] for track in record_of(output)["tracks"]] == ["generate"]
    _, first, second = embedder.seen
    center = shown(output)[30:34, 36:42].reshape(-1, 3).mean(axis=0)
    assert np.abs(center - second).max() < 12
    assert np.abs(center - first).max() > 12


@KINDS
def test_who_stays_alike_is_blurred_and_then_black(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = write(tmp_path, suffix, square(30)), tmp_path / f"out{suffix}"
    monkeypatch.setattr(job, "recogniser", lambda check: (TakesTheFirstForReal(True), ""))
    monkeypatch.setattr(Drawing, "redraws", 2)
    outcome = run(source, output, Styled(), seed=1, truncation=1.0, color_match=False)
    assert outcome.redraws == {"person-1": 2}
    assert [track["action"] for track in record_of(output)["tracks"]] == ["solid"]
    assert (shown(output)[26:38, 34:46] < 12).all()


@KINDS
def test_a_plan_of_another_file_is_refused_by_name(tmp_path: Path, suffix: str) -> None:
    source = write(tmp_path, suffix, square(30))
    (tmp_path / "other").mkdir()
    other = write(tmp_path / "other", suffix, square(60))
    run(source, tmp_path / f"out{suffix}")
    squares = "tests.anonymize.anonymize_fixtures.SquareDetector"
    options = [f"--detector={squares}", "--identity-check=off", "--generator=blur"]
    assert anonymize_command([str(other), "-o", str(tmp_path / "x"), "--dry-run", *options]) == 0
    plan = tmp_path / "x" / f"in{suffix}.plan.json"
    with pytest.raises(ValueError, match=f"another file than .*in{suffix}"):
        run(source, tmp_path / f"again{suffix}", plan=plan)
