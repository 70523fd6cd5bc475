"""Find what any of several detectors finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dp3_lightning.faces.tiling import merge
from dp3_lightning.structures import Detection, UInt8Array


class UnionDetector:
    """Reports every face that one of several detectors finds, once.

    Args:
        detectors: the first one is the main one: the check takes a detector of another family.

    Attributes:
        name: encodes everything that changes the answers.
        family: of the main detector.
        files: hashes of all models.

    Raises:
        ValueError: no detectors.
    """

    def __init__(self, detectors: Sequence[Any]) -> None:
        if not detectors:
            raise ValueError("Expected at least one detector in `detectors`, got none.")
        self.detectors = list(detectors)
        self.name = "+".join(detector.name for detector in self.detectors)
        self.family = str(getattr(self.detectors[0], "family", ""))
        self.files: dict[str, str] = {}
        for detector in self.detectors:
            self.files |= getattr(detector, "files", {})
        self.threshold = [getattr(detector, "threshold", None) for detector in self.detectors]

    def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
        """Detect faces; see :class:`dp3_lightning.structures.FaceDetector`."""
        answers = [detector(frames) for detector in self.detectors]
        frame_answers = zip(*answers, strict=True)
        return [merge([face for part in parts for face in part]) for parts in frame_answers]

    def smallest_face(self, height: int, width: int) -> float:
        """Return the height in pixels of the smallest face that is found in frames of a size."""
        asked = [d for d in self.detectors if hasattr(d, "smallest_face")]
        return min((d.smallest_face(height, width) for d in asked), default=float("nan"))
