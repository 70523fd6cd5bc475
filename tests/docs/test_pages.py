"""The pages name what exists: configurations, options, packages, files. CI builds them strictly."""

from __future__ import annotations

import dataclasses
import importlib
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from dp3_lightning.callbacks import LossCallback
from dp3_lightning.cli.anonymize import anonymize_parser

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
CONFIGURATION = (ROOT / "docs/reference/configuration.md").read_text()


def test_the_configuration_page_shows_every_file() -> None:
    shown = set(re.findall(r'^--8<-- "(configs/[^"]+)"$', CONFIGURATION, re.MULTILINE))
    files = {p.relative_to(ROOT).as_posix() for p in (ROOT / "configs").rglob("*.yaml")}
    assert shown == files


def test_anonymize_yaml_is_every_option_with_its_default() -> None:
    """The page shows this file as the list of options: none may be missing or differ."""
    parser = anonymize_parser()
    known = {k: v for k, v in vars(parser.get_defaults()).items() if k not in ("inputs", "config")}
    known = {k: v for k, v in known.items() if k not in ("out", "plan")}  # of one file only
    told = yaml.safe_load((ROOT / "configs/anonymize.yaml").read_text())
    plain = {
        k: (dataclasses.asdict(v) if dataclasses.is_dataclass(v) else v) for k, v in known.items()
    }
    assert told == plain


def test_every_package_with_a_public_door_has_a_page() -> None:
    named = {
        name
        for page in PAGES
        for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)
    }
    for name in named:
        importlib.import_module(name)
    doors = {
        f"dp3_lightning.{path.parent.name}"
        for path in (ROOT / "dp3_lightning").glob("*/__init__.py")
        if "__all__" in path.read_text()
    }
    assert doors - named == set()


def test_every_loss_is_in_the_table_of_terms() -> None:
    from dp3_lightning import callbacks

    table = (ROOT / "docs/terms.md").read_text()
    losses = [
        name
        for name in callbacks.__all__
        if isinstance(getattr(callbacks, name), type)
        and issubclass(getattr(callbacks, name), LossCallback)
        and name != "LossCallback"
    ]
    assert len(losses) > 5
    assert [name for name in losses if f"| `{name}` |" not in table] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_files_named_in_code_spans_exist(page: Path) -> None:
    """Paths such as `benchmarks/README.md` are no links, so the strict build cannot see them."""
    spans = re.findall(
        r"`((?:benchmarks|tests|examples|docs|anonymize|faces)/[\w./]+\.\w+)`", page.read_text()
    )
    missing = [
        s for s in spans if not any((root / s).exists() for root in (ROOT, ROOT / "dp3_lightning"))
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_files_shown_in_pages_exist(page: Path) -> None:
    """A formatter that takes such a line for Python leaves the page without the file."""
    lines = [line for line in page.read_text().splitlines() if line.lstrip().startswith("--8")]
    shown = [re.fullmatch(r'--8<-- "(\S+)"', line) for line in lines]
    assert [line for line, match in zip(lines, shown, strict=True) if match is None] == []
    assert [m[1] for m in shown if m is not None and not (ROOT / m[1]).exists()] == []


def test_the_architecture_picture_needs_nothing_from_outside() -> None:
    text = (ROOT / "docs/architecture.svg").read_text()
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "href" not in text
    assert "url(" not in text.replace("url(#m)", "")


def headings_of(readme: str) -> list[str]:
    return re.findall(r"^## (.+)$", readme, re.MULTILINE)


def test_the_readme_is_short_and_in_order() -> None:
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 160
    assert headings_of(readme) == [
        "Install", "Anonymize", "Tests", "Fine-tune", "Extend", "Figures", "Limits", "Licence",
    ]  # fmt: skip
    assert readme.index("docs/before_after.jpg") < readme.index("## Install")


def test_links_of_the_readme_and_its_neighbours_lead_somewhere() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md"):
        targets = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / name).read_text())
        missing = [t for t in targets if "://" not in t and not (ROOT / t).exists()]
        assert missing == [], name


@pytest.mark.parametrize("page", ["README.md", "docs/guide/anonymize.md", "docs/threat_model.md"])
def test_options_named_in_the_guides_exist(page: str) -> None:
    parser = anonymize_parser()
    options = {k.replace("_", "-") for k in vars(parser.get_defaults())} | {"out"}
    others = {"config", "original", "report", "baseline", "overwrite"}  # of other commands, too
    named = set()
    for command in re.findall(r"dp3 anonymize ([^\n`]+)", (ROOT / page).read_text()):
        named |= set(re.findall(r"--([a-z][\w-]+)", command.split("#")[0].split("&&")[0]))
    assert named - options - others == set()


def test_the_figures_of_the_readme_are_those_of_the_results_page() -> None:
    """They are written by hand in both: one may not be changed without the other."""
    readme, results = (
        " ".join((ROOT / name).read_text().split()) for name in ("README.md", "docs/results.md")
    )
    figures = readme.split("## Figures")[1].split("Against DeepPrivacy2")[0].split(" - ")[1:]
    assert len(figures) == 4
    assert [figure for figure in figures if figure.strip() not in results] == []
