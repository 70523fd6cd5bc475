"""Files as people have them: odd names, odd suffixes, interrupted runs."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dp3_lightning.anonymize.files import left_out, pair_files
from dp3_lightning.cli import main as cli
from dp3_lightning.cli.anonymize import anonymize_command
from dp3_lightning.structures import Detection, UInt8Array
from dp3_lightning.video import VideoReader
from tests.anonymize.anonymize_fixtures import (
    SquareDetector,
    decoded,
    leftovers,
    moving,
    number_of,
    painted_pixels,
    with_sound,
    write_clip,
)
from tests.anonymize.test_encoding import write

COMMON = ["--generator=blur", "--identity-check=off", "--check-detector=same"]
SQUARES = "--detector=tests.anonymize.anonymize_fixtures.SquareDetector"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DP3_CACHE", str(tmp_path_factory.mktemp("cache")))


def anonymize(*arguments: str | Path) -> int:
    return anonymize_command([*map(str, arguments), SQUARES, *COMMON])


def clean(path: Path) -> bool:
    return not any(painted_pixels(frame).any() for frame in decoded(path))


# Names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["12:30 clip.mp4", "file:x.mp4", "http:x.mkv", "a%03d:.mp4"])
def test_colons_in_names_without_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = write_clip(tmp_path / f"plain{Path(name).suffix}", moving(4))
    with_sound(plain, tmp_path / "sound.mp4", 0.4).rename(name)
    assert anonymize(name, "-o", "x.mp4", "--audio", "copy") == 0
    assert clean(tmp_path / "x.mp4")
    assert anonymize("x.mp4", "-o", f"out-{name}") == 0
    assert len(VideoReader(f"out-{name}")) == 4
    os.mkdir("clips")
    assert anonymize(name, "-o", "clips") == 0
    assert leftovers(tmp_path) == []


def test_names_that_the_terminal_cannot_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(4))
    names = ["名前.mp4", os.fsdecode(b"caf\xe9.mp4")]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(source.read_bytes())
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="cp1252") for _ in range(2))
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        output = tmp_path / f"{number}-{name}"
        arguments = ["anonymize", str(tmp_path / name), "-o", str(output), "--report"]
        with pytest.raises(SystemExit) as ended:
            cli.main([*arguments, SQUARES, *COMMON])
        assert ended.value.code == 0
        assert clean(output)
        assert output.with_name(f"{output.name}.dp3.html").is_file()
        out.flush()
        assert b"4 frames" in out.buffer.getvalue()  # type: ignore[attr-defined]


# What is left out, what older kinds become --------------------------------------------------------


@pytest.fixture
def camera(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    write(folder / "ok.mp4")
    write(folder / "cam.MTS").rename(folder / "cam.MTS")
    write(folder / "b.3gp")
    write(folder / "deep" / "old.mpg", "mpeg2video", options={"qmin": "1", "b": "8000000"})
    (folder / "c.heic").write_bytes(b"x")
    (folder / "notes.txt").write_bytes(b"x")
    (folder / ".hidden.mp4").write_bytes(b"x")
    (folder / "ok.mp4.dp3.json").write_bytes(b"{}")
    return folder


def test_a_folder_of_a_camera(
    camera: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert anonymize(camera, "-o", out) == 0
    made = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.suffix != ".json"}
    assert made == {"ok.mp4", "cam.MTS", "b.3gp.mp4", "deep", "deep/old.mpg.mp4"}
    assert all(clean(out / name) for name in made if "." in name)
    told = capsys.readouterr().out
    assert "left out:" in told
    assert "c.heic (cannot be read: convert it to .jpg or .png)" in told
    assert "notes.txt (neither video nor picture" in told
    assert ".hidden.mp4 (hidden)" in told
    assert "dp3.json (" not in told
    capsys.readouterr()
    assert anonymize(camera, "-o", out) == 0
    assert "already done" in capsys.readouterr().out


def test_what_lies_in_the_output_folder_is_not_listed(camera: Path) -> None:
    (camera / "out").mkdir()
    (camera / "out" / "left.txt").write_bytes(b"x")
    names = [path.name for path, _ in left_out([camera], camera / "out")]
    assert names == [".hidden.mp4", "c.heic", "notes.txt"]
    names = [path.name for path, _ in left_out([str(camera / "*")], camera / "out")]
    assert names == ["c.heic", "notes.txt"]
    assert left_out([camera / "ok.mp4"], camera / "out") == []


@pytest.mark.parametrize(
    "suffix",
    ["mts", "m2ts", "3gp", "vob", "wmv", "flv", "mpe", "m2t", "ogv", "asf", "f4v", "mxf", "MPG"],
)
def test_suffixes_that_are_read(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(b"x")
    (pair,) = pair_files([tmp_path], tmp_path / "out")
    kept = suffix in ("mts", "m2ts", "m2t")
    assert pair.output.name == (f"a.{suffix}" if kept else f"a.{suffix}.mp4")
    assert not pair.is_picture


# Ctrl-C -------------------------------------------------------------------------------------------


class Interrupted(SquareDetector):
    """Somebody presses Ctrl-C when a frame of some number, with or without a face, is seen."""

    def __init__(self, number: int = 3, painted: bool = True) -> None:
        super().__init__("squares")
        self.number, self.painted = number, painted

    def find(self, frame: UInt8Array) -> list[Detection]:
        found = super().find(frame)
        if number_of(frame) == self.number and bool(found) == self.painted:
            os.kill(os.getpid(), signal.SIGINT)
        return found


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Take Ctrl-C as in a terminal: started in the background, a process ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("painted", [True, False], ids=["plan", "check"])
def test_ctrl_c_gives_one_line_and_the_next_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], painted: bool
) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(8))
    detector = [
        "--detector=tests.anonymize.test_any_file.Interrupted",
        f"--detector.painted={painted}",
    ]
    arguments = [str(source), "-o", str(tmp_path / "out.mp4"), *COMMON]
    assert anonymize_command([*arguments, *detector]) == 130
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert "the same command goes on" in told[0]
    assert not (tmp_path / "out.mp4").exists()
    assert anonymize_command([*arguments, SQUARES]) == 0
    assert clean(tmp_path / "out.mp4")
    assert leftovers(tmp_path) == []
