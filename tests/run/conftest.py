"""One finished build of the small project, which tests compare theirs with or copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.run.small_project import OUTPUTS, build, make


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    """The project after `build small --backend=serial`; read it, and change copies of it."""
    folder = make(tmp_path_factory.mktemp("built") / "project")
    build(folder, "small")
    return folder


@pytest.fixture
def project(built, tmp_path, monkeypatch) -> Path:
    """The project before its build, as the current directory."""
    folder = tmp_path / "project"
    shutil.copytree(built, folder, ignore=shutil.ignore_patterns(*OUTPUTS))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def built_copy(built, tmp_path, monkeypatch) -> Path:
    """A copy of the built project, as the current directory."""
    folder = tmp_path / "project"
    shutil.copytree(built, folder)
    monkeypatch.chdir(folder)
    return folder
