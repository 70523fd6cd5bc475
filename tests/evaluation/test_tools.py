from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from dp3_lightning.assets import AssetUnavailableError
from dp3_lightning.evaluation import Tools, tools
from dp3_lightning.metrics import inception_features


@pytest.fixture
def nothing_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(name: str) -> Path:
        raise AssetUnavailableError(f"{name} cannot be had\nremedies")

    monkeypatch.setattr(tools, "asset_path", unavailable)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setitem(sys.modules, "dlib", None)


@pytest.mark.usefixtures("nothing_at_hand")
def test_what_is_missing_is_named_with_every_figure_that_needs_it() -> None:
    found = Tools.at_hand()
    assert found.embedder is None
    assert found.perceptual is None
    assert found.features is None
    assert "pip install" in found.skipped["recognised"]
    assert {"identity distance", "TL-ID", "TG-ID"} < set(found.skipped)
    assert found.skipped["MobileNetV2 Frechet"] == "mobilenet_v2 cannot be had"
    assert "LPIPS" in found.skipped["tLP"]
    described = found.describe()
    assert described["recogniser"] is None
    assert "arneback" in described["flow"]


def test_a_recogniser_that_is_given_is_used() -> None:
    class Mine:
        name, threshold = "mine", 0.5

        def __call__(self, frame: object, box: object) -> None:
            return None

    found = Tools.at_hand(Mine())
    assert found.describe()["recogniser"] == "mine"
    assert "recognised" not in found.skipped


@pytest.mark.usefixtures("nothing_at_hand")
def test_inception_is_not_fetched() -> None:
    assert inception_features() is None
