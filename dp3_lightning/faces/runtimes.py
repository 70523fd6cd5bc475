"""Run a detector's network in OpenCV, or in OpenVINO where that is installed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from dp3_lightning.runtime.openvino import import_openvino, shared_core

NetworkOutputs = Sequence[npt.NDArray[np.float32]]
Blob = npt.NDArray[np.float32]
Network = Callable[[Iterable[Blob]], list[NetworkOutputs]]


# Networks that are kept, by the pixels of their inputs, which their memory grows with: a folder of
# pictures has as many sizes as pictures.
_MOST_PIXELS = 6_000_000

Size = TypeVar("Size", bound=tuple[int, ...])
Net = TypeVar("Net")


class NetPerSize(Generic[Size, Net]):
    """Keeps one network per size of the input, and forgets those that were not used for longest.

    OpenCV 4.11 to 4.14 answers wrongly when a network is used again at another size.

    Args:
        build: makes the network of a size, whose last two numbers are the sides of a picture.
        most: pixels of all networks that are kept; the latest one is kept in any case.
    """

    def __init__(self, build: Callable[[Size], Net], most: int = _MOST_PIXELS) -> None:
        self._build, self._most = build, most
        self._nets: OrderedDict[Size, Net] = OrderedDict()

    def __getitem__(self, size: Size) -> Net:
        """Return the network of a size; makes it at the first call."""
        if size not in self._nets:
            self._nets[size] = self._build(size)
        self._nets.move_to_end(size)
        while len(self._nets) > 1 and sum(a * b for *_, a, b in self._nets) > self._most:
            self._nets.popitem(last=False)
        return self._nets[size]


class OpenCVNetwork:
    """A network in OpenCV's ``dnn``, one per size of the input.

    Args:
        path: ONNX file.
    """

    def __init__(self, path: str) -> None:
        self._nets = NetPerSize[tuple[int, ...], Any](lambda shape: cv2.dnn.readNetFromONNX(path))

    def __call__(self, blobs: Iterable[Blob]) -> list[NetworkOutputs]:
        """Compute the outputs of every input ``(1, C, H, W)``, in order."""
        return [self._one(blob) for blob in blobs]

    def _one(self, blob: Blob) -> NetworkOutputs:
        net = self._nets[blob.shape]
        net.setInput(blob)
        outputs: NetworkOutputs = net.forward(net.getUnconnectedOutLayersNames())
        return outputs


class OpenVINONetwork:
    """Run a network in OpenVINO, compiled once per size of the input, on several frames at once.

    Args:
        path: ONNX file.
    """

    def __init__(self, path: str) -> None:
        self._core, self._path = shared_core(), path
        self._queues = NetPerSize[tuple[int, ...], Any](self._queue)

    def __call__(self, blobs: Iterable[Blob]) -> list[NetworkOutputs]:
        """Compute the outputs of every input ``(1, C, H, W)``, in order."""
        answers: dict[int, NetworkOutputs] = {}
        count = 0
        busy: dict[int, Any] = {}
        try:
            for blob in blobs:
                queue = self._queues[blob.shape]
                busy[id(queue)] = queue
                queue.start_async(blob, userdata=(answers, count))
                count += 1
        finally:  # no request may outlive the call
            for queue in busy.values():
                queue.wait_all()
        return [answers[number] for number in range(count)]

    def _queue(self, shape: tuple[int, ...]) -> Any:
        openvino = import_openvino()
        model = self._core.read_model(self._path)  # its shape is fixed in the file
        model.reshape({model.inputs[0]: list(shape)})
        options = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "bf16"}
        if "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            options["INFERENCE_PRECISION_HINT"] = "f32"
        queue = openvino.AsyncInferQueue(self._core.compile_model(model, "CPU", options))
        queue.set_callback(_keep)
        return queue


def _keep(request: Any, place: tuple[dict[int, NetworkOutputs], int]) -> None:
    answers, number = place
    # A copy: the request and its memory are used again.
    answers[number] = [np.array(output.data) for output in request.output_tensors]
