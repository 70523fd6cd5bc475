"""Embed faces by SFace in PyTorch, with gradient to the pixels: for the identity term.

The network of :class:`dp3_lightning.faces.sface.SFace` (MobileNet's blocks), rebuilt from the same
file. Batch norms are folded into the layers before them, so that ``train()`` changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dp3_lightning.assets import asset_path
from dp3_lightning.faces.onnx_tensors import dequantize, read_tensors
from dp3_lightning.faces.sface import ARCFACE_POINTS, CHIP_SIDE
from dp3_lightning.structures import FloatArray

_Arrays = Mapping[str, npt.NDArray[np.generic]]

_HALVING = frozenset({"conv_3_dw", "conv_5_dw", "conv_7_dw", "conv_13_dw"})
_NAMES = ["conv_1", *(f"conv_{k}{kind}" for k in range(2, 15) for kind in ("_dw", ""))]
_EPSILON, _LAST_EPSILON = 1e-3, 2e-5  # of the batch norms: of the blocks, of the two at the end
_COARSEST = 32  # faces of more than 32 x 112 pixels are no faces: landmarks gone wild


class SFaceNetwork(nn.Module):
    """Embed aligned or unaligned faces with gradient to the pixels.

    Equal to :class:`dp3_lightning.faces.sface.SFace` within 1e-4 on aligned faces. The weights are
    frozen. Judge what was trained against it with another recogniser.

    Args:
        weights: ONNX file; None: the asset ``sface``, fetched when it is not at hand.

    Raises:
        ValueError: the file is damaged or holds another network.
        dp3_lightning.assets.AssetUnavailableError: the model cannot be fetched.
    """

    takes_landmarks = True  # see IdentityLoss

    def __init__(self, weights: str | None = None) -> None:
        super().__init__()
        tensors = read_tensors(Path(weights) if weights else asset_path("sface"))
        try:
            layers = [layer for name in _NAMES for layer in _block(tensors, name)]
            self.layers = nn.Sequential(*layers)
            self.head = _head(tensors)
            self._shift, self._scale = (float(tensors[f"scalar_op{k}"].item()) for k in (1, 2))
        except KeyError as error:
            raise ValueError(f"Expected the ONNX file of SFace, got one without {error}.") from None
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor, landmarks: Tensor | None = None) -> Tensor:
        """Embed faces; runs in the weights' precision, with autocast off.

        Args:
            images: ``(N, 3, H, W)`` RGB in [-1, 1].
            landmarks: ``(N, 5, 2)`` as in a ``Detection``, in pixels of the images; None for faces
                of 112 pixels that :func:`align_faces` has aligned.

        Returns:
            ``(N, 128)`` of length 1. A row is NaN, and passes no gradient, where pixels or
            landmarks are not finite or the landmarks are not those of a face.

        Raises:
            ValueError: another shape.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"Expected `images` of shape (N, 3, H, W), got {tuple(images.shape)}.")
        with torch.autocast(images.device.type, enabled=False):
            images = images.to(self.head.weight.dtype)
            usable = images.isfinite().flatten(1).all(1)
            # where() before the maths: a NaN row must not poison the gradient of the others.
            chips = torch.where(usable[:, None, None, None], images, torch.zeros_like(images))
            if landmarks is not None:
                chips, placed = align_faces(chips, landmarks)
                usable = usable & placed
            if chips.shape[2:] != (CHIP_SIDE, CHIP_SIDE):
                raise ValueError(
                    f"Expected `images` of 112 x 112 pixels, got {tuple(chips.shape[2:])}: give "
                    "`landmarks`, by which faces are aligned."
                )
            levels = (chips + 1) * 127.5
            features = self.layers((levels - self._shift) * self._scale)
            embedding = F.normalize(self.head(features.flatten(1)), dim=1)
            return torch.where(usable[:, None], embedding, torch.nan)


