"""Faces in frames: detect, follow, crop, recognise, composite."""

from dp3_lightning.faces.detector import CenterFace

__all__ = ["CenterFace"]
