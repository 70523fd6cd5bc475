from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from dp3_lightning.assets import asset_path
from dp3_lightning.generators.face_prior.adapter import load_encoder
from dp3_lightning.generators.face_prior.context_encoder import INPUT_SIZE, ContextEncoder
from dp3_lightning.generators.face_prior.mobilenet import OUT_CHANNELS, MobileNetV2Features


@functools.cache
def encoder() -> ContextEncoder:
    net = ContextEncoder()
    load_encoder(net, None)
    return net.eval().requires_grad_(False)


def views(size: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(size)
    aligned = torch.rand(2, 3, size, size, generator=random) * 2 - 1
    known = torch.ones(2, 1, size, size)
    known[0, :, size // 5 : -size // 7, size // 4 : -size // 5] = 0
    known[1, :, :, : size // 2] = 0
    known[1, :, size // 3] = 0.5
    return aligned, known


@pytest.mark.parametrize("size", [INPUT_SIZE, 100, 128, 256])
def test_nothing_that_is_not_known_is_looked_at(size: int) -> None:
    aligned, known = views(size)
    guess = encoder()(aligned, known)
    assert guess.shape == (2, 512)
    for filler in (1.0, -1.0, 1e3):
        filled = torch.where(known == 0, filler, aligned)
        assert torch.equal(encoder()(filled, known), guess)
    assert (encoder()(-aligned, known) - guess).abs().max() > 0.1  # what is known, is


def test_the_hole_itself_is_seen() -> None:
    aligned, known = views(INPUT_SIZE)
    grey = torch.zeros_like(aligned) + torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1) * 2 - 1
    guesses = encoder()(grey, known)
    assert (guesses[0] - guesses[1]).abs().max() > 0.1


def test_larger_pictures_are_means_over_known_pixels() -> None:
    aligned, known = views(2 * INPUT_SIZE)
    share = F.avg_pool2d(known, 2)
    mean = F.avg_pool2d(aligned * known, 2) / share.clamp_min(1e-3)
    expected = encoder()(mean, share)
    torch.testing.assert_close(encoder()(aligned, known), expected, rtol=1e-4, atol=1e-5)


def test_dropout_only_in_training() -> None:
    net = ContextEncoder(dropout=0.5)
    aligned, known = views(INPUT_SIZE)
    net.eval()
    assert torch.equal(net(aligned, known), net(aligned, known))
    net.train()
    net.features.eval()
    assert not torch.equal(net(aligned, known), net(aligned, known))


# ------------------------------------------------------------------------------- weights


def test_shipped_weights_fit() -> None:
    net = ContextEncoder().eval()
    before = net.output.weight.clone()
    load_encoder(net, None)
    assert not torch.equal(net.output.weight, before)
    assert all(torch.isfinite(v).all() for v in net.state_dict().values())


def test_weights_in_half_precision_and_without_counters_come_back(tmp_path: Path) -> None:
    state = encoder().state_dict()
    halves = {k: v.half() for k, v in state.items() if not k.endswith("num_batches_tracked")}
    save_file(halves, tmp_path / "encoder.safetensors")
    net = ContextEncoder().eval()
    load_encoder(net, str(tmp_path / "encoder.safetensors"))
    for name, value in halves.items():
        assert torch.equal(net.state_dict()[name], value.float())


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No weights of .*none\.safetensors"):
        load_encoder(ContextEncoder(), tmp_path / "none.safetensors")
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors' holds no context encoder"):
        load_encoder(ContextEncoder(), tmp_path / "other.safetensors")


def test_features_are_torchvisions() -> None:
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(1)
    theirs = models.mobilenet_v2().features[:-1].eval()
    ours = MobileNetV2Features().eval()
    expected = {name: value.shape for name, value in theirs.state_dict().items()}
    assert {name: value.shape for name, value in ours.state_dict().items()} == expected
    for buffer in theirs.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(1, 3, 96, 96) * 4 - 2
    with torch.no_grad():
        drawn = ours(x)
        torch.testing.assert_close(drawn, theirs(x))
    assert drawn.shape == (1, OUT_CHANNELS, 3, 3)


@pytest.mark.assets
def test_imagenet_weights_ignore_further_channels_at_first() -> None:
    stored = torch.load(asset_path("mobilenet_v2"), map_location="cpu", weights_only=True)
    three, four = MobileNetV2Features().eval(), MobileNetV2Features(in_channels=4).eval()
    three.load_imagenet()
    four.load_imagenet()
    for name, value in three.state_dict().items():
        assert torch.equal(value, stored[f"features.{name}"])
    x = torch.rand(2, 4, 64, 64)
    with torch.no_grad():
        expected = three(x[:, :3])
        torch.testing.assert_close(four(x), expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 0.01
