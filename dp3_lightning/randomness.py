"""Draw counter-based random numbers: each depends on its key only, not on earlier draws.

The key of a draw names the seed of the run, the purpose, the step and the sample. So neither the
number of processes nor a resume in mid-epoch changes a single value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor


def stable_hash(*key: int | str) -> int:
    """Return 63 bits that depend on the key alone (unlike ``hash``, also across processes)."""
    digest = hashlib.blake2b("\x1f".join(map(str, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def keyed_generator(*key: int | str) -> torch.Generator:
    """Return a CPU generator seeded by the key."""
    return torch.Generator().manual_seed(stable_hash(*key))


def keyed_normal(samples: Iterable[int], width: int, *key: int | str) -> Tensor:
    """Draw one row from N(0, 1) per sample.

    Args:
        samples: identifiers, one per row.
        width: length of a row.
        key: names the purpose of the draw.

    Returns:
        ``(n, width)`` float32 on the CPU.
    """
    rows = [torch.randn(width, generator=keyed_generator(*key, int(s))) for s in samples]
    return torch.stack(rows) if rows else torch.empty(0, width)
