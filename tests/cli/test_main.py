from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from jsonargparse import Namespace

from dp3_lightning.cli import main as cli
from dp3_lightning.cli.train import ROOT_REFERENCE, replace_root

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
FIT = [path for path in CONFIGS if not path.stem.startswith("anonymize")]
ABLATIONS = sorted((ROOT / "configs/ablations").glob("*.yaml"))


def printed_config(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    with pytest.raises(SystemExit) as stop:
        cli.main(["fit", *arguments, "--print_config"])
    assert stop.value.code in (0, None), capsys.readouterr().err
    return yaml.safe_load(capsys.readouterr().out)


@pytest.mark.parametrize(
    "room", ["", "dp3_lightning.modules.", "dp3_lightning.modules.anonymizer."]
)
def test_the_configuration_of_many_files_parses(
    room: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = (ROOT / "configs/anonymize_many.yaml").read_text()
    assert "class_path: Anonymizer" in shipped
    for name in ("Anonymizer", "MediaFiles"):
        shipped = shipped.replace(f"class_path: {name}", f"class_path: {room}{name}")
    (tmp_path / "many.yaml").write_text(shipped)
    with pytest.raises(SystemExit):
        cli.main(["predict", "--config", str(tmp_path / "many.yaml"), "--print_config"])
    config = yaml.safe_load(capsys.readouterr().out)
    place = room or "dp3_lightning.anonymize.lightning."
    assert config["model"]["class_path"] == f"{place}Anonymizer"
    assert config["data"]["class_path"] == f"{place}MediaFiles"
    assert config["model"]["init_args"]["settings"]["render"]["propagation"] == "adaptive"


@pytest.mark.parametrize("path", FIT, ids=lambda p: p.stem)
def test_every_configuration_parses(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = printed_config(capsys, "--config", str(path))
    assert config["model"]["class_path"] == "dp3_lightning.modules.VideoFineTuner"


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda p: p.stem)
def test_every_ablation_adds_its_term(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ROOT / "configs/baseline.yaml"
    plain = printed_config(capsys, "--config", str(base))["trainer"]["callbacks"]
    more = printed_config(capsys, "--config", str(base), "--config", str(path))["trainer"][
        "callbacks"
    ]
    assert len(more) == len(plain) + 1
    assert more[-1]["class_path"].endswith(
        f"{yaml.safe_load(path.read_text())['trainer']['callbacks+'][0]['class_path']}"
    )


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_key_of_the_serious_configurations_is_explained(path: Path) -> None:
    if path.stem in ("quickstart", "small_generator"):
        return
    section = (
        "trainer:",
        "model:",
        "data:",
        "init_args:",
        "- class_path:",
        "class_path:",
        "generator:",
        "discriminator:",
    )
    for line in path.read_text().splitlines():
        text = line.strip()
        if text and not text.startswith("#") and "#" not in text:
            assert text.startswith(section), f"no comment: {text!r}"


def test_serious_configurations_differ_in_the_losses_only() -> None:
    full, base = (
        yaml.safe_load((ROOT / f"configs/{name}.yaml").read_text())
        for name in ("deep_privacy2", "baseline")
    )
    assert full["model"] == base["model"]
    assert full["data"] == base["data"]
    assert len(full["trainer"]["callbacks"]) > len(base["trainer"]["callbacks"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["fit", "--config", "configs/small_generator.yaml", "--model.generatr_lr", "3"],
            "generatr_lr",
        ),
        (["fit", "--config", "no_such.yaml"], "no_such.yaml"),
        (
            ["fit", "--config", "configs/small_generator.yaml", "--model.generator.net", "fdf129"],
            "Did you mean 'fdf128'",
        ),
        (
            ["fit", "--config", "configs/small_generator.yaml", "--data.source", "no_such_folder"],
            "no_such_folder.*carphone",
        ),
        (
            ["fit", "--config", "configs/small_generator.yaml", "--data.source", "tests/data"],
            "No video in the folder",
        ),
        (
            ["fit", "--config", "configs/small_generator.yaml", "--model.trainable", "hair"],
            r"parts of \['decoder', .*\] joined by '\+', got 'hair' \(unknown: \['hair'\]\)",
        ),
        (
            [
                "fit",
                "--config",
                "configs/deep_privacy2.yaml",
                "--model.generator.weights",
                "no_such.ckpt",
            ],
            r"No generator weights at no_such.ckpt.*fdf128",
        ),
    ],
)
def test_user_errors_are_one_message(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("DP3_TRACEBACK", raising=False)
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as stop:
        cli.main([*arguments, "--trainer.default_root_dir", str(tmp_path)])
    text = str(stop.value.code) + capsys.readouterr().err
    assert stop.value.code not in (0, None)
    assert re.search(message, text, flags=re.DOTALL), text


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
def test_cuda_asked_for_and_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    where = ["--trainer.default_root_dir", str(tmp_path)]
    with pytest.raises(SystemExit) as stop:
        cli.main(
            [
                "fit",
                "--config",
                "configs/small_generator.yaml",
                "--trainer.accelerator",
                "gpu",
                *where,
            ]
        )
    message = str(stop.value.code)
    assert "sees no CUDA device" in message
    assert "trainer.accelerator: cpu" in message


def test_output_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as stop:
        cli.main(
            [
                "fit",
                "--config",
                "configs/small_generator.yaml",
                "--trainer.default_root_dir",
                str(blocked / "runs"),
            ]
        )
    assert "Cannot write to the output folder" in str(stop.value.code)


def test_init_copies_and_keeps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["init", str(tmp_path / "mine")])
    copied = sorted(p.relative_to(tmp_path / "mine") for p in (tmp_path / "mine").rglob("*.yaml"))
    assert copied == sorted(
        p.relative_to(ROOT / "configs") for p in (ROOT / "configs").rglob("*.yaml")
    )
    edited = tmp_path / "mine/finetune.yaml"
    edited.write_text("mine")
    cli.main(["init", str(tmp_path / "mine")])
    assert edited.read_text() == "mine"
    assert "kept" in capsys.readouterr().out


def test_lightning_run_is_ours_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[object] = []
    monkeypatch.setattr(cli, "_run_trainer", lambda arguments: ran.append(arguments))
    cli.lightning_main(["run", "fit", "--config", "x.yaml"])
    assert ran == [["fit", "--config", "x.yaml"]]
    other = SimpleNamespace(
        value="lightning_sdk.cli:main", load=lambda: lambda: ran.append("sdk") or 3
    )
    ours = SimpleNamespace(value="dp3_lightning.cli.main:lightning_main")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [ours, other])
    with pytest.raises(SystemExit) as stop:
        cli.lightning_main(["job", "--help"])
    assert stop.value.code == 3
    assert ran[-1] == "sdk"
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [ours])
    with pytest.raises(SystemExit) as stop:
        cli.lightning_main(["job", "--help"])
    assert stop.value.code == 2


