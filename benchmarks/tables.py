"""Write the tables of README.md from the committed results.

python -m benchmarks.tables           # rewrite README.md
python -m benchmarks.tables --check   # exit 1 when it is out of date
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.common import markdown_table

HERE = Path(__file__).parent
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def section(file: Path) -> str:
    """One file of results as Markdown: what, where, table, targets."""
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    machine, settings, results = content["metadata"], content["settings"], content["results"]
    state = f"commit {machine['commit']}" + (" with changes" if machine["changed_files"] else "")
    where = (
        f"{machine['date'][:10]}, {state}, {machine['cpu']}, {machine['cores']} cores, device "
        f"{machine['device']}, torch {machine['versions']['torch']}, "
        f"load before the run {machine['load_before']}."
    )
    asked = ", ".join(f"{key} {value}" for key, value in settings.items())
    title = file.relative_to(HERE / "results").with_suffix("").as_posix()
    parts = [f"### {title}", where, f"Settings: {asked}.", markdown_table(results["rows"])]
    return "\n\n".join([*parts, markdown_table(results["targets"])])


def updated(text: str) -> str:
    """Return the text of README.md with fresh tables between the markers."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    sections = [section(file) for file in sorted((HERE / "results").rglob("*.json"))]
    body = "\n\n".join(sections) or "No results are committed yet."
    return f"{before}{BEGIN}\n\n{body}\n\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 when out of date"
    )
    check = parser.parse_args().check
    readme = HERE / "README.md"
    text = readme.read_text(encoding="utf-8")
    fresh = updated(text)
    if check and fresh != text:
        raise SystemExit(
            "benchmarks/README.md is out of date: run `python -m benchmarks.tables` and commit it."
        )
    if not check:
        readme.write_text(fresh, encoding="utf-8")


if __name__ == "__main__":
    main()
