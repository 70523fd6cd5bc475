"""Resolve `--generator` to a loaded network or a network-free treatment."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from dp3_lightning.anonymize.options import DeviceOptions, PersonOptions
from dp3_lightning.anonymize.planning.plan import Plan
from dp3_lightning.anonymize.rendering.pseudonyms import Pseudonyms, style_of
from dp3_lightning.assets import AssetUnavailableError
from dp3_lightning.faces.obscure import Treatment
from dp3_lightning.generators import (
    GeneratorAdapter,
    StyleGANUnetAdapter,
    load_generator,
    optimize_for_inference,
)
from dp3_lightning.generators.face_prior.adapter import FacePriorGenerator

_MOST_REDRAWS = 3
_FAR = 1000  # candidates between one draw and the next of a person who is drawn again
_DTYPES = {"auto": torch.float32, "32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}


@dataclass(frozen=True)
class Drawing:
    """Hold the network or treatment that draws faces, and how it is set up.

    Attributes:
        generator: the network, or None for a treatment without one.
        name: the name or file that the user gave.
        sha256: of the network's weights; empty without one.
        treatment: ``blur``, ``pixelate`` or ``solid`` when the user asked for one.
        precision: number format of the network.
    """

    generator: GeneratorAdapter | None
    name: str
    sha256: str
    treatment: Treatment | None = None
    precision: str = "32"

    @classmethod
    def prepare(
        cls, source: str | Path | GeneratorAdapter, device: DeviceOptions | None = None
    ) -> Drawing:
        """Load a generator in its fast form and move it to the device.

        Args:
            source: ``blur``, ``pixelate`` or ``solid``; a name or file for
                :func:`~dp3_lightning.generators.load_generator`; or a built adapter.
            device: where it computes.

        Raises:
            AssetUnavailableError: published weights that cannot be fetched; names the remedies.
            FileNotFoundError: no such file or name.
            ValueError: a file that cannot be used, or a device that is not there.
        """
        options = device or DeviceOptions()
        where = _device(options.device)
        if isinstance(source, GeneratorAdapter):
            adapter, name = source, type(source).__name__
        elif str(source) in get_args(Treatment):
            return cls(None, str(source), "", str(source))  # type: ignore[arg-type]
        else:
            name = str(source)
            adapter = _load(name)
        digest = weights_digest(adapter)
        precision = "32" if options.precision == "auto" else options.precision
        if isinstance(adapter, StyleGANUnetAdapter):
            adapter = optimize_for_inference(adapter, _DTYPES[precision])
        elif isinstance(adapter, FacePriorGenerator):
            if options.precision == "16":
                raise ValueError("`precision: 16` needs DeepPrivacy2's generators: use bf16.")
            adapter.precision = "32" if options.precision == "32" else "bf16"
            precision = adapter.precision
        elif precision != "32":
            raise ValueError(
                f"`precision: {options.precision}` works with the native generator only; "
                f"{type(adapter).__name__} needs 32."
            )
        adapter = adapter.to(where).eval()
        return cls(adapter, Path(name).name, digest, precision=precision)

    @property
    def redraws(self) -> int:
        """Return how often a person may be drawn again whose drawn face passed for the real one."""
        return _MOST_REDRAWS if isinstance(self.generator, FacePriorGenerator) else 0

    def styles(
        self,
        plan: Plan,
        people: PersonOptions,
        secret: bytes,
        redraws: Mapping[str, int] | None = None,
    ) -> dict[str, Tensor]:
        """Return the style of every person in a plan.

        Args:
            plan: who is there.
            people: how they are chosen.
            secret: of the run.
            redraws: person to the number of draws whose result was taken for the real person.

        Raises:
            ValueError: seed and key together, or a truncation that the generator does not know.
        """
        if self.generator is None or self.generator.z_dim == 0:
            return {}
        pseudonyms = Pseudonyms(people.seed, people.pseudonym_key, secret)
        truncation = people.truncation
        if truncation is None:
            truncation = self.generator.default_truncation
        return {
            person: style_of(
                person,
                pseudonyms,
                self.generator,
                truncation,
                people.multi_modal,
                people.person + _FAR * (redraws or {}).get(person, 0),
            )
            for person in sorted({track.person for track in plan.tracks})
        }

    @staticmethod
    def keyed(plan: Plan, people: PersonOptions) -> frozenset[str]:
        """Return the people of a plan whose pseudonym comes from the key."""
        pseudonyms = Pseudonyms(people.seed, people.pseudonym_key, b"")
        labels = {track.person for track in plan.tracks}
        return frozenset(label for label in labels if pseudonyms.source_of(label) == "key")

    def sources(self, plan: Plan, people: PersonOptions) -> dict[str, str]:
        """Return where the pseudonym of everybody who is drawn comes from.

        Returns:
            Label to ``random``, ``seed`` or ``key``; empty when nobody is drawn.
        """
        if self.generator is None or self.generator.z_dim == 0:
            return {}
        pseudonyms = Pseudonyms(people.seed, people.pseudonym_key, b"")
        drawn = sorted({track.person for track in plan.tracks if track.action == "generate"})
        named = {label: pseudonyms.source_of(label) for label in drawn}
        return {label: "random" if how == "secret" else how for label, how in named.items()}

    def describe(self) -> dict[str, Any]:
        """Return plain values for the manifest."""
        size = list(self.generator.image_size) if self.generator else None
        return {
            "name": self.name,
            "weights_sha256": self.sha256 or None,
            "image_size": size,
            "precision": self.precision,
            "licence": getattr(self.generator, "licence", None),
        }


def _load(name: str) -> GeneratorAdapter:
    try:
        return load_generator(name)
    except AssetUnavailableError as error:
        raise AssetUnavailableError(
            f"{error}\nOr give a fine-tuned checkpoint with --generator FILE, or use no "
            "network: --generator blur (pixelate, solid)."
        ) from error


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"Expected `device` auto, cpu or cuda, got {name!r}.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"`device: {name}` is asked for, but torch {torch.__version__} sees no CUDA device: "
            "set `device: cpu`."
        )
    return device


def weights_digest(generator: GeneratorAdapter) -> str:
    """Return the SHA-256 over names and values of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(generator.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    for path in getattr(generator, "latent_files", ()):
        digest.update(path.read_bytes())
    return digest.hexdigest()
