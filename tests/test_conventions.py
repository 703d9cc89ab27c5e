"""Versions and settings that stand in several files say the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

import phase7

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_one_version_everywhere():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    latest = re.search(r"^## (\S+)", changelog, re.MULTILINE)
    assert latest is not None
    assert {phase7.__version__, PROJECT["version"], citation["version"], latest[1]} == {
        phase7.__version__
    }
    assert re.fullmatch(r"\d+\.\d+\.\d+", phase7.__version__)
    assert citation["license"] == PROJECT["license"]
    assert citation["keywords"] == PROJECT["keywords"]
    assert citation["authors"] == PROJECT["authors"]


def test_hooks_before_a_commit_run_what_tox_runs():
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    entries = {hook["entry"] for repository in hooks["repos"] for hook in repository["hooks"]}
    tox = (REPOSITORY / "tox.ini").read_text(encoding="utf-8")
    for command in ("python -m ruff check", "python -m ruff format", "python -m mypy phase7"):
        assert any(entry.startswith(command) for entry in entries)
        assert command.removeprefix("python ") in tox


def test_the_package_says_that_it_is_typed():
    assert (REPOSITORY / "phase7" / "py.typed").read_bytes() == b""
