"""Look at what surrounds a hole and say what kind of person fits there."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dp3_lightning.generators.face_prior.mobilenet import OUT_CHANNELS, STRIDE, MobileNetV2Features
from dp3_lightning.generators.face_prior.synthesis import W_DIM

INPUT_SIZE = 96  # pixels
_WIDTH, _HIDDEN = 64, 768
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of levels in [0, 1]


class ContextEncoder(nn.Module):
    """Map surroundings to the mean of the whitened latent of people who fit there.

    Args:
        out_dim: width of the latent.
        dropout: of the hidden layer, in training.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, out_dim: int = W_DIM, dropout: float = 0.1) -> None:
        super().__init__()
        self.features = MobileNetV2Features(in_channels=4)
        self.narrow = nn.Conv2d(OUT_CHANNELS, _WIDTH, 1)
        cells = (INPUT_SIZE // STRIDE) ** 2
        self.hidden = nn.Linear(_WIDTH * cells, _HIDDEN)
        self.output = nn.Linear(_HIDDEN, out_dim)
        self.dropout = dropout
        nn.init.zeros_(self.output.bias)
        with torch.no_grad():
            self.output.weight.mul_(0.3)  # start near the average person
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(3, 1, 1), persistent=False)

    def forward(self, aligned: Tensor, known: Tensor) -> Tensor:
        """Guess who fits.

        Args:
            aligned: ``(N, 3, S, S)`` in [-1, 1], aligned as the synthesis network draws faces.
                What is not known must be anything but the real face; it is not looked at.
            known: ``(N, 1, S, S)`` in [0, 1], 1 where ``aligned`` may be looked at.

        Returns:
            ``(N, out_dim)``, whitened.
        """
        size = (INPUT_SIZE, INPUT_SIZE)
        if aligned.shape[-2:] != size:
            # Means over known pixels only, so that nothing of the hole's fill bleeds in.
            known_small = F.interpolate(known, size=size, mode="area")
            aligned = F.interpolate(aligned * known, size=size, mode="area")
            aligned = aligned / known_small.clamp_min(1e-3)
            known = known_small
        picture = ((aligned + 1) / 2 - self.mean) / self.std
        x = torch.cat([picture * known, known * 2 - 1], 1)
        x = self.features(x.contiguous(memory_format=torch.channels_last))
        x = F.leaky_relu(self.narrow(x), 0.1).flatten(1)
        x = F.leaky_relu(self.hidden(x), 0.1)
        out: Tensor = self.output(F.dropout(x, self.dropout, self.training))
        return out
