from __future__ import annotations

import pickle
import sys
import types

import numpy as np
import pytest

from dp3_lightning.faces import DSFD


def test_absent_package_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "face_detection", None)
    with pytest.raises(ModuleNotFoundError, match=r"face_detection.*DSFD-Pytorch-Inference"):
        DSFD()([np.zeros((8, 8, 3), np.uint8)])


def test_answers_of_the_package_become_detections(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, float]] = []

    class Net:
        def detect(self, image: np.ndarray) -> np.ndarray:
            count = int(image[0, 0, 0])
            return np.array([[1, 2, 3, 4, 0.75]] * count, np.float32).reshape(count, 5)

    def build(name: str, **options: float) -> Net:
        assert name == "DSFDDetector"
        asked.append(options)
        return Net()

    package = types.SimpleNamespace(build_detector=build)
    monkeypatch.setitem(sys.modules, "face_detection", package)
    detector = DSFD(threshold=0.4)
    frames = [np.full((8, 8, 3), n, np.uint8) for n in (0, 2)]
    none, two = detector(frames)
    assert none == []
    assert [(d.box, d.score) for d in two] == [((1.0, 2.0, 3.0, 4.0), 0.75)] * 2
    detector(frames)
    assert asked == [{"confidence_threshold": 0.4, "nms_iou_threshold": 0.3}]  # built once
    assert pickle.loads(pickle.dumps(detector)).name == detector.name != DSFD().name


def test_threshold_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"`threshold`.*1\.5"):
        DSFD(threshold=1.5)
