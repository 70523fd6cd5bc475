"""CenterFace: a small face detector (MIT licence, 7 MB) that runs in OpenCV's ``dnn`` module.

The network sees the frame resized to multiples of 32 pixels and answers on a grid of cells, four
pixels apart. Every cell carries a face score, the logarithm of the face's height and width, the
offset of its centre from the cell, and five landmarks relative to the box.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

from dp3_lightning.assets import ASSETS, asset_path
from dp3_lightning.checks import check_choice
from dp3_lightning.structures import Detection, FloatArray, UInt8Array

STRIDE = 4  # network pixels between two cells of the output grid
MULTIPLE = 32  # the encoder halves five times, so sides must divide by 2 ** 5

NetworkOutputs = Sequence[npt.NDArray[np.float32]]
Blob = npt.NDArray[np.float32]
Network = Callable[[Iterable[Blob]], list[NetworkOutputs]]
Runtime = Literal["opencv", "openvino", "auto"]


class CenterFace:
    """Detect faces; implements :class:`dp3_lightning.structures.FaceDetector`.

    The model file is fetched and opened at the first call, and again after unpickling, so an
    instance is cheap to make and can be sent to worker processes.

    Args:
        threshold: lowest score of a reported face, in (0, 1]. 0.3 favours finding every face over
            avoiding false alarms, which is the right way round for anonymization.
        nms_threshold: two boxes whose intersection over union exceeds this are one face; [0, 1].
        max_side: longest side of the network's input in pixels, at least 32; larger frames are
            shrunk. None: never shrink. Faces below about 10 pixels there are missed, so with 640
            a 1920 pixel wide frame needs faces of 30 pixels: raise it for small faces.
        min_side: frames whose shorter side has fewer pixels are enlarged to it, as far as
            ``max_side`` allows, which finds faces of 6 pixels in small frames. None: never.
        model: path of another CenterFace ONNX file; None takes the pinned asset ``centerface``.
        runtime: what computes the network: ``opencv``; ``openvino`` (extra ``fast``), which is
            twice as fast where the processor has bfloat16, with boxes about 1 % apart; or ``auto``,
            the faster one that is installed.

    Attributes:
        name: encodes everything that changes the answers; meant for cache keys.

    Raises:
        ValueError: an argument is out of range.
        FileNotFoundError: ``model`` is not a file.
        ModuleNotFoundError: ``openvino`` is asked for and not installed.
    """

    def __init__(
        self,
        threshold: float = 0.3,
        nms_threshold: float = 0.3,
        max_side: int | None = 640,
        min_side: int | None = 320,
        model: str | None = None,
        runtime: Runtime = "opencv",
    ) -> None:
        check_choice(get_args(Runtime), runtime=runtime)
        if not 0.0 < threshold <= 1.0:
            raise ValueError(f"Expected `threshold` in (0, 1], got {threshold}.")
        if not 0.0 <= nms_threshold <= 1.0:
            raise ValueError(f"Expected `nms_threshold` in [0, 1], got {nms_threshold}.")
        for label, side in (("max_side", max_side), ("min_side", min_side)):
            if side is not None and side < MULTIPLE:
                raise ValueError(f"Expected `{label}` of at least {MULTIPLE} or None, got {side}.")
        self.threshold = threshold
        self.nms_threshold = nms_threshold
        self.max_side = max_side
        self.min_side = min_side
        self.model = None if model is None else Path(model)
        # A plain attribute, not a property: the protocol declares `name` as a settable variable.
        self.name = (
            f"centerface-{_model_digest(self.model)[:8]}-t{threshold:g}-n{nms_threshold:g}"
            f"-max{max_side}-min{min_side}"
        )
        installed = importlib.util.find_spec("openvino") is not None
        if runtime == "openvino" and not installed:
            raise ModuleNotFoundError(
                "`runtime: openvino` needs the package: pip install 'dp3-lightning[fast]'."
            )
        self.runtime = "openvino" if runtime != "opencv" and installed else "opencv"
        if self.runtime == "openvino":
            self.name += "-openvino"
        self._net: Network | None = None

    def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
        """Detect faces.

        Args:
            frames: ``(H, W, 3)`` uint8 RGB arrays; sizes may differ between them.

        Returns:
            For each frame its detections, best score first, boxes in pixels of that frame. A box
            may leave the frame where a face does.

        Raises:
            TypeError: a frame is not a uint8 array.
            ValueError: a frame has another shape.
            dp3_lightning.assets.AssetUnavailableError: the model cannot be had.
        """
        for index, frame in enumerate(frames):
            _check_frame(index, frame)
        if self._net is None:
            path = asset_path("centerface") if self.model is None else self.model
            self._net = (_OpenVINO if self.runtime == "openvino" else _OpenCV)(str(path))
        answers = self._net(self._blob(frame) for frame in frames)
        return [self._faces(*pair) for pair in zip(frames, answers, strict=True)]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the network out: OpenCV's cannot be pickled."""
        return {**self.__dict__, "_net": None}

    def _network_size(self, frame: UInt8Array) -> tuple[int, int]:
        return network_size(frame.shape[0], frame.shape[1], self.max_side, self.min_side)

    def _blob(self, frame: UInt8Array) -> Blob:
        height, width = frame.shape[:2]
        net_height, net_width = self._network_size(frame)
        shrinking = net_width * net_height < width * height
        resized = cv2.resize(
            frame,
            (net_width, net_height),
            interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR,
        )
        # The network was trained on RGB in 0..255 without mean subtraction.
        blob: Blob = cv2.dnn.blobFromImage(resized)
        return blob

    def _faces(self, frame: UInt8Array, outputs: NetworkOutputs) -> list[Detection]:
        height, width = frame.shape[:2]
        net_height, net_width = self._network_size(frame)
        return decode(
            outputs,
            scale=(width / net_width, height / net_height),
            threshold=self.threshold,
            nms_threshold=self.nms_threshold,
        )


