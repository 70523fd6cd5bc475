"""Fit a mesh of 468 points to a face by MediaPipe's network (Apache-2.0, 2.4 MB)."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, get_args

import cv2
import numpy as np
import numpy.typing as npt

from dp3_lightning.assets import asset_path
from dp3_lightning.checks import check_choice
from dp3_lightning.faces.detector import Runtime
from dp3_lightning.runtime.openvino import shared_core
from dp3_lightning.structures import FloatArray, UInt8Array

POINTS = 468
GOOD_PRESENCE = 10.0

_SIDE = 192  # pixels; input of the network
_BOX_MARGIN, _MESH_MARGIN = 1.4, 1.5  # side of the region over the longer side of box or mesh
_EYES, _MOUTH = ((33, 133), (362, 263)), (61, 291)  # corners, first those left in the picture
_OUTPUTS = ("conv2d_21", "conv2d_31")  # points, presence

Float32Array = npt.NDArray[np.float32]
_Network = Callable[[Float32Array], tuple[Float32Array, float]]


@dataclass(frozen=True)
class MeshFace:
    """Hold the mesh of one face in one frame.

    Attributes:
        points: ``(468, 3)`` float32, MediaPipe's numbering. x to the right and y down in pixels of
            the frame, where pixel i spans [i, i + 1) as for boxes; z in the same unit, growing away
            from the camera, 0 on average. A point may lie outside the frame.
        presence: logit of the network that the region shows a face; above :data:`GOOD_PRESENCE`
            the points can be trusted. It is that of the last region looked at.
    """

    points: Float32Array
    presence: float


class FaceMesh:
    """Find the mesh of a face whose box is known.

    The model is fetched and opened at the first call, and again after unpickling, so an instance
    is cheap to make and can be sent to worker processes. Points are exact on frontal faces and
    drift at full profile, where they rest on what the network guesses about the hidden half.

    Args:
        runtime: what computes the network: ``opencv``; ``openvino`` (extra ``fast``), which gives
            the same points to 0.02 pixels in half the time; or ``auto``, the faster one
            that is installed.

    Raises:
        ValueError: ``runtime`` is none of these.
        ModuleNotFoundError: ``openvino`` is asked for and not installed.
    """

    def __init__(self, runtime: Runtime = "auto") -> None:
        check_choice(get_args(Runtime), runtime=runtime)
        installed = importlib.util.find_spec("openvino") is not None
        if runtime == "openvino" and not installed:
            raise ModuleNotFoundError(
                "`runtime: openvino` needs the package: pip install 'dp3-lightning[fast]'."
            )
        self.runtime = "openvino" if runtime != "opencv" and installed else "opencv"
        self._net: _Network | None = None

    def locate(
        self,
        frame: UInt8Array,
        box: Sequence[float],
        landmarks: Sequence[Sequence[float]] | None = None,
        roll: float = 0.0,
    ) -> MeshFace | None:
        """Fit a mesh to the face in a box, in two passes.

        Args:
            frame: ``(H, W, 3)`` uint8 RGB.
            box: ``(x0, y0, x1, y1)`` in pixels; may leave the frame.
            landmarks: five ``(x, y)`` as in :class:`dp3_lightning.structures.Detection`. They give
                the roll; faces tilted by more than about 40 degrees need it.
            roll: angle of the eye line in radians, clockwise as seen; used without landmarks.

        Returns:
            The mesh, also where there is no face: look at its ``presence``. None when the box is
            empty or lies outside the frame.

        Raises:
            TypeError: the frame is not a uint8 array.
            ValueError: an argument has another shape or is not finite.
            dp3_lightning.assets.AssetUnavailableError: the model cannot be fetched.
        """
        _check_frame(frame)
        x0, y0, x1, y1 = _numbers("box", box, (4,))
        if landmarks is not None:
            marks = _numbers("landmarks", landmarks, (5, 2))
            roll = _roll(marks[1] - marks[0], marks[3:].mean(axis=0) - marks[:2].mean(axis=0))
        elif not math.isfinite(roll):
            raise ValueError(f"Expected `roll` in radians, got {roll}.")
        height, width = frame.shape[:2]
        if min(x1, width) <= max(x0, 0.0) or min(y1, height) <= max(y0, 0.0):
            return None
        side = _BOX_MARGIN * max(x1 - x0, y1 - y0)
        first = self._look(frame, _Region((x0 + x1) / 2, (y0 + y1) / 2, side, roll))
        return self._look(frame, _around(first.points))

    def refine(self, frame: UInt8Array, previous_points: npt.NDArray[np.floating]) -> MeshFace:
        """Fit a mesh where another one lies, in one pass.

        Args:
            frame: ``(H, W, 3)`` uint8 RGB.
            previous_points: ``(468, 3)`` in pixels, for example of the frame before.

        Returns:
            The mesh; a low ``presence`` means that the face has gone.

        Raises:
            TypeError: the frame is not a uint8 array.
            ValueError: an argument has another shape or is not finite.
            dp3_lightning.assets.AssetUnavailableError: the model cannot be fetched.
        """
        _check_frame(frame)
        points = _numbers("previous_points", previous_points, (POINTS, 3))
        return self._look(frame, _around(points))

    def __getstate__(self) -> dict[str, Any]:
        """Leave the network out: it cannot be pickled."""
        return {**self.__dict__, "_net": None}

    def _look(self, frame: UInt8Array, region: _Region) -> MeshFace:
        if self._net is None:
            path = str(asset_path("face_mesh"))
            self._net = _openvino(path) if self.runtime == "openvino" else _opencv(path)
        picture = _cut(frame, region)
        found, presence = self._net(np.divide(picture, 255, dtype=np.float32)[None])
        points = found.reshape(POINTS, 3).astype(np.float64)
        linear, offset = region.transform()
        scale = _SIDE / region.side
        # The inverse of a rotation times a scale is its transpose over the scale squared.
        points[:, :2] = (points[:, :2] - offset) @ linear / scale**2
        points[:, 2] /= scale
        return MeshFace(points.astype(np.float32), presence)


class _Region(NamedTuple):
    """Describe the square of a frame that fills the network's input, in pixels and radians."""

    x: float
    y: float
    side: float
    roll: float

    def transform(self) -> tuple[FloatArray, FloatArray]:
        """Return ``A`` (2, 2) and ``b`` (2,) with input = A frame + b, both in pixels."""
        cosine, sine = math.cos(self.roll), math.sin(self.roll)
        linear = _SIDE / self.side * np.array([[cosine, sine], [-sine, cosine]])
        return linear, _SIDE / 2 - linear @ (self.x, self.y)


