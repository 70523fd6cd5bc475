from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from dp3_lightning.assets import ASSETS, Asset
from dp3_lightning.cli import main as cli
from dp3_lightning.generators import StyleGANUnet, load_generator


def run(*arguments: str) -> object:
    with pytest.raises(SystemExit) as stop:
        cli.main(list(arguments))
    return stop.value.code


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "trained.ckpt"
    state = StyleGANUnet.from_preset("tiny32").state_dict()
    torch.save({"EMA_generator": state, "D_optimizer": {"state": {}}}, path)
    return path


def test_list_names_terms_and_places(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("weights", "list") == 0
    printed = capsys.readouterr().out
    for name in ("fdf128", "fdf256", "fdh_cse", "fdh_nocse", "non-commercial", "cached"):
        assert name in printed


def test_get_fetches_once_and_says_the_terms(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    checkpoint: Path,
) -> None:
    asset = Asset(
        "fdf128",
        "weights",
        "toy",
        "do not sell",
        urls=(checkpoint.as_uri(),),
        filename="fdf128.ckpt",
        md5=hashlib.md5(checkpoint.read_bytes()).hexdigest(),
    )
    monkeypatch.setitem(ASSETS, "fdf128", asset)
    monkeypatch.setenv("DP3_CACHE", str(tmp_path / "cache"))
    assert run("weights", "get", "fdf128") == 0
    printed = capsys.readouterr()
    assert Path(printed.out.strip()).read_bytes() == checkpoint.read_bytes()
    assert "do not sell" in printed.err
    assert run("weights", "get", "fdf128") == 0
    assert "do not sell" not in capsys.readouterr().err
    assert run("weights", "check", str(checkpoint)) == 0
    assert "origin  fdf128" in capsys.readouterr().out


def test_get_of_an_unknown_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean fdf256" in str(run("weights", "get", "fdf25"))


def test_check_says_what_a_file_holds(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("weights", "check", str(checkpoint)) == 0
    printed = capsys.readouterr().out
    assert hashlib.sha256(checkpoint.read_bytes()).hexdigest() in printed
    for part in ("not one of the published", "preset  tiny32", "centres no", "D_optimizer"):
        assert part in printed
    damaged = tmp_path / "cut.ckpt"
    damaged.write_bytes(checkpoint.read_bytes()[:5000])
    assert run("weights", "check", str(damaged)) == 1
    assert "damaged" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["export"], ["weights", "convert"]])
def test_export_and_convert(checkpoint: Path, tmp_path: Path, command: list[str]) -> None:
    manifest = tmp_path / "list.jsonl"
    manifest.write_text("{}")
    target = tmp_path / "out.safetensors"
    options = ["--licence", "mine", "--data", str(manifest)]
    assert run(*command, str(checkpoint), str(target), *options) == 0
    loaded, source = load_generator(target).state_dict(), load_generator(checkpoint).state_dict()
    assert all(torch.equal(v, source[k]) for k, v in loaded.items())
    assert hashlib.sha256(b"{}").hexdigest().encode() in target.read_bytes()


def test_export_to_an_unknown_suffix(checkpoint: Path, tmp_path: Path) -> None:
    assert "No format for the suffix '.bin'" in str(
        run("export", str(checkpoint), str(tmp_path / "x.bin"))
    )
