"""Name configurations of generators and discriminators: DeepPrivacy2's and small ones."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

_FACE: dict[str, Any] = {
    "min_fmap_resolution": 8,
    "z_channels": 512,
    "w_dim": 512,
    "conv_clamp": 256,
    "fix_errors": True,
}
_BODY: dict[str, Any] = {**_FACE, "imsize": (288, 160), "cnum": 64, "max_cnum_mul": 8}

GENERATOR_PRESETS: dict[str, dict[str, Any]] = {
    "fdf128": {**_FACE, "imsize": (128, 128), "cnum": 128, "max_cnum_mul": 4},
    "fdf256": {**_FACE, "imsize": (256, 256), "cnum": 64, "max_cnum_mul": 8},
    "fdh_cse": {**_BODY, "input_cse": True, "cse_nc": 16},
    "fdh_nocse": {**_BODY, "fix_errors": False},
    # Ours, for trials on a CPU; same architecture, fewer channels.
    "small128": {**_FACE, "imsize": (128, 128), "cnum": 16, "max_cnum_mul": 8, "w_dim": 256},
    "small64": {**_FACE, "imsize": (64, 64), "cnum": 16, "max_cnum_mul": 8, "w_dim": 256},
    "tiny32": {
        **_FACE,
        "imsize": (32, 32),
        "cnum": 4,
        "max_cnum_mul": 2,
        "z_channels": 16,
        "w_dim": 16,
    },
}

_D: dict[str, Any] = {"cnum": 80, "max_cnum_mul": 8, "min_fmap_resolution": 4, "conv_clamp": 256}

DISCRIMINATOR_PRESETS: dict[str, dict[str, Any]] = {
    "fdf128": {**_D, "imsize": (128, 128)},
    "fdf256": {**_D, "imsize": (256, 256)},
    "fdh_cse": {**_D, "imsize": (288, 160)},
    "fdh_nocse": {**_D, "imsize": (288, 160)},
    "small128": {**_D, "imsize": (128, 128), "cnum": 16},
    "small64": {**_D, "imsize": (64, 64), "cnum": 16},
    "tiny32": {**_D, "imsize": (32, 32), "cnum": 4, "max_cnum_mul": 2},
}


def preset(table: Mapping[str, dict[str, Any]], name: str) -> dict[str, Any]:
    """Return a copy of the named configuration.

    Raises:
        ValueError: unknown name; the message lists the known ones and the nearest.
    """
    if name not in table:
        near = difflib.get_close_matches(name, table, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"Expected a preset of {', '.join(table)}, got {name!r}.{hint}")
    return dict(table[name])
