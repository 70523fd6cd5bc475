from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from dp3_lightning.generators import StyleGANUnet, StyleGANUnetAdapter, export, load_generator
from dp3_lightning.generators.export import export_generator


@pytest.fixture
def generator() -> StyleGANUnetAdapter:
    torch.manual_seed(0)
    return StyleGANUnetAdapter(StyleGANUnet.from_preset("tiny32", fix_errors=False)).eval()


@pytest.mark.parametrize("form", ["dp2", "safetensors"])
def test_weights_come_back_with_their_configuration(
    generator: StyleGANUnetAdapter, tmp_path: Path, form: str
) -> None:
    generator.net.style_net.set_centers(torch.randn(3, 16))
    path = tmp_path / f"out.{'ckpt' if form == 'dp2' else 'safetensors'}"
    assert export_generator(generator, path, form, {"licence": "CC BY-NC 4.0"}) == path
    loaded = load_generator(path)
    assert loaded.net.config == generator.net.config
    state = generator.state_dict()
    assert state.keys() == loaded.state_dict().keys()
    assert all(torch.equal(v, state[k]) for k, v in loaded.state_dict().items())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_dp2_form_is_what_its_loader_looks_for(
    generator: StyleGANUnetAdapter, tmp_path: Path
) -> None:
    content = torch.load(
        export_generator(generator, tmp_path / "g.ckpt", "dp2", {"a": "b"}), weights_only=True
    )
    assert content["EMA_generator"].keys() == generator.net.state_dict().keys()
    assert content["metadata"] == {"a": "b"}


def test_safetensors_carry_metadata(generator: StyleGANUnetAdapter, tmp_path: Path) -> None:
    path = export_generator(generator, tmp_path / "g.safetensors", "safetensors", {"data": "x"})
    with safe_open(str(path), framework="pt") as file:
        assert file.metadata()["data"] == "x"
        assert file.metadata()["format"] == "pt"


def test_torchscript_draws_the_same_for_any_batch(
    generator: StyleGANUnetAdapter, tmp_path: Path
) -> None:
    program = torch.jit.load(export_generator(generator, tmp_path / "g.pt", "torchscript"))
    condition = torch.rand(3, 3, 32, 32) * 2 - 1
    keep = (torch.rand(3, 1, 32, 32) > 0.5).float()
    z = torch.randn(3, 16)
    expected = generator.net(condition=condition * keep, mask=keep, z=z)["img"]
    assert (program(condition * keep, keep, z) - expected).abs().max() < 1e-5


def test_a_program_that_draws_something_else_is_not_written(
    generator: StyleGANUnetAdapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "optimize_for_inference", lambda _: _wrong())
    with pytest.raises(RuntimeError, match="differs by"):
        export_generator(generator, tmp_path / "g.pt", "torchscript")
    assert list(tmp_path.iterdir()) == []


def _wrong() -> StyleGANUnetAdapter:
    return StyleGANUnetAdapter(StyleGANUnet.from_preset("tiny32")).eval()


def test_bad_arguments(generator: StyleGANUnetAdapter, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`form`.*'onnx'"):
        export_generator(generator, tmp_path / "g", "onnx")
    with pytest.raises(FileNotFoundError, match="No folder"):
        export_generator(generator, tmp_path / "none/g", "dp2")
    keypoints = StyleGANUnet.from_preset(
        "tiny32", input_keypoints=True, n_keypoints=7, input_keypoint_indices=(0, 1)
    )
    with pytest.raises(ValueError, match="key points"):
        export_generator(StyleGANUnetAdapter(keypoints), tmp_path / "g.pt", "torchscript")