def align_faces(images: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor]:
    """Turn, scale and move faces as ``align_face`` does, with gradient to the pixels.

    Args:
        images: ``(N, 3, H, W)`` in [-1, 1]; what lies outside of them becomes black.
        landmarks: ``(N, 5, 2)`` in pixels of the images.

    Returns:
        ``(N, 3, 112, 112)``, and ``(N,)`` bool: False, with a black face, where the landmarks are
        not those of a face.

    Raises:
        ValueError: landmarks of another shape.
    """
    if landmarks.shape != (len(images), 5, 2):
        raise ValueError(
            f"Expected `landmarks` of shape ({len(images)}, 5, 2), got {tuple(landmarks.shape)}."
        )
    turn, shift = _similarities(landmarks.detach().float())
    step = 1 / turn.abs()  # pixels of the image in one of the chip; NaN and infinity fail both
    placed = (step > 1e-3) & (step < _COARSEST)
    # Drawn at the image's scale or above, then averaged, each face by its own factor.
    finer = torch.where(placed, step - 1e-6, 0).ceil().clamp(min=1).long()
    chips = torch.zeros_like(images[:, :, :1, :1]) - 1
    chips = chips.expand(-1, -1, CHIP_SIDE, CHIP_SIDE)
    for factor in sorted(set(finer[placed].tolist())):
        rows = (placed & (finer == factor)).nonzero()[:, 0]
        drawn = _draw(images[rows], turn[rows] * factor, shift[rows] * factor, factor)
        chips = chips.index_copy(0, rows, drawn)
    return chips, placed


def _similarities(landmarks: Tensor) -> tuple[Tensor, Tensor]:
    """Fit turn and shift of the similarities z -> turn * z + shift of complex numbers."""
    source = torch.complex(landmarks[..., 0], landmarks[..., 1])
    target = torch.from_numpy(ARCFACE_POINTS @ (1, 1j)).to(source)
    centered = source - source.mean(1, keepdim=True)
    turn = (centered.conj() * target).sum(1) / centered.abs().square().sum(1)
    return turn, target.mean() - turn * source.mean(1)


def _draw(images: Tensor, turn: Tensor, shift: Tensor, factor: int) -> Tensor:
    height, width = images.shape[2:]
    middles = torch.arange(CHIP_SIDE * factor, device=images.device) + 0.5
    places = middles[None, :] + 1j * middles[:, None]
    from_where = (places - shift[:, None, None]) / turn[:, None, None]
    grid = torch.stack([from_where.real / width, from_where.imag / height], 3) * 2 - 1
    # Outside is 0: black, when black is 0.
    large = F.grid_sample(images + 1, grid.to(images), align_corners=False) - 1
    return F.avg_pool2d(large, factor)


def _block(tensors: _Arrays, name: str) -> tuple[nn.Conv2d, nn.PReLU]:
    """Build a convolution with its batch norm folded in, and its activation."""
    scale, shift = _norm(tensors, f"{name}_batchnorm", _EPSILON)
    weight = dequantize(tensors, f"{name}_conv2d_weight") * scale[:, None, None, None]
    outputs, inputs, side, _ = weight.shape
    conv = nn.Conv2d(
        outputs if name.endswith("_dw") else inputs,
        outputs,
        side,
        stride=2 if name in _HALVING else 1,
        padding=side // 2,
        groups=outputs if name.endswith("_dw") else 1,
    )
    _fill(conv, weight, shift)
    slopes = tensors[f"{name}_relu_gamma"].astype(np.float32).reshape(-1)
    activation = nn.PReLU(outputs)
    activation.weight = nn.Parameter(torch.from_numpy(slopes))
    return conv, activation


def _head(tensors: _Arrays) -> nn.Linear:
    """Build the last layer, with the batch norms before and after it folded in."""
    scale, shift = _norm(tensors, "bn1", _LAST_EPSILON)
    after_scale, after_shift = _norm(tensors, "fc1", _LAST_EPSILON)
    weight = dequantize(tensors, "pre_fc1_weight")
    cells = weight.shape[1] // len(scale)
    bias = dequantize(tensors, "pre_fc1_bias") + weight @ np.repeat(shift, cells)
    weight = weight * np.repeat(scale, cells) * after_scale[:, None]
    head = nn.Linear(weight.shape[1], weight.shape[0])
    _fill(head, weight, bias * after_scale + after_shift)
    return head


def _norm(tensors: _Arrays, name: str, epsilon: float) -> tuple[FloatArray, FloatArray]:
    """Return a batch norm as scale and shift."""
    gamma, beta, mean, variance = (
        tensors[f"{name}_{kind}"].astype(np.float64)
        for kind in ("gamma", "beta", "moving_mean", "moving_var")
    )
    scale = gamma / np.sqrt(variance + epsilon)
    return scale, beta - mean * scale


def _fill(layer: nn.Conv2d | nn.Linear, weight: FloatArray, bias: FloatArray) -> None:
    layer.weight = nn.Parameter(torch.from_numpy(weight.astype(np.float32)))
    layer.bias = nn.Parameter(torch.from_numpy(bias.astype(np.float32)))
