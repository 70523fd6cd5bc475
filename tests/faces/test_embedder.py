from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import pytest

from dp3_lightning.faces import DeepFaceEmbedder


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
    verification.find_threshold = lambda model, metric: {"ArcFace": 1.13}[model]  # type: ignore[attr-defined]
    modules.verification = verification  # type: ignore[attr-defined]
    for name, module in (
        ("deepface", package), ("deepface.modules", modules),
        ("deepface.modules.verification", verification),
    ):  # fmt: skip
        monkeypatch.setitem(sys.modules, name, module)
    return asked


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
    middle = picture[picture.shape[0] // 2, picture.shape[1] // 2]
    assert middle.tolist() == [50, 100, 200]
    assert embedder(frame, (400, 400, 420, 420)) is None
    assert DeepFaceEmbedder("ArcFace", threshold=0.7).threshold == 0.7


def test_absent_deepface_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepface", None)
    with pytest.raises(ModuleNotFoundError, match=r"dp3-lightning\[deepface\]"):
        DeepFaceEmbedder()
