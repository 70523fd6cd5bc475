"""Write files that appear under their name when they are complete, or not at all."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def temporary_name(target: Path) -> Path:
    """Return a new hidden name beside a file, with its suffix: programs choose formats by it."""
    return target.with_name(f".{target.stem}.{uuid.uuid4().hex}.partial{target.suffix}")


@contextmanager
def replaced(target: Path) -> Iterator[Path]:
    """Yield a temporary name to write to; at the end that file is renamed to ``target``.

    When the block raises, what was written is deleted and an older ``target`` stays. The suffix is
    the same, because programs choose formats by it.

    Args:
        target: final path; its folder must exist.
    """
    partial = temporary_name(target)
    try:
        yield partial
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write a text file, UTF-8; names that are no text are escaped."""
    with replaced(target) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(target: Path, data: Mapping[str, Any], indent: int | None = 1) -> None:
    """Write strict JSON: no NaN, no infinity."""
    write_text(target, json.dumps(data, indent=indent, allow_nan=False) + "\n")
