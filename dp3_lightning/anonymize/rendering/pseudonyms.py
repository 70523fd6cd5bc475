"""Draw a latent for every person, from random numbers or a key and never from the video."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dp3_lightning.generators import GeneratorAdapter, device_of

Source = Literal["secret", "seed", "key"]
_AUTOMATIC = re.compile(r"person-\d+")  # labels that the plan gives by itself


@dataclass(frozen=True)
class Pseudonyms:
    """Draw one latent per person from a secret and the person's label.

    Without arguments the secret is random and forgotten with the run: nobody can tell afterwards
    which latent belonged to whom, and two runs give different faces.

    Attributes:
        seed: for runs that must be repeatable; whoever knows it can draw the same faces.
        key: people whom the operator gave a label in the plan get the same face in every video
            that is rendered with this key. Labels like ``person-3``, which the plan numbers by
            itself, say nothing about who it is and stay random.
        secret: random part; kept by a run that must be able to continue after it was killed.
    """

    seed: int | None = None
    key: str | None = field(default=None, repr=False)
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def __post_init__(self) -> None:
        if self.seed is not None and self.key is not None:
            raise ValueError("Give `seed` or `pseudonym_key`, not both.")
        if self.key is not None and len(self.key.strip()) < 12:
            raise ValueError(
                f"Expected a `pseudonym_key` of at least 12 characters, got {len(self.key)}: a "
                "short one can be guessed."
            )

    def source_of(self, person: str) -> Source:
        """Return whether the latent of a person comes from the key, the seed or chance."""
        if self.seed is not None:
            return "seed"
        return "key" if self.key is not None and not _AUTOMATIC.fullmatch(person) else "secret"

    def _digest(self, person: str, purpose: str) -> bytes:
        material = {
            "secret": self.secret,
            "seed": f"seed {self.seed}".encode(),
            "key": f"key {self.key}".encode(),
        }[self.source_of(person)]
        message = f"{purpose}\0{person}".encode()
        return hmac.new(material, message, hashlib.sha256).digest()

    def latent(self, person: str, z_dim: int, candidate: int = 1) -> Tensor:
        """Return ``(1, z_dim)`` from N(0, 1), another one for every candidate."""
        purpose = "latent" if candidate == 1 else f"latent {candidate}"
        words = np.frombuffer(self._digest(person, purpose), np.uint32)
        drawn = np.random.Generator(np.random.Philox(np.random.SeedSequence(words.tolist())))
        return torch.from_numpy(drawn.standard_normal((1, z_dim), dtype=np.float32))

    def center(self, person: str, n_centers: int) -> int:
        """Return the typical person that the latent is pulled to."""
        return int.from_bytes(self._digest(person, "center"), "big") % n_centers


@torch.no_grad()
def style_of(
    person: str,
    pseudonyms: Pseudonyms,
    generator: GeneratorAdapter,
    truncation: float = 1.0,
    multi_modal: bool = False,
    candidate: int = 1,
) -> Tensor:
    """Return the style that draws a person, ``(1, w_dim)``.

    Args:
        person: label in the plan.
        pseudonyms: where latents come from.
        generator: whose mapping and averages to use.
        truncation: 0 pulls every person to the average face, 1 leaves the latent as drawn.
        multi_modal: pull to one of the generator's typical people instead of the average.
        candidate: which of the people that may stand for this person.

    Raises:
        ValueError: the generator has no average, or no typical people, to pull to.
    """
    z = pseudonyms.latent(person, generator.z_dim, candidate)
    centers = generator.style_centers(multi_modal)
    w = generator.map_latents(z.to(device_of(generator)))
    if truncation >= 1 and not multi_modal:
        return w
    if centers is None:
        wanted = "typical people (`w_centers`)" if multi_modal else "average style"
        raise ValueError(
            f"This generator has no {wanted} to pull latents towards: set "
            + ("`multi_modal: false`." if multi_modal else "`truncation: 1`.")
        )
    center = centers[pseudonyms.center(person, len(centers))][None]
    return center.to(w).lerp(w, min(max(float(truncation), 0.0), 1.0))
