"""Make ``import torchvision`` work where its compiled operators cannot load, and no more.

The default torchvision wheel is built for CUDA. Beside a CPU build of torch its ``_C`` library
misses ``libcudart`` and is skipped, after which ``import torchvision`` dies with ``operator
torchvision::nms does not exist``. torchmetrics, lpips and pytorch_lightning import torchvision as
soon as it is installed and die with it. Declaring the two operators that torchvision registers fake
kernels for is enough to get past that; ``nms`` also gets a plain Python kernel.

Where torchvision loads, or is absent, this file changes nothing. It must run before the first
import of torchvision, also by torchmetrics, lpips or pytorch_lightning: ``before_torchvision``
sees to that from ``dp3_lightning/__init__.py`` on.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# Libraries stay registered as long as these objects live.
_LIBRARIES: list[torch.library.Library] = []


def _nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return the indices of boxes that non-maximum suppression keeps, best score first."""
    order = scores.argsort(descending=True).tolist()
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    for i in order:
        if kept:
            others = boxes[kept]
            low = torch.maximum(boxes[i, :2], others[:, :2])
            high = torch.minimum(boxes[i, 2:], others[:, 2:])
            shared = (high - low).clamp_min(0).prod(dim=1)
            if (shared / (areas[i] + areas[kept] - shared) > iou_threshold).any():
                continue
        kept.append(i)
    return torch.tensor(kept, dtype=torch.long)


def _compiled_library() -> Path | None:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        if (folder / f"_C{suffix}").exists():
            return folder / f"_C{suffix}"
    return folder / "_C.so" if (folder / "_C.so").exists() else None


def install() -> bool:
    """Declare the missing operators when torchvision's library cannot load.

    Returns:
        True when something was declared, False when nothing needed it.
    """
    if _LIBRARIES or "torchvision" in sys.modules:
        return bool(_LIBRARIES)
    if importlib.util.find_spec("torchvision") is None:
        return False
    library = _compiled_library()
    if library is not None:
        try:
            ctypes.CDLL(str(library))
        except OSError:
            pass
        else:
            return False
    library_of: Any = torch.library.Library  # its methods carry no types
    definitions = library_of("torchvision", "DEF")
    definitions.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    definitions.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    kernels = library_of("torchvision", "IMPL", "CPU")
    kernels.impl("nms", _nms)
    _LIBRARIES.extend([definitions, kernels])
    return True
