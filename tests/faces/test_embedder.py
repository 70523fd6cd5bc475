from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp3_lightning.faces import DeepFaceEmbedder
from dp3_lightning.faces import embedder as module
from dp3_lightning.structures import UInt8Array


@pytest.fixture
def deepface(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Stands in for the package, which brings TensorFlow; remembers what it was asked."""
    asked: list[dict[str, Any]] = []

    def represent(**arguments: Any) -> list[dict[str, Any]]:
        asked.append(arguments)
        return [{"embedding": [3.0, 0.0, 4.0]}]

    package, modules = types.ModuleType("deepface"), types.ModuleType("deepface.modules")
    verification = types.ModuleType("deepface.modules.verification")
    package.DeepFace = types.SimpleNamespace(represent=represent)  # type: ignore[attr-defined]
    verification.find_threshold = lambda model, metric: {"ArcFace": 1.13, "Dlib": 0.4}[model]  # type: ignore[attr-defined]
    modules.verification = verification  # type: ignore[attr-defined]
    for name, part in (
        ("deepface", package), ("deepface.modules", modules),
        ("deepface.modules.verification", verification),
    ):  # fmt: skip
        monkeypatch.setitem(sys.modules, name, part)
    return asked


class Landmarks:
    """Stands in for dlib: the aligned face is what lies in the box."""

    def __init__(self, extra: str) -> None:
        assert extra == "deepface"
        self.dlib = self

    def __call__(self, frame: UInt8Array, box: Sequence[float]) -> tuple[UInt8Array, Any] | None:
        x0, y0, x1, y1 = map(int, box)
        crop = frame[y0:y1, x0:x1]
        return (crop, None) if crop.size else None

    def get_face_chip(self, crop: UInt8Array, shape: Any, size: int, padding: float) -> UInt8Array:
        assert padding == 0.25
        rows = np.linspace(0, len(crop) - 1, size).astype(int)
        return crop[rows][:, rows]


@pytest.fixture(autouse=True)
def landmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_Landmarks", Landmarks)


def test_deepface_is_given_the_face_alone_in_its_own_order_of_colors(
    deepface: list[dict[str, Any]],
) -> None:
    embedder = DeepFaceEmbedder("ArcFace")
    assert (embedder.name, embedder.threshold) == ("deepface_ArcFace", 1.13)
    frame = np.zeros((120, 160, 3), np.uint8)
    frame[30:90, 50:110] = (200, 100, 50)
    found = embedder(frame, (40, 20, 120, 100))
    assert found is not None
    assert found.tolist() == [0.6, 0, 0.8]
    (arguments,) = deepface
    assert arguments["model_name"] == "ArcFace"
    assert arguments["detector_backend"] == "skip"
    picture = arguments["img_path"]
    assert picture.shape == (224, 224, 3)
    middle = picture[picture.shape[0] // 2, picture.shape[1] // 2]
    assert middle.tolist() == [50, 100, 200]
    assert embedder(frame, (400, 400, 420, 420)) is None
    assert DeepFaceEmbedder("ArcFace", threshold=0.7).threshold == 0.7


@pytest.mark.usefixtures("deepface")
def test_deepface_gets_the_weights_of_dlib_that_are_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = tmp_path / "pinned.dat"
    pinned.write_bytes(b"weights")
    monkeypatch.setattr(module, "asset_path", {"dlib_face_recognition": pinned}.__getitem__)
    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path / "home"))
    DeepFaceEmbedder("ArcFace")
    assert not (tmp_path / "home").exists()
    assert DeepFaceEmbedder("Dlib").threshold == 0.4
    (lent,) = (tmp_path / "home/.deepface/weights").iterdir()
    assert (lent.name, lent.read_bytes()) == (
        "dlib_face_recognition_resnet_model_v1.dat",
        b"weights",
    )
    lent.write_bytes(b"their own")
    DeepFaceEmbedder("Dlib")
    assert lent.read_bytes() == b"their own"


def test_absent_deepface_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepface", None)
    with pytest.raises(ModuleNotFoundError, match=r"dp3-lightning\[deepface\]"):
        DeepFaceEmbedder()
