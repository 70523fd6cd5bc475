"""SFace in PyTorch: equal to OpenCV's, gradient to pixels only, rows that cannot be embedded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dp3_lightning.faces.onnx_tensors import dequantize, read_tensors
from dp3_lightning.faces.sface import ARCFACE_POINTS, SFace, align_face
from dp3_lightning.faces.sface_network import SFaceNetwork, align_faces
from tests.faces.test_sface import faces, picture, similar

NAMES = ["conv_1", *(f"conv_{k}{kind}" for k in range(2, 15) for kind in ("_dw", ""))]
HALVING = {"conv_3_dw", "conv_5_dw", "conv_7_dw", "conv_13_dw"}
CODES = {np.dtype("f4"): 1, np.dtype("i1"): 3, np.dtype("i8"): 7}


def varint(value: int) -> bytes:
    head = b""
    while value > 127:
        head, value = head + bytes([value & 127 | 128]), value >> 7
    return head + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def write_onnx(path: Path, tensors: dict[str, Any]) -> Path:
    graph = field(2, b"graph")
    for name, array in tensors.items():
        message = b"".join(field(1, side) for side in array.shape)
        message += field(2, CODES[array.dtype]) + field(8, name.encode())
        # Floats lie in a field of their own in the real file, except for scales.
        floats = array.dtype == np.float32 and not name.endswith("_scales")
        graph += field(5, message + field(4 if floats else 9, array.tobytes()))
    path.write_bytes(field(1, 8) + field(7, graph))
    return path


def quantized(name: str, shape: tuple[int, ...], blocks: int, rng: Any) -> dict[str, Any]:
    rows = shape[0] if len(shape) > 1 else 0
    flat, grid = ((rows, -1), (rows, blocks)) if rows else ((-1,), (blocks,))
    return {
        f"{name}_quantized": rng.integers(-128, 128, shape, np.int8).reshape(flat),
        f"{name}_scales": rng.uniform(0.004, 0.008, grid).astype(np.float32),
        f"{name}_zero_point": rng.integers(-9, 9, grid, np.int8),
        f"{name}_shape": np.array(shape, np.int64),
    }


def norm(name: str, n: int, rng: Any) -> dict[str, Any]:
    kinds = {"gamma": (0.5, 1.5), "beta": (-1, 1), "moving_mean": (-1, 1), "moving_var": (0.1, 2)}
    return {f"{name}_{k}": rng.uniform(*r, n).astype(np.float32) for k, r in kinds.items()}


def tiny() -> dict[str, Any]:
    """Return tensors of SFace's names with two or four channels."""
    rng = np.random.default_rng(0)
    tensors: dict[str, Any] = {
        "scalar_op1": np.array([120.0], np.float32),
        "scalar_op2": np.array([0.01], np.float32),
    }
    inputs = 3
    for name in NAMES:
        outputs = inputs if name.endswith("_dw") else 2 if inputs == 3 else 4
        side = 3 if name.endswith("_dw") or name == "conv_1" else 1
        shape = (outputs, 1 if name.endswith("_dw") else inputs, side, side)
        tensors |= quantized(f"{name}_conv2d_weight", shape, 1 if side == 3 else shape[1] // 2, rng)
        tensors |= norm(f"{name}_batchnorm", outputs, rng)
        slopes = rng.uniform(0.1, 0.6, (outputs, 1, 1)).astype(np.float32)
        tensors[f"{name}_relu_gamma"] = slopes
        inputs = outputs
    tensors |= norm("bn1", 4, rng) | norm("fc1", 6, rng)
    tensors |= quantized("pre_fc1_weight", (6, 4 * 49), 4, rng)
    return tensors | quantized("pre_fc1_bias", (6,), 2, rng)


def unfused(tensors: dict[str, Any], images: Tensor) -> Tensor:
    """Compute the network as its file lists it, every batch norm by itself."""
    t = {name: torch.from_numpy(array) for name, array in tensors.items()}

    def normed(x: Tensor, name: str, eps: float) -> Tensor:
        mean, var = t[f"{name}_moving_mean"], t[f"{name}_moving_var"]
        return F.batch_norm(x, mean, var, t[f"{name}_gamma"], t[f"{name}_beta"], eps=eps)

    x = ((images + 1) * 127.5 - t["scalar_op1"]) * t["scalar_op2"]
    for name in NAMES:
        weight = torch.from_numpy(dequantize(tensors, f"{name}_conv2d_weight")).float()
        groups = x.shape[1] if name.endswith("_dw") else 1
        stride, side = 2 if name in HALVING else 1, weight.shape[-1]
        x = F.conv2d(x, weight, stride=stride, padding=side // 2, groups=groups)
        x = F.prelu(normed(x, f"{name}_batchnorm", 1e-3), t[f"{name}_relu_gamma"].flatten())
    x = normed(x, "bn1", 2e-5).flatten(1)
    weight, bias = (
        torch.from_numpy(dequantize(tensors, f"pre_fc1_{kind}")).float()
        for kind in ("weight", "bias")
    )
    return F.normalize(normed(F.linear(x, weight, bias), "fc1", 2e-5), dim=1)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> SFaceNetwork:
    return SFaceNetwork(str(write_onnx(tmp_path_factory.mktemp("onnx") / "tiny.onnx", tiny())))


def chips(n: int) -> Tensor:
    return torch.rand(n, 3, 112, 112, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_folded_layers_answer_as_those_of_the_file(network: SFaceNetwork) -> None:
    with torch.no_grad():
        embedding = network(chips(3))
        torch.testing.assert_close(embedding, unfused(tiny(), chips(3)), rtol=1e-4, atol=1e-5)
        assert torch.equal(network.train()(chips(3)), embedding)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(network(chips(3)), embedding)
        assert network(chips(3).bfloat16()).dtype == torch.float32
    assert (embedding[0] - embedding[1]).abs().max() > 1e-3


def test_gradient_reaches_pixels_and_no_parameter(network: SFaceNetwork) -> None:
    images = F.interpolate(chips(2), 150).requires_grad_()
    marks = (torch.tensor(ARCFACE_POINTS) + 15).expand(2, 5, 2).clone().requires_grad_()
    network(images, marks)[:, 0].sum().backward()
    assert images.grad is not None
    assert torch.isfinite(images.grad).all()
    assert (images.grad[:, :, 40:110, 30:110] != 0).float().mean() > 0.9
    assert not images.grad[:, :, 134:].any()  # outside of the aligned face
    assert marks.grad is None
    assert not any(p.requires_grad for p in network.parameters())


def test_rows_that_are_no_face_are_nan_and_leave_the_others_alone(network: SFaceNetwork) -> None:
    marks = torch.tensor(ARCFACE_POINTS).repeat(6, 1, 1)
    marks[1, 2] = torch.nan
    marks[2] = 7.0  # in one point
    marks[3] *= 1e4  # a face of a million pixels would fill the memory
    marks[4, 0] = torch.inf
    images = chips(6)
    images[5, 0, 3, 3] = torch.nan
    images.requires_grad_()
    embedding = network(images, marks)
    assert embedding.isnan().all(1).tolist() == [False, *[True] * 5]
    torch.testing.assert_close(embedding[:1], network(images[:1], marks[:1]), rtol=1e-4, atol=1e-6)
    embedding[:, 0].nansum().backward()
    assert images.grad is not None
    assert torch.isfinite(images.grad).all()
    assert images.grad[0].any()
    assert not images.grad[1:].any()


@pytest.mark.parametrize(("scale", "degrees"), [(1.0, 25.0), (0.5, -40.0), (1.8, 10.0), (3.4, 0.0)])
def test_faces_are_aligned_as_for_opencv(scale: float, degrees: float) -> None:
    rows, columns = np.mgrid[:460, :500] / 20
    waves = np.stack([np.sin(columns), np.cos(rows), np.sin(rows + columns)], 2)
    frame = np.rint(127 * waves + 128).astype(np.uint8)
    marks = similar(ARCFACE_POINTS, scale, degrees, (110, 90))
    images = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 127.5 - 1
    both = torch.stack([torch.tensor(marks), torch.tensor(ARCFACE_POINTS)])
    aligned, placed = align_faces(images.expand(2, -1, -1, -1), both)
    assert placed.all()
    for chip, points in zip(aligned, (marks, ARCFACE_POINTS), strict=True):
        expected = align_face(frame, points).astype(np.float32)
        off = np.abs((chip.permute(1, 2, 0).numpy() + 1) * 127.5 - expected)
        assert np.quantile(off, 0.98) < 2  # of 255 levels; a quarter of a pixel is more
    outside, _ = align_faces(images, torch.tensor(ARCFACE_POINTS - (60, 0))[None])
    assert (outside[..., :59] == -1).all()


def test_bad_shapes_and_files(network: SFaceNetwork, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\(N, 3, H, W\), got \(3, 112, 112\)"):
        network(chips(1)[0])
    with pytest.raises(ValueError, match=r"112 x 112 pixels, got \(90, 90\): give `landmarks`"):
        network(chips(1)[..., :90, :90])
    with pytest.raises(ValueError, match=r"`landmarks` of shape \(2, 5, 2\), got \(1, 5, 2\)"):
        network(chips(2), torch.zeros(1, 5, 2))
    whole = write_onnx(tmp_path / "whole.onnx", tiny()).read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[:-100])
    (tmp_path / "empty.onnx").write_bytes(b"")
    for name in ("cut", "empty"):
        with pytest.raises(ValueError, match=f"Expected an ONNX file .*{name}.onnx .*damaged"):
            SFaceNetwork(str(tmp_path / f"{name}.onnx"))
    for gone in ("bn1_beta", "conv_4_conv2d_weight_scales"):
        other = {name: array for name, array in tiny().items() if name != gone}
        with pytest.raises(ValueError, match=f"Expected .*{gone}"):
            SFaceNetwork(str(write_onnx(tmp_path / "other.onnx", other)))


def test_tensors_come_back_as_written(tmp_path: Path) -> None:
    stored = read_tensors(write_onnx(tmp_path / "t.onnx", tiny()))
    assert stored.keys() == tiny().keys()
    for name, array in tiny().items():
        np.testing.assert_array_equal(stored[name], array)


@pytest.mark.assets
def test_equal_to_opencv_on_sample_faces() -> None:
    network, runtime = SFaceNetwork(), SFace()
    for name in ("portrait_obama", "portrait_obama2", "portrait_biden", "group_photo"):
        frame = picture(name)
        found = faces(frame)
        images = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 127.5 - 1
        marks = torch.tensor([face.landmarks for face in found])
        cut = np.stack([align_face(frame, face.landmarks or ()) for face in found])
        expected = torch.from_numpy(runtime.embed(cut))
        aligned = torch.from_numpy(cut).permute(0, 3, 1, 2).float() / 127.5 - 1
        embedding = network(aligned)
        assert (embedding - expected).abs().max() < 1e-4
        assert (1 - F.cosine_similarity(embedding, expected)).abs().max() < 1e-4
        # OpenCV rounds levels and places while it aligns.
        whole = network(images.expand(len(found), -1, -1, -1), marks)
        assert F.cosine_similarity(whole, expected).min() > 0.999
