"""Files that tools outside of Python read say the same as the package."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import yaml

import dp3_lightning

ROOT = Path(__file__).parents[1]
CI = (ROOT / ".ci/run").read_text()


def test_the_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert project["version"] == citation["version"] == dp3_lightning.__version__
    assert project["license"] == citation["license"]


def test_hooks_run_the_tools_of_ci() -> None:
    """Tools of the environment, not of a mirror, so that there is one place for their versions."""
    repos = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]
    hooks = {hook["id"]: hook for hook in repos[0]["hooks"]}
    assert {"ruff-check", "ruff-format", "mypy"} <= set(hooks)
    for hook in hooks.values():
        assert hook["language"] == "system"
        command = hook["entry"].split(" --")[0]
        assert f".venv/bin/{command}" in CI, f"CI does not run {command}"


@pytest.mark.parametrize("path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")))
def test_issue_templates_are_forms(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    if path.stem == "config":
        assert set(form) <= {"blank_issues_enabled", "contact_links"}
        return
    assert {"name", "description", "body"} <= set(form)
    for part in form["body"]:
        assert part["type"] in ("markdown", "textarea", "dropdown", "input", "checkboxes")
        assert "value" in part["attributes"] or part["id"]
