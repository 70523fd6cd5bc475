"""Read and name files of drawn people: pictures, their styles, and their measurements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
from safetensors.torch import load_file
from torch import Tensor

from dp3_lightning.structures import UInt8Array

PICTURE_SIZE = 256  # pixels


@dataclass(frozen=True)
class FaceShard:
    """Hold some pictures with the styles that they were drawn from.

    Attributes:
        styles: ``(n, 512)``.
        jpeg: the pictures, encoded.
    """

    styles: Tensor
    jpeg: list[UInt8Array]

    def pictures(self) -> Iterator[UInt8Array]:
        """Decode the pictures, ``(256, 256, 3)`` uint8 RGB each."""
        for data in self.jpeg:
            yield cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def shard_path(folder: Path, number: int) -> Path:
    """Return the file of a shard."""
    return folder / f"faces-{number:05d}.safetensors"


def measures_path(shard: Path) -> Path:
    """Return the file of a shard's measurements."""
    return shard.with_name(f"measures-{shard.name.removeprefix('faces-')}")


def measured_shards(folder: Path) -> list[Path]:
    """Return the shards of a folder that have been measured, in order.

    Raises:
        FileNotFoundError: there is none: ``dp3 data synth-faces FOLDER`` makes them.
    """
    found = [p for p in sorted(folder.glob("faces-*.safetensors")) if measures_path(p).is_file()]
    if not found:
        raise FileNotFoundError(
            f"No measured faces in {str(folder)!r}: `dp3 data synth-faces {folder}` makes them."
        )
    return found


def read_shard(path: Path) -> FaceShard:
    """Read a shard.

    Raises:
        FileNotFoundError: no such shard: make it with ``dp3 data synth-faces``.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No shard at {str(path)!r}: `dp3 data synth-faces` makes it.")
    stored = load_file(path)
    jpeg, ends = stored["jpeg"].numpy(), stored["ends"].tolist()
    starts = [0, *ends[:-1]]
    return FaceShard(stored["styles"], [jpeg[a:b] for a, b in zip(starts, ends, strict=True)])


def read_measures(shard: Path) -> dict[str, Tensor]:
    """Read the measurements of a shard.

    Returns:
        By name, one row per picture: ``styles`` (512), ``valid`` (bool), ``box`` (4), ``mesh``
        (468, 3), ``embedding`` (128), ``appearance`` (7), in pixels of the picture.
    """
    return {**load_file(measures_path(shard)), "styles": load_file(shard)["styles"]}
