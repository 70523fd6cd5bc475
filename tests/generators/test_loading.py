from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dp3_lightning.generators import (
    StyleGANUnet,
    StyleGANUnetAdapter,
    load_generator,
    optimize_for_inference,
)
from dp3_lightning.generators.checkpoints import read_checkpoint
from dp3_lightning.generators.loading import identify_preset
from dp3_lightning.generators.presets import GENERATOR_PRESETS

State = dict[str, Tensor]


def trained(seed: int = 0, preset: str = "tiny32") -> StyleGANUnet:
    """A network none of whose parameters has its initial value."""
    torch.manual_seed(seed)
    net = StyleGANUnet.from_preset(preset)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        net.style_net.w_avg.normal_()
    return net.eval()


def clip(size: int = 32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    frames = torch.rand(2, 2, 3, size, size, generator=generator) * 2 - 1
    keep = torch.ones(2, 2, 1, size, size)
    keep[..., size // 4 : size // 2, size // 4 : -size // 8] = 0
    return frames * keep, keep, torch.randn(2, 16, generator=generator)


def image_of(generator: Any) -> Tensor:
    with torch.no_grad():
        drawn: Tensor = generator(*clip())
    return drawn


def other(state: State) -> State:
    return {key: value + 1 for key, value in state.items()}


LAYOUTS: dict[str, Callable[[State], Any]] = {
    "bare": lambda s: s,
    "data parallel": lambda s: {f"module.{k}": v for k, v in s.items()},
    "inference": lambda s: {"running_average_generator": s},
    "training": lambda s: {"generator": other(s), "EMA_generator": s, "D_optimizer": {"state": {}}},
    "both averages": lambda s: {"running_average_generator": other(s), "EMA_generator": s},
    "lightning": lambda s: {
        "state_dict": {f"generator.net.{k}": v for k, v in other(s).items()}
        | {f"generator_ema.net.{k}": v for k, v in s.items()}
        | {"images_seen": torch.zeros(())},
        "loops": {},
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_averaged_generator(tmp_path: Path, layout: str) -> None:
    net = trained()
    path = tmp_path / "weights.ckpt"
    torch.save(LAYOUTS[layout](net.state_dict()), path)
    loaded = load_generator(path)
    assert not loaded.training
    assert torch.equal(image_of(loaded), image_of(StyleGANUnetAdapter(net)))
    assert torch.equal(loaded.net.style_net.w_avg, net.style_net.w_avg)


def test_safetensors(tmp_path: Path) -> None:
    net = trained()
    save_file(net.state_dict(), tmp_path / "weights.safetensors")
    loaded = load_generator(tmp_path / "weights.safetensors")
    assert torch.equal(image_of(loaded), image_of(StyleGANUnetAdapter(net)))
    (tmp_path / "cut.safetensors").write_bytes(
        (tmp_path / "weights.safetensors").read_bytes()[:1000]
    )
    with pytest.raises(ValueError, match=r"Cannot read .*cut.safetensors"):
        load_generator(tmp_path / "cut.safetensors")


@pytest.mark.parametrize("place", ["state", "top"])
def test_centres_at_either_place(tmp_path: Path, place: str) -> None:
    net, centres = trained(), torch.randn(5, 16)
    state = net.state_dict()
    content: dict[str, Any] = {"EMA_generator": state}
    if place == "top":
        content["w_centers"] = centres
    else:
        state["style_net.w_centers"] = centres
    torch.save(content, tmp_path / "w.ckpt")
    style_net = load_generator(tmp_path / "w.ckpt").net.style_net
    assert torch.equal(style_net.w_centers, centres)
    z = torch.randn(3, 16)
    assert torch.equal(style_net.multi_modal_truncate(0, [4, 0, 2], z=z), centres[[4, 0, 2]])


def save_with_easydict(path: Path, content: dict[str, Any], state: dict[str, Any]) -> None:
    """Save as upstream does, whose ``train_state`` is an ``easydict.EasyDict``."""

    class EasyDict(dict[str, Any]):
        def __init__(self, **entries: Any) -> None:
            super().__init__(**entries)
            self.__dict__.update(entries)

    module = ModuleType("easydict")
    module.EasyDict = EasyDict  # type: ignore[attr-defined]
    EasyDict.__module__, EasyDict.__qualname__ = "easydict", "EasyDict"
    before = sys.modules.get("easydict")
    sys.modules["easydict"] = module
    try:
        torch.save(content | {"train_state": EasyDict(**state)}, path)
    finally:
        del sys.modules["easydict"]
        if before is not None:
            sys.modules["easydict"] = before


def test_training_checkpoint_with_easydict(tmp_path: Path) -> None:
    net = trained()
    path = tmp_path / "1000.ckpt"
    save_with_easydict(path, {"EMA_generator": net.state_dict()}, {"global_step": 7, "epoch": 2})
    with pytest.raises(pickle.UnpicklingError, match="EasyDict"):
        torch.load(path, weights_only=True)  # the file is what it claims to be
    assert dict(read_checkpoint(path)["train_state"]) == {"global_step": 7, "epoch": 2}
    assert torch.equal(image_of(load_generator(path)), image_of(StyleGANUnetAdapter(net)))


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["DP3_TEST_BOMB"],)


def test_code_in_a_file_is_refused_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "exploded"
    monkeypatch.setenv("DP3_TEST_BOMB", str(target))
    path = tmp_path / "bomb.ckpt"
    torch.save({"EMA_generator": trained().state_dict(), "extra": Bomb()}, path)
    with pytest.raises(ValueError, match=r"Refused .*bomb.ckpt.*mkdir"):
        load_generator(path)
    assert not target.exists()
    torch.load(path, weights_only=False)
    assert target.exists()  # the file is what it claims to be


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
def test_truncated_file(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "cut.ckpt"
    torch.save({"EMA_generator": trained().state_dict()}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(ValueError, match=r"Cannot read .*cut.ckpt.*damaged"):
        load_generator(path)


def test_every_preset_is_told_from_the_others() -> None:
    for name in GENERATOR_PRESETS:
        with torch.device("meta"):
            state = StyleGANUnet.from_preset(name).state_dict()
        if name in ("fdf256", "fdh_nocse"):  # all shapes are equal
            with pytest.raises(ValueError, match=r"fdf256 and fdh_nocse alike.*preset=fdf256"):
                identify_preset(state, "memory")
        else:
            assert identify_preset(state, "memory") == name


def test_weights_that_fit_no_preset_list_the_differences(tmp_path: Path) -> None:
    state = trained().state_dict()
    state["decoder.0.conv0.weight"] = state["decoder.0.conv0.weight"][:, :3]
    state["surplus"] = state.pop("to_rgb.bias")
    torch.save(state, tmp_path / "odd.pt")
    with pytest.raises(ValueError, match="nearest is 'tiny32' with 3 differences") as error:
        load_generator(tmp_path / "odd.pt")
    for part in ("missing to_rgb.bias", "unknown surplus", "decoder.0.conv0.weight has shape"):
        assert part in str(error.value)


def test_weights_of_another_preset_are_refused(tmp_path: Path) -> None:
    torch.save(trained().state_dict(), tmp_path / "tiny.pt")
    with pytest.raises(ValueError, match=r"tiny\.pt do not fit this network"):
        load_generator(tmp_path / "tiny.pt", preset="small64")


def test_unknown_name_suggests_near_ones() -> None:
    with pytest.raises(FileNotFoundError, match=r"fdf129.*Did you mean fdf128"):
        load_generator("fdf129")


# ---------------------------------------------------------------------- the fast form


@pytest.mark.parametrize("fix_errors", [True, False])
def test_fast_form_draws_the_same(fix_errors: bool) -> None:
    net = trained()
    if not fix_errors:
        state = net.state_dict()
        net = StyleGANUnet.from_preset("tiny32", fix_errors=False).eval()
        net.load_state_dict(state)
    slow = StyleGANUnetAdapter(net)
    expected = image_of(slow)
    before = {k: v.clone() for k, v in slow.state_dict().items()}
    fast = optimize_for_inference(slow)
    assert (image_of(fast) - expected).abs().max() < 1e-5
    assert (image_of(fast) - expected).abs().max() < 1e-5  # works in place, yet not on its weights
    assert any("folded" in change for change in fast.changes)
    assert all(torch.equal(v, before[k]) for k, v in slow.state_dict().items())
    assert torch.equal(image_of(slow), expected)
    assert all(p.requires_grad for p in slow.parameters())


def test_fast_form_in_bfloat16_is_close() -> None:
    slow = StyleGANUnetAdapter(StyleGANUnet.from_preset("tiny32").eval())
    fast = optimize_for_inference(slow, dtype=torch.bfloat16)
    drawn, expected = image_of(fast), image_of(slow)
    assert drawn.dtype == torch.float32
    scale = expected.abs().max()
    assert 0 < ((drawn - expected) / scale).square().mean().sqrt() < 0.02


def test_fast_form_needs_a_native_generator() -> None:
    with pytest.raises(TypeError, match=r"StyleGANUnetAdapter.*Linear"):
        optimize_for_inference(torch.nn.Linear(1, 1))  # type: ignore[arg-type]


@pytest.mark.slow
def test_full_size_checkpoint(tmp_path: Path) -> None:
    """The size of the published FDF128 file, in its layout."""
    torch.manual_seed(0)
    state = StyleGANUnet.from_preset("fdf128").state_dict()
    torch.save({"running_average_generator": state}, tmp_path / "fdf128.ckpt")
    loaded = load_generator(tmp_path / "fdf128.ckpt")
    assert loaded.image_size == (128, 128)
    assert all(torch.equal(v, state[k]) for k, v in loaded.net.state_dict().items())