def test_other_commands(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["--version"])
    cli.main([])
    cli.main(["assets"])
    printed = capsys.readouterr().out
    assert "dp3_lightning 0" in printed
    assert "lightning run fit" in printed
    assert "carphone" in printed
    with pytest.raises(SystemExit, match="unknown command 'fitt'"):
        cli.main(["fitt"])


def test_an_example_loss_of_another_project_works_from_yaml(tmp_path: Path) -> None:
    """The literal command in its own process, with a callback from outside the package."""
    from tests.modules.test_processes import config, metrics, start

    callback = {"class_path": "examples.sharpness_loss.SharpnessLoss", "init_args": {"weight": 0.5}}
    result = start(tmp_path, config(tmp_path, [callback], max_steps=2))
    assert result.returncode == 0, result.stderr[-2000:]
    assert float(metrics(tmp_path)[0]["train/generator/sharpness"]) > 0
    lines = (ROOT / "examples/sharpness_loss.py").read_text().split("class SharpnessLoss")[1]
    assert len([line for line in lines.splitlines() if line.strip()]) <= 12


def test_doctor_says_who_owns_the_script() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "dp3_lightning", "doctor"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
        cwd=ROOT,
    )
    assert "dp3_lightning" in result.stdout
    assert ("ours" in result.stdout) == (result.returncode == 0), result.stdout


