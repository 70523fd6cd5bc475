from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from dp3_lightning.anonymize.manifest import read_manifest
from dp3_lightning.anonymize.picture_job import read_picture, write_picture
from dp3_lightning.anonymize.settings import Settings
from dp3_lightning.cli import anonymize as command
from dp3_lightning.cli.anonymize import anonymize_command, anonymize_parser, settings_from
from tests.anonymize.anonymize_fixtures import (
    decoded,
    draw_frames,
    leftovers,
    moving,
    painted_pixels,
    square,
    write_clip,
)
from tests.browser import needs_browser, opened

CONFIG = Path(__file__).parents[2] / "configs" / "anonymize.yaml"
SQUARES = "--detector=tests.anonymize.anonymize_fixtures.SquareDetector"
NO_MODELS = ["--identity-check=off", "--check-detector=same"]  # these tests need none
COMMON = [SQUARES, "--generator=blur", *NO_MODELS]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DP3_CACHE", str(tmp_path_factory.mktemp("cache")))


def anonymize(*arguments: str | Path, common: list[str] = COMMON) -> int:
    return anonymize_command([*map(str, arguments), *common])


def clean(path: Path) -> bool:
    return not any(painted_pixels(f).any() for f in decoded(path))


def record_of(output: Path) -> dict[str, Any]:
    record = read_manifest(output)
    assert record is not None
    return record


def test_the_configuration_with_options_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(6))
    output = tmp_path / "out.mp4"
    assert anonymize(source, "-o", output, "--config", CONFIG, "--feather", "0.1") == 0
    assert clean(output)
    record = record_of(output)
    assert record["settings"]["render"]["feather"] == 0.1
    assert record["settings"]["plan"]["max_gap"] == 0.5
    assert record["settings"]["plan"]["min_generate_size"] == 16
    told = capsys.readouterr().out
    assert "6 frames, 1 people in 1 tracks" in told
    assert "sound dropped" in told
    assert "identity check skipped: switched off" in told


