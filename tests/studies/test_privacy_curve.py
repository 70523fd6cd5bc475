from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dp3_lightning.cli.privacy_curve import OUTSIDE, privacy_curve_command
from dp3_lightning.evaluation import PersonTrack, Tools
from dp3_lightning.evaluation.figures import FaceFigures
from dp3_lightning.studies import privacy_curve as module
from dp3_lightning.studies.privacy_curve import Choice, Point, choose, config_for, sweep
from dp3_lightning.studies.training_runs import fit_once
from tests.evaluation.evaluation_fixtures import clip, frames, plan, tools

BASE = {
    "trainer": {
        "max_steps": 5,
        "callbacks": [
            {"class_path": "dp3_lightning.callbacks.PixelLoss", "init_args": {"weight": 9.0}},
            {"class_path": "TotalVariationLoss"},
        ],
    }
}


def terms(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    callbacks = config["trainer"]["callbacks"]
    return {c["class_path"].rpartition(".")[2]: c.get("init_args", {}) for c in callbacks}


def test_a_choice_replaces_the_pixel_term_and_nothing_else() -> None:
    chosen = config_for(BASE, Choice(0.3, "full"), None)
    assert terms(chosen) == {
        "TotalVariationLoss": {},
        "PixelLoss": {"weight": 0.3, "mode": "full"},
    }
    assert list(terms(config_for(BASE, Choice(0.0), None))) == ["TotalVariationLoss"]
    pushed = config_for(BASE, Choice(1.0, margin=0.2), "mine.Embedder")
    assert terms(pushed)["IdentityLoss"] == {
        "embedder": {"class_path": "mine.Embedder"},
        "margin": 0.2,
    }
    shipped = config_for(BASE, Choice(1.0, margin=0.2), "sface")
    assert terms(shipped)["IdentityLoss"]["embedder"] == "sface"
    assert BASE["trainer"]["callbacks"][0]["init_args"] == {"weight": 9.0}  # type: ignore[index]
    alone = config_for(
        {"trainer": {"callbacks": [{"class_path": "IdentityLoss"}]}}, Choice(0), None
    )
    assert alone["trainer"]["callbacks"] == []  # no margin: without the term
    with pytest.raises(ValueError, match="--embedder"):
        config_for(BASE, Choice(1.0, margin=0.2), None)


def test_the_sweep_has_every_combination_once() -> None:
    found = sweep([0.0, 1.0], ["ring", "full"], [None, 0.2])
    assert len(found) == len(set(found)) == 6  # without a weight the mode makes no difference
    assert len({choice.name for choice in found}) == 6


def point(name: str, recognised: float, frechet: float) -> Point:
    quality = {"MobileNetV2 Frechet": frechet}
    return Point(name, recognised, 0.0, None, None, quality, recognised <= 0.05)


def test_the_best_within_the_budget_is_chosen() -> None:
    points = [point("a", 0.01, 3.0), point("b", 0.05, 2.0), point("c", 0.06, 1.0)]
    chosen = choose(points)
    assert chosen is not None
    assert chosen.name == "b"
    assert choose(points[2:]) is None


class Trainer:
    """Stands in for `dp3 fit` and rendering: how far a face is recognised follows the weight."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fitted: list[str] = []
        self.rendered: list[str] = []
        self.recognised = {"no-pixel": 0.0, "full-1": 0.04, "full-3": 0.4, "mine": 0.2}
        monkeypatch.setattr(module, "fit_once", self.fit)
        monkeypatch.setattr(module.Study, "_tracks", self.tracks)
        monkeypatch.setattr(Tools, "at_hand", classmethod(lambda cls: tools()))

    def fit(self, folder: Path, config: dict[str, Any]) -> Path:
        self.fitted.append(folder.name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "last.ckpt").write_text(folder.name)
        return folder / "last.ckpt"

    def tracks(self, name: str, checkpoint: Path, videos: dict[Path, str]) -> list[PersonTrack]:
        rate = self.recognised[name.rpartition("-")[0]]
        self.rendered.append(name)
        found = []
        for video in videos:
            seen = 0.1 if video.stem == "seen" else 0.0  # what is memorised
            values = {"recognised": rate + seen, "MobileNetV2 Frechet": 1 - rate}
            found.append(PersonTrack(video.stem, video.stem, FaceFigures("p", (0, 9), values)))
        return found


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Trainer, list[str]]:
    clip(tmp_path / "new.mkv", frames())
    clip(tmp_path / "seen.mkv", [255 - frame for frame in frames()])
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE))
    (tmp_path / "mine.ckpt").write_bytes(b"weights")
    common = [str(tmp_path / "out"), "--held-out", str(tmp_path / "new.mkv")]
    return Trainer(monkeypatch), [*common, "--trained-on", str(tmp_path / "seen.mkv")]


def curve(tmp_path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((tmp_path / "out/curve.json").read_text())
    return record


def test_a_sweep_marks_its_best_point_within_the_budget(
    tmp_path: Path, study: tuple[Trainer, list[str]]
) -> None:
    trainer, common = study
    config = ["--config", str(tmp_path / "base.yaml"), "--weights", "0", "1", "3"]
    assert privacy_curve_command([*common, *config, "--modes", "full"]) == 0
    assert trainer.fitted == ["no-pixel", "full-1", "full-3"]
    record = curve(tmp_path)
    assert record["chosen"] == "full-1"
    assert [p["inside"] for p in record["points"]] == [True, True, False]
    assert [round(p["gap"], 6) for p in record["points"]] == [0.1, 0.1, 0.1]
    page = (tmp_path / "out/curve.html").read_text()
    assert "Chosen: full-1, within the budget" in page
    assert "https://" not in page
    assert page.count("<svg") == 1
    assert page.count(">budget 0.05</text>") == 1


def test_the_exit_code_tells_that_a_checkpoint_is_outside(
    tmp_path: Path, study: tuple[Trainer, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    _, common = study
    checkpoint = ["--checkpoint", str(tmp_path / "mine.ckpt")]
    assert privacy_curve_command([*common, *checkpoint]) == OUTSIDE
    assert "outside the budget of 0.05" in capsys.readouterr().out
    assert curve(tmp_path)["chosen"] == "mine"
    assert privacy_curve_command([*common, *checkpoint, "--budget", "0.2"]) == 0


def test_what_was_measured_is_not_measured_again_but_judged_anew(
    tmp_path: Path, study: tuple[Trainer, list[str]]
) -> None:
    trainer, common = study
    checkpoint = ["--checkpoint", str(tmp_path / "mine.ckpt")]
    assert privacy_curve_command([*common, *checkpoint]) == OUTSIDE
    first, done = curve(tmp_path), len(trainer.rendered)
    assert privacy_curve_command([*common, *checkpoint, "--budget", "0.3"]) == 0
    second = curve(tmp_path)
    assert len(trainer.rendered) == done
    assert (first["points"][0].pop("inside"), second["points"][0].pop("inside")) == (False, True)
    assert first["points"] == second["points"]
    (tmp_path / "mine.ckpt").write_bytes(b"other weights")
    privacy_curve_command([*common, *checkpoint])
    assert len(trainer.rendered) > done


def test_people_are_told_apart_by_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four clips of two people, all called 0 and 1; an untouched copy is recognised."""
    monkeypatch.setattr(Tools, "at_hand", classmethod(lambda cls: tools()))
    monkeypatch.setattr(module.Drawing, "prepare", lambda checkpoint: None)
    monkeypatch.setattr(module, "render", lambda source, output, *_: copied(source, output))
    monkeypatch.setattr(module, "detected_plan", lambda *_: plan())
    for person, tint in (("ann", 1), ("bob", 2)):
        for number in range(2):
            pictures = frames()
            for picture in pictures:
                picture[24:72, 60:100, 0] //= tint
                picture[:8] = number  # no two files are equal
            (tmp_path / "new" / person).mkdir(parents=True, exist_ok=True)
            clip(tmp_path / "new" / person / f"{number}.mkv", pictures)
    (tmp_path / "mine.ckpt").write_bytes(b"weights")
    arguments = ["--held-out", str(tmp_path / "new"), "--checkpoint", str(tmp_path / "mine.ckpt")]
    assert privacy_curve_command([str(tmp_path / "out"), *arguments]) == OUTSIDE
    (found,) = curve(tmp_path)["points"]
    assert found["recognised"] == 1
    assert found["rank1"] == 1
    assert found["chance"] == pytest.approx(0.5, abs=0.15)


def copied(source: Path, output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(source.read_bytes())


def test_a_video_is_not_held_out_and_trained_on(
    tmp_path: Path, study: tuple[Trainer, list[str]]
) -> None:
    _, common = study
    copy = tmp_path / "copy.mkv"
    copy.write_bytes((tmp_path / "new.mkv").read_bytes())
    checkpoint = ["--checkpoint", str(tmp_path / "mine.ckpt")]
    with pytest.raises(ValueError, match=r"new\.mkv.*held out.*copy\.mkv"):
        privacy_curve_command([*common, str(copy), *checkpoint])
    sweep_on = {**BASE, "data": {"init_args": {"source": [str(tmp_path / "new.mkv")]}}}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(sweep_on))
    with pytest.raises(ValueError, match="held out"):
        privacy_curve_command([*common, "--config", str(tmp_path / "base.yaml")])


def test_arguments_that_do_not_fit_are_named(
    tmp_path: Path, study: tuple[Trainer, list[str]]
) -> None:
    _, common = study
    with pytest.raises(ValueError, match="--config"):
        privacy_curve_command(common)
    with pytest.raises(ValueError, match=r"`budget`.*got 2"):
        privacy_curve_command([*common, "--config", "x", "--budget", "2"])
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt"):
        privacy_curve_command([*common, "--checkpoint", "none.ckpt"])


def test_a_fit_is_done_once_and_a_broken_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    code = [0]

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        (tmp_path / "last.ckpt").write_bytes(b"")
        return subprocess.CompletedProcess(command, code[0])

    monkeypatch.setattr(subprocess, "run", run)
    code[0] = 1
    with pytest.raises(ValueError, match="failed"):
        fit_once(tmp_path, BASE)
    code[0] = 0
    assert fit_once(tmp_path, BASE) == tmp_path / "last.ckpt"
    assert fit_once(tmp_path, BASE) == tmp_path / "last.ckpt"
    assert len(commands) == 2
    assert commands[0][:3] == [sys.executable, "-m", "dp3_lightning"]
    assert "--ckpt_path" not in commands[0]
    assert commands[1][-2:] == ["--ckpt_path", str(tmp_path / "last.ckpt")]
    written = yaml.safe_load((tmp_path / "config.in.yaml").read_text())
    assert written["trainer"]["default_root_dir"] == str(tmp_path)
    (tmp_path / "epoch=0-step=100.ckpt").write_bytes(b"")
    fit_once(tmp_path, {"trainer": {"max_steps": 6}})  # another one: from the start
    assert "--ckpt_path" not in commands[2]
    assert not (tmp_path / "epoch=0-step=100.ckpt").exists()


def test_an_old_checkpoint_is_not_taken_for_that_of_a_run_that_broke_off_before_its_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last, saves = tmp_path / "last.ckpt", [b"first", None, b"second"]

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert "--ckpt_path" not in command
        content = saves.pop(0)
        if content is None:
            raise KeyboardInterrupt
        last.write_bytes(content)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    fit_once(tmp_path, BASE)
    other = {"trainer": {"max_steps": 6}}
    with pytest.raises(KeyboardInterrupt):
        fit_once(tmp_path, other)
    assert fit_once(tmp_path, other).read_bytes() == b"second"


def test_a_run_of_other_weights_or_videos_is_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[int] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        runs.append(len(runs))
        (tmp_path / "run/last.ckpt").write_bytes(b"")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    weights, videos = tmp_path / "base.ckpt", tmp_path / "videos"
    videos.mkdir()
    config = {"model": {"weights": str(weights)}, "data": {"source": [str(videos)]}}
    counts = []
    for change in (weights, weights, videos / "a.mp4", None):
        if change is not None:
            change.write_bytes(b"%d" % len(counts))
        fit_once(tmp_path / "run", config)
        counts.append(len(runs))
    assert counts == [1, 2, 3, 3]