def _cut(frame: UInt8Array, region: _Region) -> UInt8Array:
    """Cut a region out, ``(192, 192, 3)``; what lies outside the frame repeats its border."""
    height, width = frame.shape[:2]
    reach = region.side / 2 * (abs(math.cos(region.roll)) + abs(math.sin(region.roll))) + 2
    left, right = _span(region.x, reach, width)
    top, bottom = _span(region.y, reach, height)
    part = np.ascontiguousarray(frame[top:bottom, left:right])
    # `warpAffine` looks at four pixels however much it shrinks, so the averaging comes before it:
    # of areas down to three times the input's size, then by a blur that starts softly, lest the
    # picture jump when a face grows.
    shrink = min(1.0, 3 * _SIDE / region.side)
    if shrink < 1.0:
        size = [max(1, round(side * shrink)) for side in (right - left, bottom - top)]
        part = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    rest = shrink * region.side / _SIDE
    if rest > 1.0:
        sigma = math.sqrt(rest**2 - 1) / 2
        part = cv2.GaussianBlur(part, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    linear, offset = region.transform()
    steps = np.array([(right - left) / part.shape[1], (bottom - top) / part.shape[0]])
    offset = offset + linear @ (left, top)
    linear = linear * steps
    # OpenCV counts from the middle of the first pixel.
    matrix = np.column_stack([linear, offset + linear @ (0.5, 0.5) - 0.5])
    picture: UInt8Array = cv2.warpAffine(
        part, matrix, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return picture


def _span(center: float, reach: float, limit: int) -> tuple[int, int]:
    """Return the pixels around a centre as start and stop, at least one, inside the frame."""
    start = min(max(math.floor(center - reach), 0), limit - 1)
    return start, max(min(math.ceil(center + reach), limit), start + 1)


def _around(points: npt.NDArray[np.floating]) -> _Region:
    """Return the region of a mesh, level with the face."""
    flat = points[:, :2].astype(np.float64)
    eyes = [flat[list(corners)].mean(axis=0) for corners in _EYES]
    roll = _roll(eyes[1] - eyes[0], flat[list(_MOUTH)].mean(axis=0) - (eyes[0] + eyes[1]) / 2)
    turn = np.array([[math.cos(roll), math.sin(roll)], [-math.sin(roll), math.cos(roll)]])
    level = flat @ turn.T
    low, high = level.min(axis=0), level.max(axis=0)
    x, y = turn.T @ (low + high) / 2
    return _Region(float(x), float(y), _MESH_MARGIN * max(1.0, float((high - low).max())), roll)


def _roll(across: FloatArray, down: FloatArray) -> float:
    """Return the angle of the eye line, from eye to eye and from the eyes to the mouth.

    At profile the eyes lie one behind the other and say nothing, but the mouth is still below.
    """
    return math.atan2(across[1] - down[0], across[0] + down[1])


def _opencv(path: str) -> _Network:
    # OpenCV 5's new engine gives the points only; OpenCV 4.10 knows no engines.
    engine = (cv2.dnn.ENGINE_CLASSIC,) if hasattr(cv2.dnn, "ENGINE_CLASSIC") else ()
    net = cv2.dnn.readNetFromTFLite(path, *engine)

    def answer(picture: Float32Array) -> tuple[Float32Array, float]:
        net.setInput(np.ascontiguousarray(picture.transpose(0, 3, 1, 2)))
        points, presence = net.forward(_OUTPUTS)
        return points, float(presence.item())

    return answer


@cache  # a tenth of a second; every run makes several instances, many stills make thousands
def _compiled(path: str) -> Any:
    # Not bfloat16: it moves points by half a pixel of the input and saves a tenth of the time.
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    return shared_core().compile_model(path, "CPU", options)


def _openvino(path: str) -> _Network:
    request = _compiled(path).create_infer_request()

    def answer(picture: Float32Array) -> tuple[Float32Array, float]:
        request.infer([picture])
        points, presence = (request.get_tensor(name).data for name in _OUTPUTS)
        return points, float(presence.item())

    return answer


def _check_frame(frame: object) -> None:
    """Raise when ``frame`` is not a ``(H, W, 3)`` uint8 array."""
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8:
        got = f"dtype {frame.dtype}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise TypeError(f"Expected `frame` as a uint8 NumPy array in RGB, got {got}.")
    if frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise ValueError(f"Expected `frame` of shape (H, W, 3), got {frame.shape}.")


def _numbers(label: str, values: object, shape: tuple[int, ...]) -> FloatArray:
    """Return ``values`` as float64, or raise unless they are finite and of that shape."""
    array = np.asarray(values, dtype=np.float64)
    if array.shape != shape:
        raise ValueError(f"Expected `{label}` of shape {shape}, got {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError(f"Expected `{label}` to be finite, got {values}.")
    return array
