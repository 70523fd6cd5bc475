"""CenterFace: a small face detector (MIT licence, 7 MB) that runs in OpenCV or OpenVINO."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np

from dp3_lightning.assets import ASSETS, asset_path
from dp3_lightning.checks import check_choice
from dp3_lightning.faces.center_map import decode
from dp3_lightning.faces.runtimes import (
    Blob,
    Network,
    NetworkOutputs,
    OpenCVNetwork,
    OpenVINONetwork,
)
from dp3_lightning.structures import Detection, UInt8Array

MULTIPLE = 32  # the encoder halves five times, so sides must divide by 2 ** 5

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
            shrunk. None: never shrink. Faces below about 20 pixels there are missed, so with 640
            a 1920 pixel wide frame needs faces of 60 pixels: use
            :class:`~dp3_lightning.faces.PyramidDetector`, which finds small and large ones.
        min_side: frames whose shorter side has fewer pixels are enlarged to it, as far as
            ``max_side`` allows. None: never.
        model: path of another CenterFace ONNX file; None takes the pinned asset ``centerface``.
        runtime: what computes the network: ``opencv``; ``openvino`` (extra ``fast``), which is
            twice as fast where the processor has bfloat16, with boxes about 1 % apart; or ``auto``,
            the faster one that is installed.

    Attributes:
        name: encodes everything that changes the answers; meant for cache keys.
        family: of the network; detectors of another family miss other faces.
        smallest: pixels of the network's input; taller faces are found, nearly all.

    Raises:
        ValueError: an argument is out of range.
        FileNotFoundError: ``model`` is not a file.
        ModuleNotFoundError: ``openvino`` is asked for and not installed.
    """

    family = "centerface"
    smallest = 20.0

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
        check_options(threshold, nms_threshold, max_side=max_side, min_side=min_side)
        self.threshold = threshold
        self.nms_threshold = nms_threshold
        self.max_side = max_side
        self.min_side = min_side
        self.model = None if model is None else Path(model)
        # A plain attribute, not a property: the protocol declares `name` as a settable variable.
        digest = _model_digest(self.model)
        self.files = {"centerface" if self.model is None else self.model.name: digest}
        self.name = (
            f"centerface-{digest[:8]}-t{threshold:g}-n{nms_threshold:g}-max{max_side}-min{min_side}"
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
            dp3_lightning.assets.AssetUnavailableError: the model cannot be fetched.
        """
        for index, frame in enumerate(frames):
            check_frame(index, frame)
        if self._net is None:
            path = asset_path("centerface") if self.model is None else self.model
            self._net = (OpenVINONetwork if self.runtime == "openvino" else OpenCVNetwork)(
                str(path)
            )
        answers = self._net(self._blob(frame) for frame in frames)
        return [self._faces(*pair) for pair in zip(frames, answers, strict=True)]

    def smallest_face(self, height: int, width: int) -> float:
        """Return the height in pixels of the smallest face that is found in frames of a size."""
        return self.smallest / network_scale(height, width, self.max_side, self.min_side)

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


def network_scale(
    height: int, width: int, max_side: int | None = None, min_side: int | None = None
) -> float:
    """Return the factor by which a frame is enlarged or shrunk; arguments as `network_size`."""
    scale = 1.0 if min_side is None else max(1.0, min_side / min(height, width))
    return scale if max_side is None else min(scale, max_side / max(height, width))


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
    scale = network_scale(height, width, max_side, min_side)

    def rounded(side: int) -> int:
        cells = round(side * scale / MULTIPLE)
        if max_side is not None:
            cells = min(cells, max_side // MULTIPLE)
        return max(cells, 1) * MULTIPLE

    return rounded(height), rounded(width)


def check_options(threshold: float, nms_threshold: float, **sides: int | None) -> None:
    """Check what detectors have in common.

    Args:
        threshold: lowest score, in (0, 1].
        nms_threshold: intersection over union, in [0, 1].
        sides: lengths in pixels, at least 32 or None.

    Raises:
        ValueError: one is out of range.
    """
    if not 0.0 < threshold <= 1.0:
        raise ValueError(f"Expected `threshold` in (0, 1], got {threshold}.")
    if not 0.0 <= nms_threshold <= 1.0:
        raise ValueError(f"Expected `nms_threshold` in [0, 1], got {nms_threshold}.")
    for label, side in sides.items():
        if side is not None and side < MULTIPLE:
            raise ValueError(f"Expected `{label}` of at least {MULTIPLE} or None, got {side}.")


def check_frame(index: int, frame: object) -> None:
    """Refuse what is not a ``(H, W, 3)`` uint8 array.

    Args:
        index: place of the frame in its list, for the message.
        frame: what is to be checked.

    Raises:
        TypeError: it is not a uint8 array.
        ValueError: it has another shape.
    """
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
