from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dp3_lightning.assets import asset_path
from dp3_lightning.generators.face_prior.adapter import load_synthesis
from dp3_lightning.generators.face_prior.fast import FastSynthesis
from dp3_lightning.generators.face_prior.mapping import MobileStyleGANMapping
from dp3_lightning.generators.face_prior.synthesis import (
    N_STYLES,
    SIZES,
    W_DIM,
    MobileStyleGANSynthesis,
    haar,
    inverse_haar,
)
from dp3_lightning.runtime.openvino import has_openvino, shared_core

# Rows of the 2x2 patterns: mean, top minus bottom, left minus right, diagonal.
PATTERNS = torch.tensor(
    [[[1, 1], [1, 1]], [[1, 1], [-1, -1]], [[1, -1], [1, -1]], [[1, -1], [-1, 1]]]
)


@functools.cache
def random_net() -> MobileStyleGANSynthesis:
    torch.manual_seed(0)
    net = MobileStyleGANSynthesis().eval().requires_grad_(False)
    for name, parameter in net.named_parameters():
        if name == "start" or name.endswith("pattern"):
            parameter.normal_()
        elif name.endswith(("modulation.bias", "up.bias")):
            parameter.fill_(1.0)
    return net


def random_styles(*shape: int) -> Tensor:
    return torch.randn(*shape, W_DIM, generator=torch.Generator().manual_seed(3))


# ------------------------------------------------------------------------------- wavelets


def test_wavelet_bands_are_the_products_with_four_patterns() -> None:
    x = torch.randn(2, 3, 6, 8, dtype=torch.float64)
    kernels = PATTERNS[:, None].double() / 2
    bands = torch.stack([F.conv2d(x[:, c : c + 1], kernels, stride=2) for c in range(3)], 1)
    expected = torch.cat([bands[:, :, 0], bands[:, :, 1:].flatten(1, 2)], 1)
    torch.testing.assert_close(haar(x), expected)


def test_wavelets_are_orthogonal_and_inverted() -> None:
    basis = torch.eye(2 * 4 * 4, dtype=torch.float64).view(32, 2, 4, 4)
    matrix = haar(basis).flatten(1)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(32, dtype=torch.float64))
    x = torch.randn(2, 8, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(haar(inverse_haar(x)), x)
    picture = torch.randn(2, 3, 10, 6, dtype=torch.float64)
    torch.testing.assert_close(inverse_haar(haar(picture)), picture)


# -------------------------------------------------------------------------------- network


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", [(W_DIM,), (N_STYLES, W_DIM)])
def test_every_size_is_drawn(size: int, shape: tuple[int, ...]) -> None:
    with torch.device("meta"):  # shapes without arithmetic
        picture = MobileStyleGANSynthesis()(torch.empty(2, *shape), size)
    assert picture.shape == (2, 3, size, size)


def test_one_style_is_that_style_for_all_layers() -> None:
    w = random_styles(2)
    whole = random_net()(w, 128)
    assert torch.equal(random_net()(w[:, None].expand(-1, N_STYLES, -1), 128), whole)
    assert whole.std() > 1e-3
    torch.testing.assert_close(random_net()(w[1:], 128), whole[1:], rtol=1e-4, atol=1e-5)


def test_small_pictures_use_the_styles_up_to_the_layer_after_their_last() -> None:
    w = random_styles(1, N_STYLES)
    whole = random_net()(w, 128)
    used = []
    for number in range(N_STYLES):
        other = w.clone()
        other[:, number] += 1.0
        used.append(not torch.equal(random_net()(other, 128), whole))
    assert used == [True] * 6 + [False] * 3


def test_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`size`.*'64'"):
        random_net()(random_styles(1), 64)


# ------------------------------------------------------------------------------ fast form


def test_fast_form_without_openvino_draws_the_same() -> None:
    fast = FastSynthesis(random_net(), runtime="torch")
    w = random_styles(2, N_STYLES)
    assert torch.equal(fast(w, 128), random_net()(w, 128))
    assert torch.equal(fast(w[:, 0], 128), random_net()(w[:, 0], 128))


@pytest.mark.parametrize("word", ["precision", "runtime"])
def test_unknown_words_are_refused(word: str) -> None:
    arguments: dict[str, Any] = {word: "fast"}
    with pytest.raises(ValueError, match=f"`{word}`.*'fast'"):
        FastSynthesis(random_net(), **arguments)


def core_or_skip() -> Any:
    if not has_openvino():
        pytest.skip("openvino is not installed")
    return shared_core()


def run_package(part: str, values: Tensor) -> Tensor:
    """What the package's own graph answers."""
    core = core_or_skip()
    graph, weights = (asset_path(f"face_prior_{part}_{kind}") for kind in ("graph", "weights"))
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    run = core.compile_model(core.read_model(graph, weights), "CPU", options)
    return torch.from_numpy(next(iter(run(values.numpy()).values())).copy())


@functools.cache
def published() -> tuple[MobileStyleGANSynthesis, Tensor]:
    """The network with its weights, and one mapped style."""
    z = torch.randn(1, W_DIM, generator=torch.Generator().manual_seed(1))
    return load_synthesis(), MobileStyleGANMapping.from_package()(z)


@pytest.mark.assets
def test_mapping_equals_the_package() -> None:
    z = 1.5 * torch.randn(1, W_DIM, generator=torch.Generator().manual_seed(1))
    expected = run_package("mapping", z)
    mapped = MobileStyleGANMapping.from_package()(z)
    assert expected.std() > 0.1
    assert (mapped - expected).abs().max() < 1e-4
    two = MobileStyleGANMapping.from_package()(torch.cat([z, -3 * z]))
    assert (two[:1] - expected).abs().max() < 1e-4


@pytest.mark.assets
def test_full_size_equals_the_package() -> None:
    net, w = published()
    expected = run_package("synthesis", w)
    with torch.inference_mode():
        picture = net(w, 1024)
    assert expected.std() > 0.1
    assert (picture - expected).abs().max() < 1e-3


@pytest.mark.assets
@pytest.mark.parametrize("size", SIZES[:-1])
def test_small_pictures_look_like_the_full_one(size: int) -> None:
    net, w = published()
    with torch.inference_mode():
        full = F.interpolate(net(w, 1024), size=(size, size), mode="area")
        error = (net(w, size) - full).square().mean()
    assert error < 0.15 * full.var()


@pytest.mark.assets
def test_openvino_draws_the_same() -> None:
    core = core_or_skip()
    net, w = published()
    both = torch.cat([w, w.flip(1)])
    with torch.inference_mode():
        expected = net(both, 256)
    exact = FastSynthesis(net, "32", "openvino")(both, 256)
    assert (exact - expected).abs().max() < 1e-3
    fast = FastSynthesis(net, "bf16", "openvino")(both, 256)
    error = (fast - expected).square().mean(dim=(1, 2, 3))
    psnr = 10 * torch.log10(4 / error)  # levels span 2
    assert psnr[0] > 45
    if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        assert psnr[0] < 80  # not quietly computed in float32
