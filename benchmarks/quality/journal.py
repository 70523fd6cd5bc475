"""Finished parts of a long study, a line of JSON each: it can be killed and gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def finished(file: Path) -> dict[str, Any]:
    """Read what was finished, by name, and cut off a line that has no end."""
    if not file.is_file():
        return {}
    text = file.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        file.write_text(whole, encoding="utf-8")
    return {row["name"]: row["found"] for row in map(json.loads, whole.splitlines())}


def each(file: Path, names: Iterable[str], work: Callable[[str], Any]) -> dict[str, Any]:
    """Do what is not yet finished, and return the answers of all.

    Args:
        file: JSON lines; its folder is made.
        names: of the parts, each once.
        work: called with a name; its answer must fit into JSON without NaN.

    Returns:
        Name to answer, in the order asked for.
    """
    known = finished(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    answers = {}
    with file.open("a", encoding="utf-8") as output:
        for number, name in enumerate(names, start=1):
            if name not in known:
                known[name] = work(name)
                line = json.dumps({"name": name, "found": known[name]}, allow_nan=False)
                output.write(line + "\n")
                output.flush()
                print(f"{number}: {name}", flush=True)
            answers[name] = known[name]
    return answers
