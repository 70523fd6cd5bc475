from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
import torch

from dp3_lightning.assets import AssetUnavailableError
from dp3_lightning.evaluation import MEANING, Tools, tools
from dp3_lightning.metrics import inception_features
from tests.evaluation.evaluation_fixtures import figures as figures_of
from tests.evaluation.evaluation_fixtures import frames


@pytest.fixture
def nothing_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(name: str) -> Path:
        raise AssetUnavailableError(f"{name} cannot be had\nremedies")

    monkeypatch.setattr(tools, "asset_path", unavailable)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setitem(sys.modules, "dlib", None)


@pytest.mark.usefixtures("nothing_at_hand")
def test_what_is_missing_is_named_with_every_figure_that_needs_it(tmp_path: Path) -> None:
    found = Tools.at_hand()
    assert found.embedder is None
    assert found.perceptual is None
    assert found.features is None
    assert "pip install" in found.skipped["recognised"]
    given_by_others = {
        "FID",
        "KID",
        "KID, low",
        "KID, high",
        "detector AUC",
    }  # which ask for files or a detector of yours
    plain = set(figures_of(tmp_path, frames(), embedder=None, perceptual=None))
    assert set(MEANING) - plain - given_by_others <= set(found.skipped)
    assert not plain & set(found.skipped)
    assert found.skipped["MobileNetV2 Frechet"] == "mobilenet_v2 cannot be had"
    assert "LPIPS" in found.skipped["tLP"]
    assert found.mesh is None
    assert found.skipped["landmark correlation"] == "face_mesh cannot be had"
    described = found.describe()
    assert described["recogniser"] is None
    assert "arneback" in described["flow"]


def test_a_recogniser_without_its_weights_is_left_out_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not met in the middle of the first video, where it would end the command."""

    def unavailable(name: str) -> Path:
        raise AssetUnavailableError(f"{name} cannot be had\nremedies")

    monkeypatch.setattr(tools, "asset_path", unavailable)
    monkeypatch.setitem(sys.modules, "dlib", types.ModuleType("dlib"))
    found = Tools.at_hand()
    assert found.embedder is None
    assert found.skipped["recognised"] == "dlib_shape_predictor_5 cannot be had"


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
