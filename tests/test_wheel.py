"""The built wheel holds what users need, and nothing else."""

from __future__ import annotations

import importlib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    pytest.importorskip("hatchling", reason="the extra `dev` brings the build backend")
    build = importlib.import_module("hatchling.build")
    folder = tmp_path_factory.mktemp("wheel")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # build backends build the folder they run in
        name = build.build_wheel(str(folder))
    return zipfile.ZipFile(folder / name)


def test_the_wheel_is_typed_and_whole(wheel: zipfile.ZipFile) -> None:
    inside = set(wheel.namelist())
    assert "dp3_lightning/py.typed" in inside
    assert {
        p.relative_to(ROOT).as_posix() for p in (ROOT / "dp3_lightning").rglob("*.py")
    } <= inside
    weights = ROOT / "dp3_lightning/generators/face_prior/weights"
    assert {p.relative_to(ROOT).as_posix() for p in weights.glob("*.safetensors")} <= inside
    configs = {p.relative_to(ROOT).as_posix() for p in (ROOT / "configs").rglob("*.yaml")}
    assert {f"dp3_lightning/{name}" for name in configs} <= inside


def test_the_wheel_has_no_other_packages(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"dp3_lightning"}


def test_the_wheel_says_who_made_it_under_which_licence(wheel: zipfile.ZipFile) -> None:
    (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    text = wheel.read(metadata).decode()
    assert "License-Expression: Apache-2.0" in text
    assert "License-File: LICENSE-WEIGHTS" in text
    assert "Project-URL: " in text
    assert "Classifier: Typing :: Typed" in text
