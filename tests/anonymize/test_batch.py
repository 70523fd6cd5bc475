from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dp3_lightning.anonymize import Drawing, Outcome, plan_video
from dp3_lightning.anonymize.batch import Batch, lines_of_left_out
from dp3_lightning.anonymize.files import FilePair
from tests.anonymize.anonymize_fixtures import (
    NeverSatisfied,
    SquareDetector,
    decoded,
    moving,
    painted_pixels,
    settings,
    write_clip,
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DP3_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("DP3_TRACEBACK", raising=False)


def batch(detector: SquareDetector | str | None = None, **options: Any) -> Batch:
    chosen = {n: options.pop(n) for n in ("plan", "watch", "finish") if n in options}
    drawing = Drawing.prepare("blur")
    return Batch(drawing, settings(**options), detector or SquareDetector(), **chosen)


@pytest.fixture
def good(tmp_path: Path) -> FilePair:
    return FilePair(write_clip(tmp_path / "a.mp4", moving(4)), tmp_path / "deep" / "out.mp4")


@pytest.fixture
def bad(tmp_path: Path) -> FilePair:
    (tmp_path / "b.mp4").write_bytes(b"no video at all")
    return FilePair(tmp_path / "b.mp4", tmp_path / "deep" / "b.mp4")


def test_a_file_that_fails_is_named_and_the_next_is_done(good: FilePair, bad: FilePair) -> None:
    files = batch()
    assert files.anonymize(bad).outcome is None
    result = files.anonymize(good)
    assert result.outcome is not None
    assert result.outcome.safe
    assert not any(painted_pixels(f).any() for f in decoded(good.output))
    assert files.exit_code == 1
    assert len(files.problems) == 1
    assert "b.mp4" in files.problems[0]
    assert files.summary()[0] == "1 of 2 files failed:"
    assert "a.mp4" not in "".join(files.summary())


def test_errors_come_out_whole_for_whoever_looks_for_their_cause(
    bad: FilePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DP3_TRACEBACK", "1")
    with pytest.raises(Exception, match=r"b\.mp4"):
        batch().anonymize(bad)


def test_what_is_done_is_skipped_unless_it_is_to_be_replaced_or_a_plan_is_given(
    good: FilePair,
) -> None:
    assert not batch().anonymize(good).was_done
    files = batch()
    again = files.anonymize(good)
    assert again.was_done
    assert (files.exit_code, files.problems, files.summary()) == (0, [], [])
    replaced = batch(overwrite=True).anonymize(good)
    assert replaced.outcome is not None
    assert not replaced.was_done
    plan = plan_video(good.source, SquareDetector())
    in_the_way = batch(plan=plan).anonymize(good)  # it may have been edited since
    assert isinstance(in_the_way.error, FileExistsError)


def test_faces_that_may_be_left_are_named_and_give_exit_code_3(good: FilePair) -> None:
    files = batch(NeverSatisfied())
    assert files.anonymize(good).exit_code == 3
    assert files.exit_code == 3
    assert files.summary()[0] == "1 of 1 files may have faces left:"
    assert "faces may be left, see the manifest" in files.summary()[1]


def test_a_failure_counts_more_than_faces_left(good: FilePair, bad: FilePair) -> None:
    files = batch(NeverSatisfied())
    for pair in (bad, good):
        files.anonymize(pair)
    assert files.exit_code == 1
    assert len(files.summary()) == 4


def test_the_work_is_watched_and_told_after_the_watch_has_ended(good: FilePair) -> None:
    events: list[str] = []

    @contextmanager
    def watch() -> Iterator[Any]:
        yield lambda stage, done, total: events.append(stage)
        events.append("end")

    def finish(pair: FilePair, outcome: Outcome) -> None:
        assert pair == good
        assert outcome.n_frames == 4
        events.append("told")

    batch(watch=watch, finish=finish).anonymize(good)
    assert {"plan", "render"} <= set(events[:-2])
    assert events[-2:] == ["end", "told"]


def test_what_telling_raises_is_a_failure_of_the_file(good: FilePair) -> None:
    def finish(pair: FilePair, outcome: Outcome) -> None:
        raise OSError("no room for the page")

    files = batch(finish=finish)
    files.anonymize(good)
    assert files.exit_code == 1
    assert "no room for the page" in files.problems[0]


def test_an_unknown_detector_is_named_before_any_work() -> None:
    with pytest.raises(ValueError, match="nobody"):
        batch("nobody")


def test_what_is_left_out_of_a_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"x")
    (line,) = lines_of_left_out([tmp_path], tmp_path / "out")
    assert line.startswith("left out: ")
    assert "notes.txt (neither video" in line
