"""OpenVINO is imported without what reports its use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dp3_lightning
from dp3_lightning.runtime.openvino import has_openvino, import_openvino, shared_core

needs_openvino = pytest.mark.skipif(not has_openvino(), reason="openvino is not installed")


def answer_of(code: str) -> Any:
    """What a fresh process prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# Sockets that tell: whoever sends something is found out, also where it would swallow the error.
CODE = """
import json, socket, sys, threading
tried = []
def refuse(*a, **k):
    tried.append(repr(a))
    raise OSError("no network")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
from dp3_lightning.runtime.openvino import import_openvino
openvino = import_openvino()
again = import_openvino()
import numpy as np
from openvino import opset8 as ops
x = ops.parameter([2, 3], np.float32)
model = openvino.Model([ops.relu(x)], [x], "net")
run = openvino.Core().compile_model(model, "CPU")
out = next(iter(run([np.float32([[-1, 2, -3], [4, -5, 6]])]).values())).tolist()
for thread in threading.enumerate():
    if thread is not threading.current_thread():
        thread.join(2)
module = sys.modules.get("openvino_telemetry")
print()
print(json.dumps({
    "telemetry": module is not None,
    "parts": [n for n in sys.modules if n.startswith("openvino_telemetry.")],
    "same": again is openvino, "out": out, "tried": tried}))
"""


@needs_openvino
def test_openvino_works_and_reports_nothing() -> None:
    found = answer_of(CODE)
    assert found == {
        "telemetry": False,
        "parts": [],
        "same": True,
        "out": [[0, 2, 0], [4, 0, 6]],
        "tried": [],
    }


@needs_openvino
def test_what_the_package_imports_of_it_reports_nothing_either() -> None:
    code = (
        "import json, sys, dp3_lightning.cli.main, dp3_lightning.faces, dp3_lightning.generators\n"
        "from dp3_lightning.faces.mesh import FaceMesh\n"
        "FaceMesh()\n"
        "print(json.dumps(sys.modules.get('openvino_telemetry') is not None))"
    )
    assert answer_of(code) is False


@needs_openvino
def test_there_is_one_core_and_nobody_makes_another() -> None:
    """A core that is dropped frees the stack that signals of another thread are handled on."""
    assert shared_core() is shared_core()
    package = Path(dp3_lightning.__file__).parent
    makers = [p.name for p in package.rglob("*.py") if "Core()" in p.read_text(encoding="utf-8")]
    assert makers == ["openvino.py"]


def test_without_openvino_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n == "openvino" or n.startswith("openvino.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "openvino_telemetry", None)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "meta_path", [])
    with pytest.raises(ModuleNotFoundError, match="openvino"):
        import_openvino()