class _OpenCV:
    """The network in OpenCV's ``dnn``."""

    def __init__(self, path: str) -> None:
        self._net = cv2.dnn.readNetFromONNX(path)

    def __call__(self, blobs: Iterable[Blob]) -> list[NetworkOutputs]:
        return [self._one(blob) for blob in blobs]

    def _one(self, blob: Blob) -> NetworkOutputs:
        self._net.setInput(blob)
        outputs: NetworkOutputs = self._net.forward(self._net.getUnconnectedOutLayersNames())
        return outputs


class _OpenVINO:
    """The network in OpenVINO, compiled once per size of the input; frames side by side."""

    def __init__(self, path: str) -> None:
        import openvino

        self._core, self._path = openvino.Core(), path
        self._queues: dict[tuple[int, ...], Any] = {}

    def __call__(self, blobs: Iterable[Blob]) -> list[NetworkOutputs]:
        answers: dict[int, NetworkOutputs] = {}
        count = 0
        try:
            for blob in blobs:
                self._queue(blob.shape).start_async(blob, userdata=(answers, count))
                count += 1
        finally:  # no request may outlive the call
            for queue in self._queues.values():
                queue.wait_all()
        return [answers[number] for number in range(count)]

    def _queue(self, shape: tuple[int, ...]) -> Any:
        if shape not in self._queues:
            import openvino

            model = self._core.read_model(self._path)  # its shape is fixed in the file
            model.reshape({model.inputs[0]: list(shape)})
            options = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "bf16"}
            if "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
                options["INFERENCE_PRECISION_HINT"] = "f32"
            compiled = self._core.compile_model(model, "CPU", options)
            self._queues[shape] = openvino.AsyncInferQueue(compiled)
            self._queues[shape].set_callback(_keep)
        return self._queues[shape]


def _keep(request: Any, place: tuple[dict[int, NetworkOutputs], int]) -> None:
    answers, number = place
    # A copy: the request and its memory are used again.
    answers[number] = [np.array(output.data) for output in request.output_tensors]