def test_output_folder_is_put_where_the_configuration_refers_to_it() -> None:
    where = ROOT_REFERENCE
    config = Namespace(
        trainer=Namespace(
            default_root_dir="/runs/7",
            logger=[Namespace(class_path="A", init_args=Namespace(save_dir=where, name="csv"))],
            callbacks=[{"dict_kwargs": {"dirpath": f"{where}/checkpoints", "every": 3}}],
        )
    )
    replace_root(config, "/runs/7")
    assert config.trainer.logger[0].init_args.save_dir == "/runs/7"
    assert config.trainer.callbacks[0]["dict_kwargs"] == {
        "dirpath": "/runs/7/checkpoints",
        "every": 3,
    }


def test_every_configuration_keeps_all_files_below_the_output_folder() -> None:
    for path in FIT:
        folders = re.findall(r'(?:save_dir|dirpath): "?([^\s,"]+)', path.read_text())
        assert len(folders) == 3, path
        assert all(folder.startswith(ROOT_REFERENCE) for folder in folders), path


def run_fit(*options: str) -> str:
    """Exit message of the quickstart with further options; it must not come to training."""
    with pytest.raises(SystemExit) as stop:
        cli.main(["fit", "--config", str(ROOT / "configs/small_generator.yaml"), *options])
    return str(stop.value.code)


def test_second_run_into_the_folder_of_a_finished_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.ckpt").write_bytes(b"")
    for name in ("finetune", "deep_privacy2", "baseline"):
        where = ["--trainer.default_root_dir", str(tmp_path), "--trainer.accelerator", "cpu"]
        with pytest.raises(SystemExit) as stop:
            cli.main(["fit", "--config", str(ROOT / f"configs/{name}.yaml"), *where])
        message = str(stop.value.code)
        assert "from an earlier run" in message
        assert f"--ckpt_path {tmp_path}/checkpoints/last.ckpt" in message


def test_checkpoint_that_is_none_is_refused(tmp_path: Path) -> None:
    where = ["--trainer.default_root_dir", str(tmp_path)]
    assert "No checkpoint at" in run_fit(*where, "--ckpt_path", str(tmp_path / "none.ckpt"))
    (tmp_path / "cut.ckpt").write_bytes(b"PK\x03\x04 cut")
    assert "cut off" in run_fit(*where, "--ckpt_path", str(tmp_path / "cut.ckpt"))


MY_LOSS = """
from torch import Tensor
from dp3_lightning.callbacks import LossCallback
from dp3_lightning.structures import GeneratorStep


class DarkLoss(LossCallback):
    def compute_loss(self, step: GeneratorStep) -> Tensor:
        return (1 - step.keep_mask).mul(step.fake + 1).mean()
"""


@pytest.mark.slow
def test_loss_in_the_users_folder_is_found_by_the_installed_script(tmp_path: Path) -> None:
    """A script has its own folder on the path, not the user's."""
    from tests.modules.test_processes import config, metrics

    script = Path(sys.executable).with_name("lightning")
    if not script.is_file():
        pytest.skip("the package is not installed, so there is no script")
    (tmp_path / "my_losses.py").write_text(MY_LOSS)
    callback = {"class_path": "my_losses.DarkLoss", "init_args": {"weight": 0.5}}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config(tmp_path, [callback], max_steps=2)))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    # The tests' own data module stands in for a video.
    environment["PYTHONPATH"] = str(ROOT)
    result = subprocess.run(
        [str(script), "run", "fit", "--config", str(path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert float(metrics(tmp_path)[0]["train/generator/dark"]) > 0
