"""Detect faces by DSFD, DeepPrivacy2's detector, where its package is installed."""

from __future__ import annotations

from typing import Any

import numpy as np

from dp3_lightning.checks import check_between
from dp3_lightning.structures import Detection, UInt8Array


class DSFD:
    """Detect faces by DSFD (Li et al., CVPR 2019), from the package ``face_detection``.

    It is on no package index and fetches its weights at the first call: install it from its
    repository (DSFD-Pytorch-Inference). It wants a GPU.

    Args:
        threshold: lowest score of a reported face, in [0, 1]; DeepPrivacy2's is 0.5.
        nms_threshold: intersection over union above which two boxes are one face.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, threshold: float = 0.3, nms_threshold: float = 0.3) -> None:
        check_between(0, 1, threshold=threshold, nms_threshold=nms_threshold)
        self.threshold, self.nms_threshold = threshold, nms_threshold
        self.name = f"dsfd-t{threshold:g}-n{nms_threshold:g}"
        self._net: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the network out: each process builds its own."""
        return {**self.__dict__, "_net": None}

    def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
        """Detect faces in ``(H, W, 3)`` uint8 RGB frames.

        Raises:
            ModuleNotFoundError: the package is not installed; says how.
        """
        if self._net is None:
            self._net = self._build()
        return [self._detect(frame) for frame in frames]

    def _detect(self, frame: UInt8Array) -> list[Detection]:
        rows = np.asarray(self._net.detect(frame), dtype=np.float64).reshape(-1, 5)
        return [
            Detection((float(r[0]), float(r[1]), float(r[2]), float(r[3])), float(r[4]))
            for r in rows
        ]

    def _build(self) -> Any:
        try:
            import face_detection
        except ImportError as error:
            raise ModuleNotFoundError(
                f"DSFD needs the package `face_detection` ({error}): pip install a checkout of "
                "hukkelas/DSFD-Pytorch-Inference, or use CenterFace."
            ) from error
        return face_detection.build_detector(
            "DSFDDetector",
            confidence_threshold=self.threshold,
            nms_iou_threshold=self.nms_threshold,
        )
