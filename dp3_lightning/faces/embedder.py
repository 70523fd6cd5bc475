"""Recognise whether two pictures show one person; to check outputs, never to draw."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from dp3_lightning.assets import ASSETS, asset_path
from dp3_lightning.structures import FloatArray, UInt8Array

# Of `benchmarks/recogniser.py`.
DLIB_EVIDENCE = (
    "below 0.6 lie 98 % of 649 picture pairs of one person and 1 of 3,179 pairs of two people "
    "(10 people of the sample clips and pictures, 45 pairs of people)"
)
_CHIP_PADDING = 0.25  # around an aligned face, of its side
_DLIB_CHIP, _LARGE_CHIP = 150, 224  # pixels; what dlib's network takes, and no other takes more
_MIN_SIDE = 40  # pixels; smaller faces are enlarged, or landmarks are not found well


class FaceEmbedder(Protocol):
    """Map faces to vectors that lie close for one person.

    Attributes:
        name: for reports.
        threshold: distance below which two faces count as one person.
    """

    name: str
    threshold: float

    def __call__(self, frame: UInt8Array, box: Sequence[float]) -> FloatArray | None:
        """Embed the face in a box of a ``(H, W, 3)`` uint8 RGB frame; None when there is none."""
        ...


class DlibEmbedder:
    """Embed faces by dlib (King, 2017): 128 numbers, Euclidean distance. Weights are CC0.

    Needs the package ``dlib`` (extra ``verify``). The models are fetched at the first call.

    Args:
        threshold: 0.6 is dlib's own. Measured on the sample clips and pictures (10 people, see
            `benchmarks/recogniser.py`): below it lie 98 % of 649 pairs of pictures of one person,
            and 1 of 3,179 pairs of two people, which are 45 pairs of people. So few people say
            little about rates under 1 in 45.

    Raises:
        ModuleNotFoundError: dlib is not installed; says how.
    """

    def __init__(self, threshold: float = 0.6) -> None:
        self._landmarks = _Landmarks("verify")
        self.name = "dlib_face_recognition_resnet_model_v1"
        names = ("dlib_face_recognition", "dlib_shape_predictor_5")
        self.files = {name: ASSETS[name].sha256 for name in names}
        self.threshold = threshold
        self.evidence = DLIB_EVIDENCE
        self._network: Any = None

    def __call__(self, frame: UInt8Array, box: Sequence[float]) -> FloatArray | None:
        """Embed a face; ``(128,)`` float64, or None for a box outside the frame."""
        found = self._landmarks(frame, box)
        if found is None:
            return None
        if self._network is None:
            path = str(asset_path("dlib_face_recognition"))
            self._network = self._landmarks.dlib.face_recognition_model_v1(path)
        crop, shape = found
        values = self._network.compute_face_descriptor(crop, shape, 0, _CHIP_PADDING)
        return np.array(values, dtype=np.float64)


class DeepFaceEmbedder:
    """Embed faces by the package DeepFace (Serengil, 2020), which fetches its own weights.

    Faces are aligned by dlib's landmarks, whatever the model, and embeddings scaled to length 1.
    DeepFace's ``Dlib`` is the network of :class:`DlibEmbedder`; it takes the same weight file, so
    that nothing else is downloaded, and needs no TensorFlow in newer versions of DeepFace.

    Args:
        model: DeepFace's name of a model: ``Dlib``, ``Facenet512``, ``ArcFace``, ``VGG-Face``, ...
        threshold: distance below which two faces count as one person; default: DeepFace's own for
            this model and scaled Euclidean distance.

    Raises:
        ModuleNotFoundError: deepface or dlib is not installed; says how.
    """

    def __init__(self, model: str = "Dlib", threshold: float | None = None) -> None:
        try:
            from deepface import DeepFace
            from deepface.modules import verification
        except ImportError as error:
            raise ModuleNotFoundError(
                "This recogniser needs DeepFace: pip install 'dp3-lightning[deepface]'."
            ) from error
        self._landmarks = _Landmarks("deepface")
        if model == "Dlib":
            _lend_weights()
        self._deepface: Any = DeepFace
        self.model, self.name = model, f"deepface_{model}"
        known = verification.find_threshold(model, "euclidean_l2")
        self.threshold = float(known if threshold is None else threshold)

    def __call__(self, frame: UInt8Array, box: Sequence[float]) -> FloatArray | None:
        """Embed a face; ``(D,)`` float64 of length 1, or None for a box outside the frame."""
        seen = self._landmarks(frame, box)
        if seen is None:
            return None
        side = _DLIB_CHIP if self.model == "Dlib" else _LARGE_CHIP
        face = self._landmarks.dlib.get_face_chip(*seen, size=side, padding=_CHIP_PADDING)
        found = self._deepface.represent(
            img_path=np.ascontiguousarray(face[..., ::-1]),  # DeepFace expects BGR
            model_name=self.model,
            detector_backend="skip",
            enforce_detection=False,
            align=False,
        )
        values = np.asarray(found[0]["embedding"], dtype=np.float64)
        unit: FloatArray = values / max(float(np.linalg.norm(values)), 1e-12)
        return unit


class _Landmarks:
    """Find five landmarks by dlib.

    Args:
        extra: of this package, to install when dlib is missing.
    """

    def __init__(self, extra: str) -> None:
        try:
            import dlib
        except ImportError as error:
            raise ModuleNotFoundError(
                f"The face recogniser needs dlib: pip install 'dp3-lightning[{extra}]'."
            ) from error
        self.dlib: Any = dlib
        self._predictor: Any = None

    def __call__(self, frame: UInt8Array, box: Sequence[float]) -> tuple[UInt8Array, Any] | None:
        """Return the surroundings of a face and its landmarks there; None outside the frame."""
        crop, inner = _around(frame, box)
        if crop is None:
            return None
        if self._predictor is None:
            self._predictor = self.dlib.shape_predictor(str(asset_path("dlib_shape_predictor_5")))
        return crop, self._predictor(crop, self.dlib.rectangle(*inner))


def _lend_weights() -> None:
    """Copy dlib's weights to the folder of DeepFace, unless it has some."""
    name = "dlib_face_recognition_resnet_model_v1.dat"
    home = Path(os.environ.get("DEEPFACE_HOME", Path.home()))
    target = home / ".deepface" / "weights" / name
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(asset_path("dlib_face_recognition"), target)


def _around(
    frame: UInt8Array, box: Sequence[float]
) -> tuple[UInt8Array | None, tuple[int, int, int, int]]:
    """Cut a face with as much again around it; the box becomes the square that dlib expects."""
    x0, y0, x1, y1 = (float(v) for v in box)
    height, width = frame.shape[:2]
    # dlib's detector, which the landmarks were trained behind, boxes brow to chin in a square.
    side = (x1 - x0 + y1 - y0) / 2 * 0.95
    center = ((x0 + x1) / 2, y0 + 0.54 * (y1 - y0))
    left, top = max(int(center[0] - side), 0), max(int(center[1] - side), 0)
    right, bottom = min(int(center[0] + side) + 1, width), min(int(center[1] + side) + 1, height)
    if right - left < 2 or bottom - top < 2:
        return None, (0, 0, 0, 0)
    crop = np.ascontiguousarray(frame[top:bottom, left:right])
    scale = max(1.0, _MIN_SIDE * 2 / side)
    if scale > 1:
        crop = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    corner = ((center[0] - side / 2 - left) * scale, (center[1] - side / 2 - top) * scale)
    inner = (
        round(corner[0]),
        round(corner[1]),
        round(corner[0] + side * scale),
        round(corner[1] + side * scale),
    )
    return crop, inner
