"""Recognise faces by SFace with OpenCV alone (Apache-2.0, 11 MB), aligned by YuNet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dp3_lightning.assets import ASSETS, asset_path
from dp3_lightning.checks import check_above, check_at_least
from dp3_lightning.faces.tracker import pairwise_iou
from dp3_lightning.faces.yunet import YuNet
from dp3_lightning.structures import FloatArray, UInt8Array

Float32Array = npt.NDArray[np.float32]

CHIP_SIDE = 112  # pixels; what recognisers of ArcFace's kind take
ARCFACE_POINTS: FloatArray = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
"""Where the five landmarks of a ``Detection`` lie in a chip of 112 pixels."""

_SAME_PERSON = 0.363  # cosine similarity; OpenCV documents it for this network
_SURROUNDINGS = 1.5  # side of what the landmark detector sees, in sides of the face
_DETECTOR_SIDE = 384  # pixels; faces are two thirds of it, whatever their size in the frame
_LEAST_OVERLAP = 0.2  # with the box; detectors draw boxes differently, neighbours hardly overlap


class SFace:
    """Map aligned faces to vectors by SFace (Zhong et al., IEEE TIP 2021) in int8.

    The model file is fetched and opened at the first call, and again after unpickling.
    """

    def __init__(self) -> None:
        self._net: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the network out: OpenCV's cannot be pickled."""
        return {**self.__dict__, "_net": None}

    def embed(self, chips: UInt8Array) -> Float32Array:
        """Embed aligned faces.

        Args:
            chips: ``(N, 112, 112, 3)`` uint8 RGB, of :func:`align_face`.

        Returns:
            ``(N, 128)`` float32, rows of length 1. The product of two rows is the cosine
            similarity of the faces.

        Raises:
            TypeError: not a uint8 array.
            ValueError: another shape.
            dp3_lightning.assets.AssetUnavailableError: the model cannot be fetched.
        """
        if not isinstance(chips, np.ndarray) or chips.dtype != np.uint8:
            got = f"dtype {chips.dtype}" if isinstance(chips, np.ndarray) else type(chips).__name__
            raise TypeError(f"Expected `chips` as a uint8 NumPy array in RGB, got {got}.")
        if chips.ndim != 4 or chips.shape[1:] != (CHIP_SIDE, CHIP_SIDE, 3):
            raise ValueError(f"Expected `chips` of shape (N, 112, 112, 3), got {chips.shape}.")
        # One by one: OpenCV 4 answers NaN to batches, and in OpenCV 5 they save a tenth.
        answers = [self._answer(chip) for chip in chips]
        values = np.array(answers, np.float32).reshape(-1, 128)
        unit: Float32Array = values / np.maximum(np.linalg.norm(values, axis=1)[:, None], 1e-12)
        return unit

    def _answer(self, chip: UInt8Array) -> Float32Array:
        if self._net is None:
            self._net = cv2.dnn.readNetFromONNX(str(asset_path("sface")))
        # By name: the file lists its constants as inputs too. 0..255: the network scales them.
        self._net.setInput(cv2.dnn.blobFromImage(chip), "data")
        answer: Float32Array = self._net.forward()
        return answer


