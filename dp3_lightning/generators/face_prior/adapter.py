"""The face prior behind the adapter: a frozen network draws, an encoder chooses who fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from dp3_lightning.assets.table import FACE_PRIOR_TERMS
from dp3_lightning.checks import check_between, check_choice
from dp3_lightning.generators.base import GeneratorAdapter, check_clip_inputs
from dp3_lightning.generators.face_prior.context_encoder import INPUT_SIZE, ContextEncoder
from dp3_lightning.generators.face_prior.fast import FastSynthesis, Precision
from dp3_lightning.generators.face_prior.latent_model import LatentModel
from dp3_lightning.generators.face_prior.latent_space import LatentSpace
from dp3_lightning.generators.face_prior.synthesis import SIZES, W_DIM, MobileStyleGANSynthesis
from dp3_lightning.generators.face_prior.weights import shipped
from dp3_lightning.structures import FloatArray

NAME = "face-prior"
# Mean box of CenterFace on drawn faces, of the side of their pictures: where the face lies in them.
DRAWN_BOX = (0.2083, 0.1781, 0.7927, 0.9309)


class FacePriorGenerator(GeneratorAdapter):
    """Draw random people who fit what surrounds a hole.

    The encoder looks at the condition (never at the hole), its guess is averaged over the frames of
    a clip, the latent ``z`` says who it is among the people who fit, and the synthesis network
    draws that person. Fine-tuning changes the encoder; the synthesis network is frozen unless asked
    otherwise.

    Args:
        weights: of the context encoder: a safetensors file, ``random``, or None for the shipped
            ones.
        image_size: side of the crops, in pixels: 128, 256, 512 or 1024.
        strength: share of the spread of people who fit that ``z`` uses; 0 draws the likeliest one.
        train_synthesis: whether the synthesis network is trained too. It then forgets quickly.

    Raises:
        ValueError: an argument out of range.
        FileNotFoundError: no such weights.
        AssetUnavailableError: the synthesis network cannot be had; says how to place it by hand.
    """

    def __init__(
        self,
        weights: str | None = None,
        image_size: int = 128,
        strength: float = 0.9,
        train_synthesis: bool = False,
    ) -> None:
        super().__init__()
        check_choice([str(s) for s in SIZES], image_size=str(image_size))
        check_between(0, 2, strength=strength)
        self.image_size, self.z_dim = (image_size, image_size), W_DIM
        self.strength, self.train_synthesis = strength, train_synthesis
        self.encoder = ContextEncoder()
        if weights != "random":
            load_encoder(self.encoder, weights)
        self.space = LatentSpace.load()
        self.synthesis = load_synthesis()
        self.synthesis.requires_grad_(train_synthesis)
        root = torch.from_numpy(self.model.spread_root).float()
        self.register_buffer("spread_root", root, persistent=False)
        self.train()  # batch norms keep their statistics; Lightning keeps the mode it finds

    @cached_property
    def model(self) -> LatentModel:
        """Linear model of the latents."""
        return LatentModel.load()

    @property
    def config(self) -> dict[str, Any]:
        """Plain values that rebuild the generator; ``kind`` tells it from DeepPrivacy2's."""
        return {
            "kind": NAME,
            "image_size": self.image_size[0],
            "strength": self.strength,
            "train_synthesis": self.train_synthesis,
        }

    @cached_property
    def fast(self) -> FastSynthesis:
        """The fast form of the synthesis network, with its present weights."""
        return FastSynthesis(self.synthesis, self.precision)

    licence = FACE_PRIOR_TERMS
    latent_files = (shipped("latent_space"), shipped("latent_model"))
    precision: Precision = "bf16"  # of the fast form
    default_truncation = 1.0  # `strength` is the share of the spread already

    def forward(
        self,
        condition: Tensor,
        keep_mask: Tensor,
        z: Tensor | None = None,
        w: Tensor | None = None,
        conditions: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Draw raw frames, see :meth:`GeneratorAdapter.forward`.

        ``conditions["landmarks"]`` ``(B, T, 5, 2)``, in pixels of the crop, turn the drawn face
        with the head; without them it lies upright in the hole.
        """
        check_clip_inputs(condition, keep_mask)
        n_clips, n_frames = condition.shape[:2]
        residual = self.style(z, w, n_clips, condition)
        place = placement_of(keep_mask, conditions)
        u = self.guess_clip(condition, keep_mask, conditions).mean(1)
        if residual is not None:
            u = u + self.strength * residual @ self.spread_root.T  # type: ignore[operator]
        pictures = self.synthesis(self.space.color(u), self._drawn_size())
        pictures = pictures.repeat_interleave(n_frames, 0)
        raw = _paste(pictures, place, condition.shape[-2:])
        return raw.view(n_clips, n_frames, *raw.shape[1:])

    @classmethod
    def from_state(
        cls, config: Mapping[str, Any], state: Mapping[str, Tensor], origin: str
    ) -> FacePriorGenerator:
        """Build a fine-tuned generator.

        Args:
            config: what :attr:`config` gave.
            state: its state dict; without ``synthesis.`` the published one draws.
            origin: where it is from, for the error.

        Raises:
            ValueError: keys or shapes do not fit.
        """
        arguments = {name: value for name, value in config.items() if name != "kind"}
        generator = cls(weights="random", **arguments)
        own = generator.state_dict()
        kept = {k: v for k, v in own.items() if k.startswith("synthesis.")}
        floats = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
        try:
            generator.load_state_dict({**kept, **_with_counters(floats, generator)})
        except RuntimeError as error:
            raise ValueError(f"The face prior in {origin} does not fit: {error}") from error
        return generator.eval()

    def stored_state(self) -> dict[str, Tensor]:
        """Return what fine-tuning changed, on the CPU: :meth:`from_state` takes it back."""
        return {
            name: value.detach().cpu().clone()
            for name, value in self.state_dict().items()
            if self.train_synthesis or not name.startswith("synthesis.")
        }

    def train(self, mode: bool = True) -> FacePriorGenerator:
        """Set the mode; batch norms keep their statistics, which few frames cannot replace."""
        super().train(mode)
        self.encoder.eval()
        self.synthesis.eval()
        return self

    def style_centers(self, typical: bool = False) -> Tensor | None:
        """Return the middle of the people who fit, ``(1, 512)``; there are no typical people."""
        return None if typical else torch.zeros(1, self.z_dim)

    def _drawn_size(self) -> int:
        return int(self.image_size[0])

    def guess_clip(
        self,
        condition: Tensor,
        keep_mask: Tensor,
        conditions: Mapping[str, Tensor] | None = None,
        encoder: nn.Module | None = None,
    ) -> Tensor:
        """Say for every frame who fits.

        Args:
            condition: ``(B, T, 3, H, W)``; only what ``keep_mask`` keeps is looked at.
            keep_mask: ``(B, T, 1, H, W)``.
            conditions: with ``landmarks``, see :meth:`forward`.
            encoder: in place of the own one.

        Returns:
            ``(B, T, 512)``, whitened.
        """
        place = placement_of(keep_mask, conditions)
        size = [len(place), 3, INPUT_SIZE, INPUT_SIZE]
        grid = F.affine_grid(place, size, align_corners=False)
        seen = torch.cat([condition * (keep_mask > 0), keep_mask], 2).flatten(0, 1)
        sampled = F.grid_sample(seen, grid, align_corners=False)  # zeros: nothing is known there
        known = sampled[:, 3:]
        aligned = sampled[:, :3] / known.clamp_min(1e-3)
        out: Tensor = (encoder or self.encoder)(aligned, known)
        return out.view(*condition.shape[:2], -1)

    @torch.no_grad()
    def encode(self, contexts: Sequence[tuple[Tensor, Tensor]]) -> FloatArray:
        """Return the median guess over several views of one person, ``(512,)`` float64.

        Args:
            contexts: ``(aligned (3, S, S), known (1, S, S))`` each, see :class:`ContextEncoder`.
        """
        aligned = torch.stack([a for a, _ in contexts]).to(self.synthesis.start.device)
        known = torch.stack([k for _, k in contexts]).to(aligned.device)
        guesses = self.encoder(aligned, known)
        median: FloatArray = np.median(guesses.cpu().double().numpy(), axis=0)
        return median

    def draw(
        self,
        condition: Tensor,
        keep_mask: Tensor,
        w: Tensor | None,
        conditions: Mapping[str, Tensor],
    ) -> Tensor:
        """Draw single frames, see :meth:`GeneratorAdapter.draw`."""
        one = {name: value[:, None] for name, value in conditions.items()}
        return self.forward(condition[:, None], keep_mask[:, None], w=w, conditions=one)[:, 0]

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Split into ``encoder`` and ``synthesis``."""
        return {
            "encoder": list(self.encoder.parameters()),
            "synthesis": list(self.synthesis.parameters()),
        }


def load_encoder(encoder: ContextEncoder, weights: str | Path | None) -> None:
    """Load weights into a context encoder; None takes the shipped ones.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file holds something else.
    """
    path = shipped("context_encoder") if weights is None else Path(weights)
    if not path.is_file():
        raise FileNotFoundError(f"No weights of a context encoder at {str(path)!r}.")
    state = {name: value.float() for name, value in load_file(path).items()}
    try:
        encoder.load_state_dict(_with_counters(state, encoder))
    except RuntimeError as error:
        raise ValueError(f"{str(path)!r} holds no context encoder: {error}") from error


def _with_counters(state: dict[str, Tensor], encoder: nn.Module) -> dict[str, Tensor]:
    """Add the batch norms' counters, which are not shipped."""
    counters = {k: v for k, v in encoder.state_dict().items() if k.endswith("num_batches_tracked")}
    return {**counters, **state}


def load_synthesis() -> MobileStyleGANSynthesis:
    """Build the synthesis network with its published weights and the shipped heads."""
    net = MobileStyleGANSynthesis.from_package()
    heads = {name: value.float() for name, value in load_file(shipped("color_heads")).items()}
    net.heads.load_state_dict(heads)
    return net.eval().requires_grad_(False)


def placement_of(keep_mask: Tensor, conditions: Mapping[str, Tensor] | None) -> Tensor:
    """Return :func:`placement` for clips ``(B, T, 1, H, W)``, ``(B * T, 2, 3)``."""
    marks = (conditions or {}).get("landmarks")
    folded = None if marks is None else marks.flatten(0, 1)
    return placement(keep_mask.flatten(0, 1), folded)


def placement(keep_mask: Tensor, landmarks: Tensor | None = None) -> Tensor:
    """Return where drawn pictures lie in crops, ``(N, 2, 3)`` for ``affine_grid``.

    Args:
        keep_mask: ``(N, 1, H, W)``; the hole's bounds are the box of the face.
        landmarks: ``(N, 5, 2)`` in pixels; None: upright.
    """
    n, _, height, width = keep_mask.shape
    size = keep_mask.new_tensor([width, height])
    if landmarks is not None:
        return _by_landmarks(landmarks.to(keep_mask), size)
    hole = keep_mask[:, 0] < 0.5
    low_x, high_x = _bounds(hole.any(1))
    low_y, high_y = _bounds(hole.any(2))
    box_size = torch.stack([high_x - low_x, high_y - low_y], 1)
    drawn = keep_mask.new_tensor(DRAWN_BOX)
    side = (box_size / (drawn[2:] - drawn[:2])).prod(1).sqrt()
    box_center = torch.stack([low_x + high_x, low_y + high_y], 1) / 2
    center = box_center - ((drawn[2:] + drawn[:2]) / 2 - 0.5) * side[:, None]
    theta = keep_mask.new_zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = side / width, side / height
    theta[:, :, 2] = center / size * 2 - 1
    return theta


def _bounds(line: Tensor) -> tuple[Tensor, Tensor]:
    """First and last set position (exclusive) of every row; the whole row where none is set."""
    length = line.shape[1]
    positions = torch.arange(length, device=line.device)
    low = torch.where(line, positions, length).min(1).values
    high = torch.where(line, positions + 1, 0).max(1).values
    empty = high == 0
    return low.masked_fill(empty, 0).float(), high.masked_fill(empty, length).float()


def _by_landmarks(five: Tensor, size: Tensor) -> Tensor:
    from dp3_lightning.faces.alignment import align_matrix

    rows = []
    for points in five.detach().cpu().double().numpy():
        to_unit = align_matrix(points, 2)  # crop pixels to [0, 2]
        inverse = np.linalg.inv(to_unit[:, :2])
        offset = inverse @ (1.0 - to_unit[:, 2])
        rows.append(np.column_stack([inverse, offset]))
    theta = torch.from_numpy(np.stack(rows)).to(size)
    theta[:, 0] *= 2 / size[0]
    theta[:, 1] *= 2 / size[1]
    theta[:, :, 2] -= 1
    return theta


def _paste(pictures: Tensor, place: Tensor, size: Sequence[int]) -> Tensor:
    """Put drawn pictures where they lie in crops, ``(N, 3, H, W)``; outside, their border."""
    linear = torch.linalg.inv(place[:, :, :2])
    offset = -(linear @ place[:, :, 2:])
    inverse = torch.cat([linear, offset], 2)
    grid = F.affine_grid(inverse, [len(pictures), 3, *size], align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