def parsed(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What reaches the work for a command line."""
    caught: list[Settings] = []
    monkeypatch.setattr(
        command, "settings_from", lambda options: caught.append(settings_from(options)) or caught[0]
    )
    monkeypatch.setattr(command, "_run", lambda *_: 0)
    folder = Path(os.environ["DP3_CACHE"])
    (folder / "in.mp4").touch()
    arguments = (str(folder / "in.mp4"), "-o", str(folder / "o.mp4"), *arguments)
    assert command.anonymize_command([*arguments, "--generator=blur"]) == 0
    return caught[0]


SPELLINGS: list[tuple[list[str], tuple[str, str], object]] = [
    (["--max-gap", "1"], ("plan", "max_gap"), 1.0),
    (["--max_gap=1"], ("plan", "max_gap"), 1.0),
    (["--max-gap=1"], ("plan", "max_gap"), 1.0),
    (["--no-verify"], ("check", "verify"), False),
    (["--no_verify"], ("check", "verify"), False),
    (["--verify", "false"], ("check", "verify"), False),
    (["--verify=false"], ("check", "verify"), False),
    (["--verify"], ("check", "verify"), True),
    (["--overwrite"], ("output", "overwrite"), True),
    (["--overwrite", "--max-gap", "1"], ("output", "overwrite"), True),
    (["--no-color-match"], ("render", "color_match"), False),
    (["--multi-modal"], ("people", "multi_modal"), True),
    (["--propagation", "fixed:4"], ("render", "propagation"), "fixed:4"),
    (["--pseudonym-key", "my-secret_key-1"], ("people", "pseudonym_key"), "my-secret_key-1"),
    (["--seed", "7"], ("people", "seed"), 7),
    (["--audio", "copy"], ("output", "audio"), "copy"),
    (
        ["--encoder-options", '{"preset": "slow"}'],
        ("output", "encoder_options"),
        {"preset": "slow"},
    ),
    ([], ("output", "overwrite"), False),
]


@pytest.mark.parametrize(("arguments", "place", "expected"), SPELLINGS)
def test_options_may_be_spelt_with_dashes_and_switches_stand_alone(
    arguments: list[str],
    place: tuple[str, str],
    expected: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = parsed(*arguments, monkeypatch=monkeypatch)
    assert getattr(getattr(chosen, place[0]), place[1]) == expected


def test_a_switch_before_an_input_does_not_swallow_it(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(3))
    assert anonymize("--report", source, "-o", tmp_path / "out.mp4") == 0
    assert (tmp_path / "out.mp4.dp3.html").is_file()


def test_an_unknown_option_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(3))
    with pytest.raises(SystemExit) as caught:
        anonymize(source, "-o", tmp_path / "out.mp4", "--max-gapp", "1")
    assert caught.value.code not in (0, None)
    assert "max_gapp" in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--feather", "0.5"], "feather"),
        (["--audio", "maybe"], "audio"),
        (["--propagation", "fixed"], "propagation"),
        (["--start-score", "2"], "start_score"),
    ],
)
def test_values_out_of_range_are_named(
    tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(3))
    with pytest.raises((ValueError, SystemExit)) as caught:
        anonymize(source, "-o", tmp_path / "out.mp4", *arguments)
    assert message in str(caught.value) + capsys.readouterr().err


def yaml_lines() -> list[str]:
    return [line for line in CONFIG.read_text().splitlines() if re.match(r"[a-z_]+:", line)]


def options_of_the_parser() -> dict[str, Any]:
    defaults = anonymize_parser().get_defaults().as_dict()
    for name in ("inputs", "out", "config", "plan"):
        defaults.pop(name, None)
    return defaults


def test_the_configuration_names_every_option_with_its_default_and_a_comment() -> None:
    shipped = yaml.safe_load(CONFIG.read_text())
    assert shipped == options_of_the_parser()
    assert len(yaml_lines()) == len(shipped)
    for line in yaml_lines():
        assert re.search(r"\S\s+# \S", line), f"no comment: {line}"
    parsed = anonymize_parser().parse_args(["x", "-o", "y", "--config", str(CONFIG)])
    settings = settings_from(anonymize_parser().instantiate_classes(parsed))
    assert settings == Settings()


def test_a_misspelt_key_of_a_configuration_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(3))
    (tmp_path / "c.yaml").write_text("max_gapp: 1\n")
    with pytest.raises((SystemExit, ValueError)) as caught:
        anonymize(source, "-o", tmp_path / "out.mp4", "--config", tmp_path / "c.yaml")
    assert "max_gapp" in capsys.readouterr().err + str(caught.value)


def test_a_plan_is_written_edited_and_rendered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_clip(tmp_path / "in.mp4", [[square(3), square(36), square(70)]] * 6)
    output = tmp_path / "out.mp4"
    assert anonymize(source, "-o", output, "--dry-run") == 0
    assert "3 people in 3 tracks, 6 of 6 frames" in capsys.readouterr().out
    assert not output.exists()
    path = tmp_path / "out.mp4.plan.json"
    plan = json.loads(path.read_text())
    plan["tracks"].sort(key=lambda t: t["frames"][0]["box"][0])
    plan["tracks"][1] |= {"action": "keep", "reason": "the presenter agreed"}
    plan["tracks"].pop(2)  # a false alarm: what the check finds is not
    path.write_text(json.dumps(plan))
    options = ("--no-verify", "--generator=solid")
    assert anonymize(source, "-o", output, "--plan", path, common=[SQUARES, *options]) == 0
    for frame in decoded(output):
        assert (frame[24:40, 5:21] < 12).all()
        assert painted_pixels(frame, 90)[22:42, 36:56].mean() > 0.8
        assert painted_pixels(frame, 90)[22:42, 70:90].mean() > 0.8
    told = capsys.readouterr().out
    assert "keeps the real face: the presenter agreed" in told
    assert told.splitlines()[-1] == "  NOT CHECKED for remaining faces (--no-verify)"
    assert record_of(output)["safe"] == "not checked"
    assert [t["action"] for t in record_of(output)["tracks"]] == ["solid", "keep"]


def test_a_plan_is_for_one_video(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.mp4", "b.mp4"):
        write_clip(tmp_path / "in" / name, moving(3))
    with pytest.raises(ValueError, match="Expected one input with `--plan`, got 2"):
        anonymize(tmp_path / "in", "-o", tmp_path / "out", "--plan", "x.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two videos, a picture, and a file that is none."""
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    write_clip(folder / "a.mp4", moving(4))
    (folder / "b.mp4").write_bytes(b"no video at all")
    write_clip(folder / "deep" / "c.mp4", moving(5))
    cv2.imwrite(str(folder / "d.png"), draw_frames([[square(30)]])[0][..., ::-1])
    return folder


def test_one_bad_file_does_not_stop_the_others(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert anonymize(folder, "-o", out) == 1
    assert clean(out / "a.mp4")
    assert clean(out / "deep" / "c.mp4")
    picture = cv2.imread(str(out / "d.png"))
    assert picture is not None
    assert not painted_pixels(np.ascontiguousarray(picture[..., ::-1])).any()
    assert not (out / "b.mp4").exists()
    told = capsys.readouterr().err
    assert "1 of 4 files failed" in told
    assert "b.mp4" in told
    assert leftovers(out) == []


def test_what_is_done_is_not_done_again(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (folder / "b.mp4").unlink()
    assert anonymize(folder, "-o", out) == 0
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.*")}
    write_clip(folder / "new.mp4", moving(3))
    capsys.readouterr()
    assert anonymize(folder, "-o", out) == 0
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert clean(out / "new.mp4")
    assert capsys.readouterr().out.count("already done") == 3


def test_a_source_that_changed_is_not_done(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (folder / "b.mp4").unlink()
    assert anonymize(folder, "-o", out) == 0
    write_clip(folder / "a.mp4", moving(7))
    assert anonymize(folder, "-o", out) == 1  # an output that is in the way is never replaced
    assert len(decoded(out / "a.mp4")) == 4
    assert anonymize(folder, "-o", out, "--overwrite") == 0
    assert len(decoded(out / "a.mp4")) == 7


def test_faces_that_may_be_left_give_exit_code_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(3))
    detector = "--detector=tests.anonymize.anonymize_fixtures.NeverSatisfied"
    common = [detector, "--generator=blur", *NO_MODELS, "--report"]
    assert anonymize(source, "-o", tmp_path / "out.mp4", common=common) == 3
    assert "UNRESOLVED: a face at" in capsys.readouterr().out
    assert "Faces may be left" in (tmp_path / "out.mp4.dp3.html").read_text()


def test_exit_code_3_of_one_file_is_that_of_all(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.mp4", "b.mp4"):
        write_clip(tmp_path / "in" / name, moving(3 + (name == "b.mp4")))
    detector = "--detector=tests.anonymize.anonymize_fixtures.NeverSatisfied"
    common = [detector, "--generator=blur", *NO_MODELS]
    assert anonymize(tmp_path / "in", "-o", tmp_path / "out", common=common) == 3


def test_the_manifest_is_strict_json_without_the_key_or_embeddings(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(6))
    key = "a-very-secret-phrase"
    out = tmp_path / "out.mp4"
    assert anonymize(source, "-o", out, "--pseudonym-key", key, "--report") == 0

    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    for path in tmp_path.rglob("*.json"):
        json.loads(path.read_text(), parse_constant=no_constant)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert key.encode() not in path.read_bytes(), path
    record = record_of(out)
    assert record["pseudonyms"]["key_given"] is True
    assert "pseudonym_key" not in record["settings"]["people"]
    longest = max(len(v) for v in lists_of(record))
    assert longest <= 6  # no vectors of faces

    def keys(node: Any) -> set[str]:
        if isinstance(node, dict):
            return set(node) | {k for v in node.values() for k in keys(v)}
        return {k for v in node for k in keys(v)} if isinstance(node, list) else set()

    assert not {"boxes", "embedding", "latent", "secret"} & keys(record)


def lists_of(node: Any) -> list[list[Any]]:
    if isinstance(node, dict):
        return [found for value in node.values() for found in lists_of(value)]
    if isinstance(node, list):
        return [node, *(found for value in node for found in lists_of(value))]
    return [[]]


def reports(folder: Path) -> list[Path]:
    """Pages of a video with two people, of a bad one, and of a picture with an awkward name."""
    write_clip(folder / "in.mp4", [[square(5)] if i < 6 else [square(70)] for i in range(12)])
    name = "<b>&'\"é.png"
    cv2.imencode(".png", draw_frames([[square(30)]])[0][..., ::-1])[1].tofile(folder / name)
    assert anonymize(folder / "in.mp4", "-o", folder / "out.mp4", "--report") == 0
    assert anonymize(folder / name, "-o", folder / f"out{name}", "--report") == 0
    detector = "--detector=tests.anonymize.anonymize_fixtures.NeverSatisfied"
    common = [detector, "--generator=blur", *NO_MODELS, "--report"]
    assert anonymize(folder / "in.mp4", "-o", folder / "bad.mp4", common=common) == 3
    return sorted(folder.glob("*.dp3.html"))


def test_reports_need_nothing_from_elsewhere(tmp_path: Path) -> None:
    pages = reports(tmp_path)
    assert len(pages) == 3
    for page in pages:
        text = page.read_text()
        assert "http://" not in text
        assert "https://" not in text
        assert "<script" not in text
        assert "<b>" not in text
        assert "data:image/jpeg;base64," in text
    good = (tmp_path / "out.mp4.dp3.html").read_text()
    assert "12 of 12 frames checked" in good
    assert good.count("<figure>") == 8
    assert "person-2" in good


@needs_browser
def test_reports_open_in_a_browser_without_complaint(tmp_path: Path) -> None:
    for page in reports(tmp_path):
        assert "Settings and hashes" in opened(page, "--virtual-time-budget=2000")


def test_a_file_in_which_the_detector_always_fails_does_not_stop_the_others(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_clip(folder / "b.mp4", moving(3, start=60))
    detector = "--detector=tests.anonymize.anonymize_fixtures.FailsOnTheRight"
    common = [detector, "--generator=blur", *NO_MODELS]
    assert anonymize(folder, "-o", tmp_path / "out", common=common) == 1
    errors = capsys.readouterr().err
    assert "b.mp4: The detector" in errors
    assert "the detector is broken" in errors
    assert clean(tmp_path / "out" / "deep" / "c.mp4")


def test_a_picture_loses_its_metadata_and_its_face(tmp_path: Path) -> None:
    from PIL import Image

    picture = Image.fromarray(draw_frames([[square(30)]])[0])
    exif = picture.getexif()
    exif[0x010E] = "SECRETPLACE"
    source = tmp_path / "in.jpg"
    picture.save(source, exif=exif, quality=100, subsampling=0)
    assert b"SECRETPLACE" in source.read_bytes()
    assert anonymize(source, "-o", tmp_path / "out.jpg") == 0
    assert b"SECRETPLACE" not in (tmp_path / "out.jpg").read_bytes()
    with Image.open(tmp_path / "out.jpg") as result:
        assert not result.getexif()
        assert not painted_pixels(np.asarray(result.convert("RGB"))).any()
    assert record_of(tmp_path / "out.jpg")["safe"]


def test_a_picture_has_a_plan_too(tmp_path: Path) -> None:
    source = tmp_path / "in.png"
    cv2.imwrite(str(source), draw_frames([[square(10), square(60)]])[0][..., ::-1])
    assert anonymize(source, "-o", tmp_path / "out.png", "--dry-run") == 0
    path = tmp_path / "out.png.plan.json"
    plan = json.loads(path.read_text())
    assert len(plan["tracks"]) == 2
    plan["tracks"][0] |= {"action": "keep", "reason": "me"}
    path.write_text(json.dumps(plan))
    assert anonymize(source, "-o", tmp_path / "out.png", "--plan", path) == 0
    picture = cv2.imread(str(tmp_path / "out.png"))
    assert picture is not None
    left = painted_pixels(np.ascontiguousarray(picture[..., ::-1]))
    assert left[:, :48].any() != left[:, 48:].any()


def test_other_choices_are_not_done(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (folder / "b.mp4").unlink()
    assert anonymize(folder, "-o", out) == 0
    assert anonymize(folder, "-o", out, "--max-gap", "1") == 1
    assert "exists" in capsys.readouterr().err
    assert anonymize(folder, "-o", out, "--max-gap", "1", "--overwrite") == 0
    assert anonymize(folder, "-o", out, "--max-gap", "1") == 0


def test_an_edited_plan_is_not_replaced_by_a_second_dry_run(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(4))
    output = tmp_path / "out.mp4"
    assert anonymize(source, "-o", output, "--dry-run") == 0
    plan = tmp_path / "out.mp4.plan.json"
    plan.write_text(plan.read_text().replace("person-1", "anna"))
    with pytest.raises(FileExistsError, match=r"edited.*--overwrite"):
        anonymize(source, "-o", output, "--dry-run")
    assert "anna" in plan.read_text()
    with pytest.raises(ValueError, match="not both"):
        anonymize(source, "-o", output, "--dry-run", "--plan", plan)


def test_a_picture_whose_detector_fails_is_an_error(tmp_path: Path) -> None:
    picture = tmp_path / "in.png"
    write_picture(picture, draw_frames(moving(1))[0])
    failing = "--detector=tests.anonymize.anonymize_fixtures.Failing"
    with pytest.raises(RuntimeError, match="the detector is broken"):
        anonymize(picture, "-o", tmp_path / "out.png", common=[failing, *COMMON[1:]])
    assert leftovers(tmp_path) == []
    assert not (tmp_path / "out.png").exists()


def test_a_deep_picture_is_refused_or_converted(tmp_path: Path) -> None:
    picture = tmp_path / "in.png"
    deep = draw_frames(moving(1))[0].astype(np.uint16) * 257
    cv2.imwrite(str(picture), deep[..., ::-1])
    with pytest.raises(ValueError, match="8 bits"):
        anonymize(picture, "-o", tmp_path / "out.png")
    assert anonymize(picture, "-o", tmp_path / "out.png", "--deep-color", "convert") == 0
    made = read_picture(tmp_path / "out.png")
    assert not painted_pixels(made).any()
    assert np.array_equal(made[-8:, -8:], (deep[-8:, -8:] // 257).astype(np.uint8))


def test_another_plan_is_not_done_before(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(4))
    output = tmp_path / "out.mp4"
    assert anonymize(source, "-o", output, "--dry-run") == 0
    plan = tmp_path / "out.mp4.plan.json"
    assert anonymize(source, "-o", output, "--plan", plan) == 0
    plan.write_text(plan.read_text().replace("person-1", "anna"))
    with pytest.raises(FileExistsError, match="exists"):
        anonymize(source, "-o", output, "--plan", plan)
    assert anonymize(source, "-o", output, "--plan", plan, "--overwrite") == 0
    assert record_of(output)["tracks"][0]["person"] == "anna"
