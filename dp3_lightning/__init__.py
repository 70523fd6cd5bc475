"""dp3_lightning: fine-tune DeepPrivacy2 on video with PyTorch Lightning, and anonymize video."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp3_lightning.runtime import before_torchvision

if TYPE_CHECKING:
    from dp3_lightning.anonymize import anonymize_video

before_torchvision.watch()  # before anything that imports torchvision; see torchvision_compat

__version__ = "0.1.0"

__all__ = ["__version__", "anonymize_video"]


def __getattr__(name: str) -> object:
    """Import heavy names when they are first used: `dp3 --help` must not wait for torch."""
    if name == "anonymize_video":
        from dp3_lightning.anonymize import anonymize_video

        return anonymize_video
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
