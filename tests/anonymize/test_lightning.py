from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import yaml
from pytorch_lightning import Trainer

from dp3_lightning.anonymize import Settings, anonymize_video
from dp3_lightning.modules import Anonymizer, MediaFiles
from tests.anonymize.anonymize_fixtures import (
    Failing,
    FailsOnTheRight,
    NeverSatisfied,
    SquareDetector,
    decoded,
    done,
    moving,
    painted_pixels,
    settings,
    tiny32,
    write_clip,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DP3_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for number, name in enumerate(("a.mp4", "b.mp4", "deep/c.mp4", "deep/d.mp4")):
        write_clip(folder / name, moving(5 + number))
    return folder


@pytest.fixture
def weights(tmp_path: Path) -> str:
    path = tmp_path / "weights.ckpt"
    torch.save(tiny32().net.state_dict(), path)
    return str(path)


def predict(
    folder: Path, output: Path, detector: SquareDetector, generator: str, chosen: Settings
) -> None:
    trainer = Trainer(
        accelerator="cpu", devices=1, logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, default_root_dir=output.parent,
    )  # fmt: skip
    model = Anonymizer(generator, chosen, detector)
    files = MediaFiles(str(folder), str(output))
    trainer.predict(model, datamodule=files, return_predictions=False)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_files_come_out_as_from_the_single_run(folder: Path, tmp_path: Path, weights: str) -> None:
    # x264's tree of macroblocks reads beyond so small a picture: not the same every time.
    chosen = settings(seed=3, encoder_options={"x264-params": "no-mbtree=1"})
    predict(folder, tmp_path / "out", SquareDetector(), weights, chosen)
    for name in ("a.mp4", "deep/d.mp4"):
        single = tmp_path / "single.mp4"
        source = folder / name
        anonymize_video(source, single, weights, settings=chosen, detector=SquareDetector())
        assert single.read_bytes() == (tmp_path / "out" / name).read_bytes()
        assert not any(painted_pixels(f).any() for f in decoded(single))
        single.unlink()
    made = sorted(
        p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.mp4")
    )
    assert made == ["a.mp4", "b.mp4", "deep/c.mp4", "deep/d.mp4"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_failing_file_raises_at_the_end_and_the_others_are_done(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "b.mp4").write_bytes(b"no video at all")
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"1 files were not anonymized safely(.|\n)*b\.mp4"):
        predict(folder, out, SquareDetector(), "blur", settings())
    for name in ("a.mp4", "deep/c.mp4", "deep/d.mp4"):
        assert done(folder / name, out / name)
    assert not (out / "b.mp4").exists()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_detector_that_is_broken_in_one_file_does_not_stop_the_others(
    folder: Path, tmp_path: Path
) -> None:
    write_clip(folder / "b.mp4", moving(3, start=60))
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"1 files were not anonymized safely(.|\n)*b\.mp4"):
        predict(folder, out, FailsOnTheRight(), "blur", settings())
    assert done(folder / "deep/d.mp4", out / "deep/d.mp4")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("detector", [NeverSatisfied(), Failing([2], painted=False)])
def test_faces_that_may_be_left_raise_at_the_end(
    folder: Path, tmp_path: Path, detector: SquareDetector
) -> None:
    with pytest.raises(ValueError, match=r"4 files(.|\n)*faces may be left"):
        predict(folder, tmp_path / "out", detector, "blur", settings())


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_done_is_not_done_again(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(folder, out, SquareDetector(), "blur", settings())
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.*")}
    (out / "a.mp4").write_bytes(b"damaged afterwards")
    with pytest.raises(ValueError, match=r"a\.mp4.*exists"):
        predict(folder, out, SquareDetector(), "blur", settings())
    after = {p: p.stat().st_mtime_ns for p in out.rglob("*.*")}
    assert {p for p in before if before[p] != after[p]} == {out / "a.mp4"}


def run_processes(
    folder: Path,
    output: Path,
    log: Path,
    devices: int = 2,
    start: Sequence[str] = ("-m", "dp3_lightning"),
) -> subprocess.CompletedProcess[str]:
    config = {
        "trainer": {
            "accelerator": "cpu", "devices": devices, "strategy": "ddp", "logger": False,
            "enable_progress_bar": False, "default_root_dir": str(output.parent),
        },
        "model": {
            "class_path": "Anonymizer",
            "init_args": {
                "generator": "blur",
                "detector": {"class_path": "tests.anonymize.anonymize_fixtures.LogsItself"},
                "settings": {"check": {"identity_check": "off", "check_detector": "same"}},
            },
        },
        "data": {
            "class_path": "MediaFiles",
            "init_args": {"source": str(folder), "output": str(output)},
        },
    }  # fmt: skip
    path = output.parent / "config.in.yaml"
    path.write_text(yaml.safe_dump(config))
    environment = os.environ | {
        "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "DP3_TEST_LOG": str(log),
        "DP3_CACHE": str(output.parent / "cache"),
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, *start, "predict", "--config", str(path)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_two_processes_share_the_files_and_fail_together(folder: Path, tmp_path: Path) -> None:
    write_clip(folder / "deep/e.mp4", moving(10))
    (folder / "b.mp4").write_bytes(b"no video at all")
    out, log = tmp_path / "out", tmp_path / "log"
    result = run_processes(folder, out, log)
    assert result.returncode != 0
    assert "1 files were not anonymized safely" in result.stderr
    good = ("a.mp4", "deep/c.mp4", "deep/d.mp4", "deep/e.mp4")
    for name in good:
        assert done(folder / name, out / name)
        record = json.loads((out / f"{name}.dp3.json").read_text())
        assert record["safe"]
        assert not any(painted_pixels(f).any() for f in decoded(out / name))
    seen = [line.split() for line in log.read_text().splitlines()]
    assert len({process for process, _ in seen}) == 2
    frames = [len(decoded(folder / name)) for name in good]
    assert len(seen) == sum(frames)  # every frame with a face by one process, once


@pytest.mark.slow
def test_one_file_and_two_processes(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_clip(tmp_path / "in/a.mp4", moving(5))
    result = run_processes(tmp_path / "in", tmp_path / "out", tmp_path / "log")
    assert result.returncode == 0, result.stderr[-3000:]
    assert done(tmp_path / "in/a.mp4", tmp_path / "out/a.mp4")


# A thread of Gloo that outlives the run may abort the interpreter's end.
NAMES_OF_THREADS = """
import sys
from collections.abc import Sequence
from pathlib import Path
from dp3_lightning.cli.train import run
run(sys.argv[1:])
print("threads:", *[f.read_text().strip() for f in Path("/proc/self/task").glob("*/comm")])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="names of threads are read from /proc")
def test_a_run_leaves_no_thread_of_its_process_group(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_clip(tmp_path / "in/a.mp4", moving(2))
    start = ("-c", NAMES_OF_THREADS)
    result = run_processes(tmp_path / "in", tmp_path / "out", tmp_path / "log", 1, start)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "distributed_backend=gloo" in result.stderr
    threads = result.stdout.rpartition("threads:")[2]
    assert "python" in threads
    assert "gloo" not in threads