def network_size(
    height: int, width: int, max_side: int | None = None, min_side: int | None = None
) -> tuple[int, int]:
    """Size at which the network sees a frame.

    Args:
        height: height of the frame in pixels.
        width: width of the frame in pixels.
        max_side: upper limit of the longer side; None for no limit. It wins over ``min_side``.
        min_side: wanted lower limit of the shorter side; None for no limit.

    Returns:
        ``(height, width)``, both multiples of 32. The proportions hold up to that rounding.
    """
    scale = 1.0 if min_side is None else max(1.0, min_side / min(height, width))
    if max_side is not None:
        scale = min(scale, max_side / max(height, width))

    def rounded(side: int) -> int:
        cells = round(side * scale / MULTIPLE)
        if max_side is not None:
            cells = min(cells, max_side // MULTIPLE)
        return max(cells, 1) * MULTIPLE

    return rounded(height), rounded(width)


def decode(
    outputs: NetworkOutputs,
    scale: tuple[float, float] = (1.0, 1.0),
    threshold: float = 0.3,
    nms_threshold: float = 0.3,
) -> list[Detection]:
    """Turn the four output maps of the network into detections.

    Args:
        outputs: heatmap ``(1, 1, h, w)`` in [0, 1], log size ``(1, 2, h, w)`` as (height, width),
            offset ``(1, 2, h, w)`` as (y, x) in cells, landmarks ``(1, 10, h, w)`` as five (y, x)
            relative to the box.
        scale: frame pixels per network pixel as (x, y).
        threshold: lowest score kept.
        nms_threshold: intersection over union above which the weaker of two boxes is dropped.

    Returns:
        Detections in frame pixels, best score first.

    Raises:
        ValueError: there are not four maps with 1, 2, 2 and 10 channels.
    """
    _check_outputs(outputs)
    heat, log_size, offset, marks = (np.asarray(output[0], dtype=np.float64) for output in outputs)
    row, column = np.nonzero(heat[0] >= threshold)
    score = heat[0, row, column]
    per_axis = np.array([scale[0], scale[1]])
    cell = np.stack([column, row], axis=1)
    centre = (cell + offset[::-1, row, column].T + 0.5) * STRIDE * per_axis
    size = np.exp(log_size[::-1, row, column].T) * STRIDE * per_axis
    origin = centre - size / 2
    boxes = np.concatenate([origin, origin + size], axis=1)
    yx = marks[:, row, column].T.reshape(-1, 5, 2)
    points = yx[..., ::-1] * size[:, None] + origin[:, None]
    kept = _suppress(boxes, score, nms_threshold)
    return [_detection(boxes[i], float(score[i]), points[i]) for i in kept]


def _detection(box: FloatArray, score: float, points: FloatArray) -> Detection:
    """Plain Python numbers out of one row of the decoded arrays."""
    x0, y0, x1, y1 = (float(value) for value in box)
    landmarks = tuple((float(x), float(y)) for x, y in points)
    return Detection((x0, y0, x1, y1), min(score, 1.0), landmarks)


def _suppress(boxes: FloatArray, score: FloatArray, threshold: float) -> list[int]:
    """Greedy non-maximum suppression; returns kept indices, best score first."""
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    waiting = np.argsort(-score, kind="stable")
    kept: list[int] = []
    while waiting.size:
        best, waiting = int(waiting[0]), waiting[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[waiting, :2])
        high = np.minimum(boxes[best, 2:], boxes[waiting, 2:])
        shared = np.prod(np.clip(high - low, 0.0, None), axis=1)
        waiting = waiting[shared <= threshold * (area[best] + area[waiting] - shared)]
    return kept


def _check_outputs(outputs: NetworkOutputs) -> None:
    """Raise when the maps are not those of a CenterFace network."""
    channels = [output.shape[1] if output.ndim == 4 else None for output in outputs]
    if channels != [1, 2, 2, 10]:
        raise ValueError(
            f"Expected four network outputs (1, C, h, w) with C = 1, 2, 2, 10, got C = {channels}. "
            "Is `model` a CenterFace ONNX file?"
        )


def _check_frame(index: int, frame: object) -> None:
    """Raise when ``frame`` is not a ``(H, W, 3)`` uint8 array."""
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8:
        got = f"dtype {frame.dtype}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise TypeError(
            f"Expected frame {index} as a uint8 NumPy array in RGB, got {got}. "
            "Floats in [-1, 1] become uint8 by ((x + 1) * 127.5).round()."
        )
    if frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise ValueError(
            f"Expected frame {index} of shape (H, W, 3), got {frame.shape}. "
            "The detector takes a list of frames: pass a single frame as [frame]."
        )


def _model_digest(model: Path | None) -> str:
    """Sha256 of the model file, in hexadecimal."""
    if model is None:
        return ASSETS["centerface"].sha256
    if not model.is_file():
        raise FileNotFoundError(
            f"`model` is not a file: {model}. Give the path of a CenterFace ONNX file, "
            "or leave `model` out to use the pinned one."
        )
    return hashlib.sha256(model.read_bytes()).hexdigest()
