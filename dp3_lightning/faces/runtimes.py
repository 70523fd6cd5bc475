"""Run a detector's network in OpenCV, or in OpenVINO where that is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dp3_lightning.openvino_runtime import import_openvino

NetworkOutputs = Sequence[npt.NDArray[np.float32]]
Blob = npt.NDArray[np.float32]
Network = Callable[[Iterable[Blob]], list[NetworkOutputs]]


class OpenCVNetwork:
    """Run a network in OpenCV's ``dnn``.

    Args:
        path: ONNX file.
    """

    def __init__(self, path: str) -> None:
        self._net = cv2.dnn.readNetFromONNX(path)

    def __call__(self, blobs: Iterable[Blob]) -> list[NetworkOutputs]:
        """Compute the outputs of every input ``(1, C, H, W)``, in order."""
        return [self._one(blob) for blob in blobs]

    def _one(self, blob: Blob) -> NetworkOutputs:
        self._net.setInput(blob)
        outputs: NetworkOutputs = self._net.forward(self._net.getUnconnectedOutLayersNames())
        return outputs


class OpenVINONetwork:
    """Run a network in OpenVINO, compiled once per size of the input, on several frames at once.

    Args:
        path: ONNX file.
    """

    def __init__(self, path: str) -> None:
        openvino = import_openvino()
        self._core, self._path = openvino.Core(), path
        self._queues: dict[tuple[int, ...], Any] = {}

    def __call__(self, blobs: Iterable[Blob]) -> list[NetworkOutputs]:
        """Compute the outputs of every input ``(1, C, H, W)``, in order."""
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
            openvino = import_openvino()
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