class SFaceEmbedder:
    """Recognise faces; implements :class:`dp3_lightning.faces.embedder.FaceEmbedder`.

    YuNet finds the landmarks in the surroundings of a box, so that boxes of any detector will do.

    Args:
        threshold: Euclidean distance of embeddings below which two faces count as one person.
            OpenCV documents a cosine similarity of 0.363 for this network, which is 1.129.

    Attributes:
        name: for reports.

    Raises:
        ValueError: ``threshold`` is not above 0.
    """

    def __init__(self, threshold: float = math.sqrt(2 - 2 * _SAME_PERSON)) -> None:
        check_above(0, threshold=threshold)
        self.name = f"sface-{ASSETS['sface'].sha256[:8]}"
        self.files = {name: ASSETS[name].sha256 for name in ("sface", "yunet")}
        self.threshold = threshold
        self._network = SFace()
        self._detector = YuNet(threshold=0.3, max_side=_DETECTOR_SIDE, min_side=_DETECTOR_SIDE)

    def __call__(self, frame: UInt8Array, box: Sequence[float]) -> FloatArray | None:
        """Embed the face in a box.

        Args:
            frame: ``(H, W, 3)`` uint8 RGB.
            box: ``(x0, y0, x1, y1)`` in pixels of the frame.

        Returns:
            ``(128,)`` float64 of length 1; None when YuNet sees no face there.
        """
        return self.in_place_of(frame, frame, box)

    def in_place_of(
        self, real: UInt8Array, frame: UInt8Array, box: Sequence[float]
    ) -> FloatArray | None:
        """Embed what is in a frame where another one shows a face.

        Args:
            real: ``(H, W, 3)`` uint8 RGB, in which landmarks are looked for.
            frame: of the same size.
            box: ``(x0, y0, x1, y1)`` in pixels of both.

        Returns:
            As a call; None when YuNet sees no face in ``real``.
        """
        landmarks = self._landmarks(real, np.asarray(box, np.float64))
        if landmarks is None:
            return None
        chip = align_face(frame, landmarks)
        vector: FloatArray = self._network.embed(chip[None])[0].astype(np.float64)
        return vector

    def _landmarks(self, frame: UInt8Array, box: FloatArray) -> FloatArray | None:
        center, side = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max() * _SURROUNDINGS
        limits = np.array(frame.shape[1::-1])
        left, top = np.clip(np.floor(center - side / 2), 0, limits).astype(int)
        right, bottom = np.clip(np.ceil(center + side / 2), 0, limits).astype(int)
        if right - left < 2 or bottom - top < 2:
            return None
        (faces,) = self._detector([frame[top:bottom, left:right]])
        corner = np.array((left, top), np.float64)
        if not faces:
            return None
        boxes = np.array([face.box for face in faces]) + np.tile(corner, 2)
        overlaps = pairwise_iou(box[None], boxes)[0]
        best = int(overlaps.argmax())
        if overlaps[best] < _LEAST_OVERLAP:
            return None
        return np.array(faces[best].landmarks, np.float64) + corner


def align_face(frame: UInt8Array, landmarks: npt.ArrayLike, size: int = CHIP_SIDE) -> UInt8Array:
    """Turn, scale and move a face so that its landmarks lie at ``ARCFACE_POINTS``.

    Args:
        frame: ``(H, W, 3)`` uint8; what lies outside of it becomes black.
        landmarks: ``(5, 2)``, in pixels of the frame, in the order of a ``Detection``.
        size: side of the result in pixels, for which the points are scaled.

    Returns:
        ``(size, size, 3)`` uint8, by the similarity of least squares. Pixels are averaged where
        the face is shrunk.

    Raises:
        ValueError: the landmarks have another shape or lie in one point.
    """
    check_at_least(1, size=size)
    points = np.asarray(landmarks, np.float64)
    if points.shape != (5, 2):
        raise ValueError(f"Expected `landmarks` of shape (5, 2), got {points.shape}.")
    # As complex numbers, a similarity is z -> turn * z + shift.
    source, target = points @ (1, 1j), ARCFACE_POINTS @ (1, 1j) * (size / CHIP_SIDE)
    centered = source - source.mean()
    spread = float((np.abs(centered) ** 2).sum())
    turn = np.vdot(centered, target) / spread if spread > 0 else 0j
    if not abs(turn) > 1e-6:
        raise ValueError(f"Expected `landmarks` of a face, got {points.tolist()}.")
    # Drawn at the frame's scale or above, then averaged; 1 may be a rounding error more than 1.
    finer = max(1, math.ceil(1 / abs(turn) - 1e-6))
    turn, target = turn * finer, target * finer
    shift = target.mean() - turn * source.mean()
    shift += (turn - 1) * (0.5 + 0.5j)  # OpenCV counts from the middle of a pixel
    matrix = np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
    large = cv2.warpAffine(frame, matrix, (size * finer, size * finer), flags=cv2.INTER_LINEAR)
    chip: UInt8Array = cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA)
    return chip
