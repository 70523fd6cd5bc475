"""Which stills are measured: portraits and groups, grey faces (ORL), and colour faces (CelebA)."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dp3_lightning.assets import ASSETS, asset_path
from dp3_lightning.checks import check_at_least
from dp3_lightning.video import IMAGE_SUFFIXES

PICTURES = (
    "group_photo",
    "portrait_obama",
    "portrait_obama2",
    "portrait_biden",
    "dated_person_a_1",
    "dated_person_a_2",
    "dated_person_b_1",
    "dated_person_b_2",
    "dated_impostor_1",
    "dated_impostor_2",
)
_GREY_SHARE = 5  # one still in five is of ORL


@dataclass(frozen=True)
class Still:
    """One picture.

    Attributes:
        name: of the asset, or of the asset and the file in it.
        path: of the picture.
        people: who is in it, where that is known; two stills of one person have the same text.
    """

    name: str
    path: Path
    people: str = ""

    @property
    def origin(self) -> str:
        """``pictures``, ``celeba_999``, ``orl_faces``, or ``given``."""
        return self.name.split("/")[0] if "/" in self.name else "pictures"


def shuffled(names: Sequence[str], seed: int) -> list[str]:
    """Return names in an order that only they and the seed decide."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).hexdigest())


def unpacked(asset: str, folder: Path) -> list[Still]:
    """Unpack the pictures of an archive asset into a folder, as they are.

    Raises:
        AssetUnavailableError: it cannot be had; says how to place it by hand.
    """
    target, prefix = folder / asset, ASSETS[asset].member
    target.mkdir(parents=True, exist_ok=True)
    stills = []
    with zipfile.ZipFile(asset_path(asset)) as archive:
        for member in sorted(archive.namelist()):
            short = member.removeprefix(prefix)
            if not member.startswith(prefix) or Path(short).suffix not in (".jpg", ".pgm"):
                continue
            path = target / short.replace("/", "_")
            if not path.is_file() or path.stat().st_size != archive.getinfo(member).file_size:
                path.write_bytes(archive.read(member))
            person = f"{asset}/{short.split('/')[0]}" if "/" in short else ""
            stills.append(Still(f"{asset}/{short}", path, person))
    return stills


def chosen_stills(folder: Path, count: int, seed: int, given: Path | None = None) -> list[Still]:
    """Choose stills: all portraits and groups, a fifth of ORL, the rest of CelebA.

    Args:
        folder: that archives are unpacked into.
        count: number of stills, at least 1; fewer when there are no more.
        seed: which ones; the first ``n`` of a larger choice are not those of a smaller one, but
            every part keeps its order.
        given: folder of further pictures, which count with the portraits.

    Raises:
        ValueError: ``count`` below 1.
        FileNotFoundError: no such folder.
    """
    check_at_least(1, count=count)
    single = [Still(name, asset_path(name), _person_of(name)) for name in PICTURES]
    if given is not None:
        if not given.is_dir():
            raise FileNotFoundError(f"No folder of pictures at {str(given)!r}.")
        files = sorted(p for p in given.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        single += [Still(f"given/{path.name}", path) for path in files]
    grey = {still.name: still for still in unpacked("orl_faces", folder)}
    color = {still.name: still for still in unpacked("celeba_999", folder)}
    first = single[: max(1, count // 4)]
    n_grey = min((count - len(first)) // _GREY_SHARE, len(grey))
    found = first + [grey[name] for name in shuffled(list(grey), seed)[:n_grey]]
    found += [color[name] for name in shuffled(list(color), seed)[: count - len(found)]]
    return found


def _person_of(name: str) -> str:
    """Name who is on a portrait."""
    if name in ("portrait_obama", "portrait_obama2", "dated_impostor_1"):
        return "obama"
    return "" if name == "group_photo" else name.rstrip("_12") if "person" in name else name
