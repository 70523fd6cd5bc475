"""Detect faces and five landmarks by YuNet (MIT licence, 0.1 MB), run by OpenCV."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dp3_lightning.assets import ASSETS, asset_path
from dp3_lightning.faces.detector import check_frame, check_options, network_scale
from dp3_lightning.faces.runtimes import NetPerSize
from dp3_lightning.structures import Detection, UInt8Array

_MOST_FACES = 5000  # candidates per frame before suppression; OpenCV's own default


class YuNet:
    """Detect faces; implements :class:`dp3_lightning.structures.FaceDetector`.

    YuNet (Wu et al., Machine Intelligence Research 2023) in int8. It is of another family than
    :class:`dp3_lightning.faces.CenterFace`, so each finds faces that the other misses. The model
    file is fetched and opened at the first call, and again after unpickling.

    Args:
        threshold: lowest score of a reported face, in (0, 1].
        nms_threshold: two boxes whose intersection over union exceeds this are one face; [0, 1].
        max_side: longest side of the network's input in pixels, at least 32; larger frames are
            shrunk. None: never shrink.
        min_side: frames whose shorter side has fewer pixels are enlarged to it, as far as
            ``max_side`` allows. None: never; faces below about 10 pixels are then missed, or
            found twice. 320 finds those of 5 pixels.

    Attributes:
        name: encodes everything that changes the answers; meant for cache keys.
        family: of the network; detectors of another family miss other faces.
        smallest: pixels of the network's input; taller faces are found, nearly all.

    Raises:
        ValueError: an argument is out of range.
    """

    family = "yunet"
    smallest = 24.0

    def __init__(
        self,
        threshold: float = 0.5,
        nms_threshold: float = 0.3,
        max_side: int | None = 1024,
        min_side: int | None = None,
    ) -> None:
        check_options(threshold, nms_threshold, max_side=max_side, min_side=min_side)
        self.threshold, self.nms_threshold = threshold, nms_threshold
        self.max_side, self.min_side = max_side, min_side
        # A plain attribute, not a property: the protocol declares `name` as a settable variable.
        self.name = (
            f"yunet-{ASSETS['yunet'].sha256[:8]}-t{threshold:g}-n{nms_threshold:g}"
            f"-max{max_side}-min{min_side}"
        )
        self._nets = self._no_nets()

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
        return [self._detect(frame) for frame in frames]

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 of every model file, by the asset's name."""
        return {"yunet": ASSETS["yunet"].sha256}

    def smallest_face(self, height: int, width: int) -> float:
        """Return the height in pixels of the smallest face that is found in frames of a size."""
        return self.smallest / network_scale(height, width, self.max_side, self.min_side)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the networks out: OpenCV's cannot be pickled."""
        return {name: value for name, value in self.__dict__.items() if name != "_nets"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Start without networks."""
        self.__dict__.update(state)
        self._nets = self._no_nets()

    def _no_nets(self) -> NetPerSize[tuple[int, int], Any]:
        return NetPerSize(lambda size: self._open(size))

    def _open(self, size: tuple[int, int]) -> Any:
        path = str(asset_path("yunet"))
        with _without_warnings():
            return cv2.FaceDetectorYN.create(
                path, "", size, self.threshold, self.nms_threshold, _MOST_FACES
            )

    def _detect(self, frame: UInt8Array) -> list[Detection]:
        height, width = frame.shape[:2]
        scale = network_scale(height, width, self.max_side, self.min_side)
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        if size != (width, height):
            how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            frame = cv2.resize(frame, size, interpolation=how)
        net = self._nets[size]  # OpenCV pads to what the network needs
        rows = net.detect(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1]
        if rows is None:
            return []
        rows = rows.astype(np.float64)
        rows[:, :14] *= np.tile((width / size[0], height / size[1]), 7)
        return [_detection(row) for row in rows[np.argsort(-rows[:, 14], kind="stable")]]


def _detection(row: npt.NDArray[np.float64]) -> Detection:
    """Read one row: corner, width and height, five points, score."""
    x, y, width, height, *marks, score = row.tolist()
    # YuNet starts with the person's right eye, which is the left one in the picture.
    points = tuple(zip(marks[0::2], marks[1::2], strict=True))
    return Detection((x, y, x + width, y + height), min(max(score, 0.0), 1.0), points)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence OpenCV 5's warning about the target that its own detector sets."""
    logging = getattr(cv2.utils, "logging", None)  # OpenCV 4 has none, and does not warn
    if logging is None:
        yield
        return
    before = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_ERROR)
    try:
        yield
    finally:
        logging.setLogLevel(before)
