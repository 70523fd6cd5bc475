"""Which code made an output: the commit, where it can be told."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

_PATIENCE = 5.0  # seconds


@cache
def tool_commit() -> str | None:
    """Return the commit of the code that runs, with ``-dirty`` after changes; None: unknown.

    Known for a checkout, and for what pip installed from a repository.
    """
    folder = Path(__file__).resolve().parents[2]
    return _of_checkout(folder) if (folder / ".git").exists() else _of_installation()


def _of_checkout(folder: Path) -> str | None:
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--dirty"]
    command += ["--exclude=*"]  # no tags: the hash
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=_PATIENCE
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None


def _of_installation() -> str | None:
    try:
        text = metadata.distribution("dp3-lightning").read_text("direct_url.json")
        commit = json.loads(text or "{}").get("vcs_info", {}).get("commit_id")
    except (metadata.PackageNotFoundError, ValueError, AttributeError):
        return None
    return None if commit is None else str(commit)
