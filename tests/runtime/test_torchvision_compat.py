"""Each case in a fresh interpreter: what was imported before matters."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
import torch

from dp3_lightning.runtime.torchvision_compat import _nms

HAS_TORCHVISION = importlib.util.find_spec("torchvision") is not None


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_package_makes_its_dependencies_importable() -> None:
    result = run("import dp3_lightning, torchmetrics, pytorch_lightning; print('fine')")
    assert result.stdout.strip() == "fine", result.stderr[-1000:]


@pytest.mark.skipif(not HAS_TORCHVISION, reason="torchvision is not installed")
def test_lpips_and_torchvision_models_work() -> None:
    code = (
        "import dp3_lightning, torch, lpips, torchvision\n"
        "model = lpips.LPIPS(net='alex', pnet_rand=True, verbose=False)\n"
        "print(model(torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64)).shape)\n"
        "print(torchvision.models.mobilenet_v2(weights=None)(torch.zeros(1, 3, 64, 64)).shape)\n"
    )
    result = run(code)
    assert "torch.Size([1, 1000])" in result.stdout, result.stderr[-1000:]


@pytest.mark.skipif(not HAS_TORCHVISION, reason="torchvision is not installed")
def test_sound_torchvision_is_left_alone() -> None:
    code = (
        "import torch\n"
        "try:\n"
        "    import torchvision\n"
        "except RuntimeError:\n"
        "    print('broken')\n"
        "else:\n"
        "    import dp3_lightning.runtime.torchvision_compat as compat\n"
        "    print('changed' if compat._LIBRARIES else 'untouched')\n"
    )
    assert run(code).stdout.strip() in ("broken", "untouched")


def test_absent_torchvision_is_fine() -> None:
    code = (
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda n, *a: None if n == 'torchvision' else find(n, *a)\n"
        "import dp3_lightning.runtime.torchvision_compat as compat\n"
        "print(compat.install())\n"
    )
    assert run(code).stdout.strip() == "False"


def test_nms_keeps_the_best_of_overlapping_boxes() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]])
    assert _nms(boxes, torch.tensor([0.5, 0.9, 0.7]), 0.5).tolist() == [1, 2]
    assert _nms(boxes, torch.tensor([0.5, 0.9, 0.7]), 0.9).tolist() == [1, 2, 0]
    assert _nms(boxes[:0], torch.zeros(0), 0.5).tolist() == []


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, dp3_lightning; print('torch' in sys.modules, 'numpy' in sys.modules)"
    assert run(code).stdout.strip() == "False False"


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_plain_questions_are_answered_without_torch(option: str) -> None:
    code = (
        "import sys\n"
        "from dp3_lightning.cli.main import main\n"
        f"main(['{option}'])\n"
        "print('torch' in sys.modules)"
    )
    assert run(code).stdout.strip().endswith("False")


@pytest.mark.skipif(not HAS_TORCHVISION, reason="torchvision is not installed")
def test_torchvision_is_repaired_whoever_imports_it_first() -> None:
    result = run("import dp3_lightning, torch, torchvision.ops; print('fine')")
    assert result.stdout.strip() == "fine", result.stderr[-1000:]
