"""Fetch one URL into one file, resumable, with a progress bar for large files."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

_SILENCE_SECONDS = 30  # without any byte arriving
_BLOCK = 1 << 18
_BAR_FROM = 8 << 20  # bytes; smaller files are there before a bar could be read


class DownloadError(Exception):
    """Report a source that failed, and why."""


def partial_path(url: str, folder: Path) -> Path:
    """Return the path of the finished part of an interrupted download."""
    return folder / f".{hashlib.sha256(url.encode()).hexdigest()[:16]}.partial"


def download(url: str, output: Path, partial: Path) -> None:
    """Fetch ``url``; continue where an earlier try stopped, if the server can.

    Args:
        url: http, https or file URL.
        output: the finished file; on the file system of ``partial``.
        partial: the file of the part received so far, kept on failure. Not for two processes at a
            time: the second one starts a file of its own.

    Raises:
        DownloadError: no answer, an error status, or the connection broke.
    """
    try:
        file = _open_alone(partial)
        with file:
            _fetch_into(url, file)
            if fcntl is not None:
                os.replace(file.name, output)  # while locked, so that it is this file
        if fcntl is None:  # an open file cannot be renamed
            os.replace(file.name, output)
    except (OSError, http.client.HTTPException) as error:  # URLError, timeouts are OSErrors
        raise DownloadError(str(error) or type(error).__name__) from error


def _open_alone(partial: Path) -> IO[bytes]:
    """Open ``partial`` for appending, or another file while another process is at it."""
    own = partial.with_name(f"{partial.stem}-{uuid.uuid4().hex}.partial")
    if fcntl is None:
        return own.open("ab")
    file = partial.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.stat(partial).st_ino == os.fstat(file.fileno()).st_ino:
            return file
    except OSError:  # locked by another process, or renamed by it when it had finished
        pass
    file.close()
    return own.open("ab")


def _fetch_into(url: str, file: IO[bytes]) -> None:
    have = file.seek(0, os.SEEK_END)
    headers = {"User-Agent": "dp3_lightning"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=_SILENCE_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        file.truncate(0)  # longer than the file is now: start again
        return _fetch_into(url, file)
    with response:
        if have and response.status != http.client.PARTIAL_CONTENT:
            file.truncate(0)  # the server sends everything once more
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length is not None else None
        _copy(response, file, have, total)


def _copy(response: Any, file: IO[bytes], have: int, total: int | None) -> None:
    columns = (
        TextColumn("downloading"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=total is None or total < _BAR_FROM) as progress:
        task = progress.add_task("", total=total, completed=have)
        while block := response.read(_BLOCK):
            file.write(block)
            have += len(block)
            progress.update(task, completed=have)
    file.flush()
    if total is not None and have < total:
        raise ConnectionError(f"the connection broke after {have} of {total} bytes")
