"""Import OpenVINO with its telemetry switched off."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import cache
from typing import Any, cast


def has_openvino() -> bool:
    """Return whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


def import_openvino() -> Any:
    """Import OpenVINO with its telemetry off.

    Importing it sends an event by the package ``openvino_telemetry``. Where that cannot be
    imported, OpenVINO uses a stub of its own, which does nothing.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", cast(Any, None))  # an import then fails
    return importlib.import_module("openvino")


@cache
def shared_core() -> Any:
    """Return the process's one OpenVINO core, which lives until the process ends.

    Its CPU plugin gives the thread that loads it a stack for signals, and frees that stack with the
    last core, maybe from another thread. The next signal then kills the process: so did a loader
    worker's end, in trainings after inference.

    Raises:
        ModuleNotFoundError: OpenVINO is not installed.
    """
    return import_openvino().Core()
