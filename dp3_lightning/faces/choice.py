"""Detectors by name, and what a record should say about one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dp3_lightning.faces.detector import CenterFace
from dp3_lightning.faces.dsfd import DSFD
from dp3_lightning.faces.pyramid import PyramidDetector
from dp3_lightning.faces.union import UnionDetector
from dp3_lightning.faces.yunet import YuNet
from dp3_lightning.structures import FaceDetector

DEFAULT_DETECTOR = "fast"
_FINER = 1.5  # of the frame's size, at which the thorough detector looks with YuNet


def _centerface(turned: bool = False) -> PyramidDetector:
    net = CenterFace(max_side=None, min_side=None, runtime="auto")
    return PyramidDetector(net, turned=turned)


def _yunet(threshold: float = 0.4, finest: float = 1.0, turned: bool = False) -> PyramidDetector:
    return PyramidDetector(YuNet(threshold, max_side=None), finest, turned=turned)


_DETECTORS: dict[str, Callable[[], Any]] = {
    "fast": _centerface,
    "thorough": lambda: UnionDetector(
        [_centerface(turned=True), _yunet(finest=_FINER, turned=True)]
    ),
    "centerface": _centerface,
    "yunet": _yunet,
    "dsfd": DSFD,
}
DETECTOR_NAMES = tuple(_DETECTORS)


def detector_named(name: str) -> FaceDetector:
    """Return a detector that finds small and large faces, whatever the size of the frame.

    Args:
        name: ``fast`` (CenterFace), ``thorough`` (CenterFace and YuNet, upside down and sideways
            too), ``centerface``, ``yunet`` or ``dsfd``; capitals do not matter.

    Raises:
        ValueError: no such name; lists the names.
    """
    build = _DETECTORS.get(name.strip().lower())
    if build is None:
        raise ValueError(
            f"No detector is called {name!r}: choose one of {', '.join(DETECTOR_NAMES)}, or give "
            "the dotted path of a class of your own (my_package.MyDetector)."
        )
    detector: FaceDetector = build()
    return detector


def detector_of_another_family(detector: FaceDetector) -> FaceDetector:
    """Return a detector that misses other faces than the given one, at full resolution."""
    if getattr(detector, "family", "") == "yunet":
        return _centerface()
    return _yunet()


def describe_detector(detector: FaceDetector, size: tuple[int, int]) -> dict[str, Any]:
    """Return plain values for records.

    Args:
        detector: any face detector.
        size: ``(height, width)`` of the frames.
    """
    smallest = getattr(detector, "smallest_face", None)
    return {
        "name": detector.name,
        "models_sha256": dict(getattr(detector, "files", {})),
        "threshold": getattr(detector, "threshold", None),
        "smallest_face": None if smallest is None else round(float(smallest(*size)), 1),
    }
