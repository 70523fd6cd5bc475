"""Make labelled pictures of people who do not exist, to train and to measure on.

Shards are functions of the seed and their number, so an interrupted run continues where it was
and another machine makes the same pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from dp3_lightning.data.face_shards import PICTURE_SIZE, shard_path
from dp3_lightning.generators.face_prior.fast import FastSynthesis
from dp3_lightning.generators.face_prior.mapping import MobileStyleGANMapping
from dp3_lightning.generators.face_prior.synthesis import MobileStyleGANSynthesis
from dp3_lightning.randomness import stable_hash
from dp3_lightning.structures import UInt8Array
from dp3_lightning.studies.color_heads import sample_styles

SHARD = 250  # pictures
_QUALITY = 92  # of JPEG
_CANDIDATES = 8  # styles that one is chosen from when tones are balanced

Balance = Callable[[Tensor], Tensor]


class FaceSampler:
    """Draw shards of random people.

    Args:
        mean: average style ``(512,)``.
        heads: state of the small heads.
        seed: of everything drawn.
        balance: styles ``(n, 512)`` to a number whose distribution is made flat, such as the
            predicted lightness of the skin; None takes people as they come.
    """

    def __init__(
        self, mean: Tensor, heads: dict[str, Tensor], seed: int = 0, balance: Balance | None = None
    ) -> None:
        net = MobileStyleGANSynthesis.from_package()
        net.heads.load_state_dict(heads)
        self.draw = FastSynthesis(net)
        self.mapping = MobileStyleGANMapping.from_package()
        self.mean, self.seed, self.balance = mean, seed, balance

    def styles(self, number: int) -> Tensor:
        """Draw the styles of shard ``number``, ``(SHARD, 512)``."""
        seed = stable_hash(self.seed, "synth-faces", number) % 2**62
        if self.balance is None:
            return sample_styles(SHARD, seed, self.mapping, self.mean)
        pool = sample_styles(SHARD * _CANDIDATES, seed, self.mapping, self.mean)
        return pool[flat_choice(self.balance(pool), SHARD, seed)]

    def write(self, folder: Path, number: int) -> Path:
        """Draw and write shard ``number``, unless it is there."""
        path = shard_path(folder, number)
        if path.is_file():
            return path
        styles = self.styles(number)
        jpeg = [self._encode(w) for w in styles]
        ends = np.cumsum([len(data) for data in jpeg])
        temporary = path.with_suffix(".part")
        save_file(
            {
                "styles": styles.contiguous(),
                "jpeg": torch.from_numpy(np.concatenate(jpeg)),
                "ends": torch.from_numpy(ends),
            },
            temporary,
        )
        temporary.replace(path)
        return path

    def _encode(self, w: Tensor) -> UInt8Array:
        levels = self.draw(w[None], PICTURE_SIZE)[0].clamp(-1, 1).permute(1, 2, 0).numpy()
        picture = np.rint((levels + 1) * 127.5).astype(np.uint8)
        options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
        data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)[1]
        encoded: UInt8Array = data.reshape(-1)
        return encoded


def flat_choice(values: Tensor, n: int, seed: int) -> Tensor:
    """Choose indices whose values are spread evenly over the middle 98 % of their range.

    Args:
        values: ``(m,)``, m >= n.
        n: how many to choose, each at most once.
        seed: of the choice.
    """
    low, high = torch.quantile(values, 0.01), torch.quantile(values, 0.99)
    random = torch.Generator().manual_seed(seed)
    wanted = low + (high - low) * torch.rand(n, generator=random)
    free = torch.ones(len(values), dtype=torch.bool)
    chosen = []
    for target in wanted:
        distance = (values - target).abs().masked_fill(~free, float("inf"))
        index = int(distance.argmin())
        free[index] = False
        chosen.append(index)
    return torch.tensor(chosen)
