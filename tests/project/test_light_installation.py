"""Effects files are read, drawn and reported with what requirements-effects.txt installs, without PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from phase7.effects.file import write_effects
from tests.project.test_dependencies import RUNTIME, read
from tests.report.synthetic import Spec, tree

pytestmark = pytest.mark.slow

SPEC = Spec(
    strongest=("1:2",),
    planted=("1:2",),
    readouts=("logodds_gratitude", "logodds_gratitude_first", "kl_path"),
)

#: Refuses modules as if they were not installed, and then does what follows.
WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""
READING = """
import phase7

tree = phase7.open_effects("effects.nc")
effects = tree["tiny/gratitude"]
assert len(tree.phase7.top_heads("logodds_gratitude", 2)) == 2
effects["sweep"].to_dataset().phase7.heatmap("logodds_gratitude")
assert effects.phase7.measure("questions", lambda text: text.count("?")) is not None
assert len(effects.phase7.texts("1:2")) > 0
tree.phase7.report("report.html")

from phase7.cli import main

assert main(["report", "effects.nc", "--output", "report.md", "--lang", "en"]) == 0
"""


def light() -> set[str]:
    text = read("requirements-effects.txt")
    return {canonicalize_name(line) for line in text.splitlines() if not line.startswith("#")}


def absent() -> list[str]:
    """Modules of the dependencies that the light installation leaves out."""
    every = {canonicalize_name(one.name) for one in RUNTIME}
    assert light() <= every and {"torch", "transformers", "transformer-lens"} <= every - light()
    owners = packages_distributions()
    return sorted(
        module
        for module, packages in owners.items()
        if {canonicalize_name(package) for package in packages} & (every - light())
    )


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)


@pytest.fixture
def folder(tmp_path) -> Path:
    write_effects(tree(SPEC), tmp_path / "effects.nc")
    return tmp_path


def test_effects_are_read_without_pytorch(folder):
    done = run(WITHOUT.format(absent=json.dumps(absent())) + READING, folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "report.md").stat().st_size > 1000
    assert (folder / "report.html").stat().st_size > 1000


def test_what_is_left_out_cannot_be_imported(tmp_path):
    """So that the test above would fail if reading took any of it."""
    done = run(WITHOUT.format(absent=json.dumps(absent())) + "import torch", tmp_path)
    assert done.returncode == 1 and "No module named 'torch'" in done.stderr
