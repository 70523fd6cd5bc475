"""Write the tables of benchmarks/README.md, docs/results.md and README.md from the results.

python -m benchmarks.tables           # rewrite all three
python -m benchmarks.tables --check   # exit 1 when it is out of date
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from benchmarks.common import markdown_table

HERE = Path(__file__).parent
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
LADDER = "temporal_stability--cpu.json"
# What a reader who has one minute is shown of the ladder.
OVERVIEW = {
    "B0": "DeepPrivacy2 as it comes",
    "B2": "DeepPrivacy2, one latent per person",
    "B3": "the same weights, this package's inference",
    "B4_0": "trained on, nothing added",
    "B4": "trained on, with the additive terms",
    "B5": "trained on with the terms, this package's inference",
}
# The rungs of the short table in the README.
SHORT = ("B0", "B3", "B5")
FIGURES = (
    "excess warping error", "tOF", "sharpness", "MobileNetV2 Frechet",  # of older results
    "MobileNetV2 kernel distance", "recognised", "TL-ID",
)  # fmt: skip


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


def all_sections() -> str:
    """Every file of results."""
    files = sorted((HERE / "results").rglob("*.json"))
    sections = [section(file) for file in files if not file.name.endswith(".draft.json")]
    return "\n\n".join(sections) or "No results are committed yet."


def overview(content: dict[str, Any], shown: Collection[str] = tuple(OVERVIEW)) -> str:
    """Tabulate some rungs of the ladder, and say which of its targets are met."""
    results = content["results"]
    rungs = {row["rung"]: row for row in results["rows"]}
    figures = [f for f in FIGURES if any(f in row for row in rungs.values())]
    rows = [
        {"": name, "rung": rung, **{f: (rungs[rung].get(f) or {}).get("median") for f in figures}}
        for rung, name in OVERVIEW.items()
        if rung in shown
    ]
    missed = [row for row in results["targets"] if not row["met"]]
    lines = [f"- missed: {row['target']}: {row['measured']}" for row in missed]
    count = f"{len(results['targets']) - len(missed)} of {len(results['targets'])} targets are met"
    return "\n\n".join([markdown_table(rows), "\n".join([f"{count}.", "", *lines]).strip()])


def between_markers(text: str, body: str) -> str:
    """Return a text with another body between its markers."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n\n{body}\n\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 when out of date"
    )
    check = parser.parse_args().check
    newest = max((HERE / "results").glob(f"*/{LADDER}"))
    ladder = json.loads(newest.read_text(encoding="utf-8"))
    for readme, body in (
        (HERE / "README.md", all_sections()),
        (HERE.parent / "docs/results.md", overview(ladder)),
        (HERE.parent / "README.md", overview(ladder, SHORT)),
    ):
        text = readme.read_text(encoding="utf-8")
        fresh = between_markers(text, body)
        if check and fresh != text:
            raise SystemExit(
                f"{readme.relative_to(HERE.parent)} is out of date: run "
                "`python -m benchmarks.tables` and commit it."
            )
        if not check:
            readme.write_text(fresh, encoding="utf-8")


if __name__ == "__main__":
    main()
