"""Check whether this installation is sound, and say how to repair it: ``dp3 doctor``."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from dp3_lightning import __version__
from dp3_lightning.cli.main import other_lightning_command
from dp3_lightning.runtime import torchvision_compat

REPAIR = "pip install --force-reinstall --no-deps dp3-lightning"


def lightning_script_owner() -> str:
    """Return the module that owns this environment's ``lightning`` script, or ``nobody``."""
    script = Path(sys.executable).parent / "lightning"
    if not script.exists():
        found = shutil.which("lightning")
        if found is None:
            return "nobody"
        script = Path(found)
    text = script.read_text(errors="replace")
    imports = [line.split()[1] for line in text.splitlines() if line.startswith("from ")]
    return imports[0] if imports else "unknown"


def _check_script() -> tuple[bool, str]:
    owner = lightning_script_owner()
    if owner.startswith("dp3_lightning"):
        other = other_lightning_command()
        hands_on = f"; other commands are passed on to {other.value}" if other else ""
        return True, f"`lightning run fit` is ours{hands_on}"
    return False, (
        f"the `lightning` script belongs to {owner}: the last package installed owns it. Use "
        f"`dp3 fit`, or repair it with: {REPAIR}"
    )


def _check_torchvision() -> tuple[bool, str]:
    if importlib.util.find_spec("torchvision") is None:
        return True, "torchvision is absent; LPIPS and RAFT need it"
    if torchvision_compat.install():
        return True, "torchvision's compiled operators cannot load here; stand-ins are in place"
    return True, "torchvision loads"


def _check_lightning() -> tuple[bool, str]:
    try:
        version = importlib.metadata.version("lightning")
    except importlib.metadata.PackageNotFoundError:
        return True, f"pytorch-lightning {importlib.metadata.version('pytorch-lightning')}"
    bad = version in ("2.6.2", "2.6.3")
    note = " (a withdrawn malicious upload: uninstall it now)" if bad else ""
    return (
        not bad,
        f"the package `lightning` {version} is installed too{note}; we use pytorch-lightning",
    )


def _check_opencv() -> tuple[bool, str]:
    names = {d.metadata["Name"] for d in importlib.metadata.distributions()}
    wheels = sorted(n for n in names if n and n.startswith("opencv-"))
    if len(wheels) > 1:
        return False, (
            f"{' and '.join(wheels)} overwrite each other: uninstall both, then "
            "pip install opencv-python-headless"
        )
    return True, ", ".join(wheels)


def _check_device() -> tuple[bool, str]:
    import torch

    if torch.cuda.is_available():
        return True, f"torch {torch.__version__}, {torch.cuda.get_device_name(0)}"
    return True, f"torch {torch.__version__}, no CUDA device"


CHECKS: tuple[Callable[[], tuple[bool, str]], ...] = (
    _check_device,
    _check_lightning,
    _check_torchvision,
    _check_opencv,
    _check_script,
)


def report() -> int:
    """Print one line per check; return 1 when one failed."""
    print(f"dp3_lightning {__version__}, Python {sys.version.split()[0]}")
    sound = True
    for check in CHECKS:
        good, text = check()
        sound = sound and good
        print(f"{'ok  ' if good else 'FIX '} {text}")
    return 0 if sound else 1
