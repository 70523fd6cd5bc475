"""Repair torchvision at its first import, not before: `dp3 --help` must not wait for torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class BeforeTorchvision(MetaPathFinder):
    """Runs :func:`torchvision_compat.install` just before torchvision is imported, once."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find nothing; leave the import to the other finders."""
        if fullname == "torchvision":
            forget()
            from dp3_lightning.runtime import torchvision_compat

            torchvision_compat.install()
        return None


def watch() -> None:
    """Wait for the first import of torchvision, unless it happened already."""
    watched = any(isinstance(finder, BeforeTorchvision) for finder in sys.meta_path)
    if "torchvision" not in sys.modules and not watched:
        sys.meta_path.insert(0, BeforeTorchvision())


def forget() -> None:
    """Stop waiting."""
    sys.meta_path[:] = [f for f in sys.meta_path if not isinstance(f, BeforeTorchvision)]
