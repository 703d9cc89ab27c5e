"""The fault suites at reduced size; `tox -e faults` runs them whole."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.slow
def test_nothing_is_lost_however_a_build_is_disturbed():
    """In a process of its own: its children are forks, which must not inherit a pool of threads."""
    command = [sys.executable, "-m", "tests.programs.faults", "--reduced"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    match = re.search(r"faults injected: (\d+); .* lost: (\d+)", done.stdout)
    assert match is not None
    assert int(match[1]) >= 30
    assert int(match[2]) == 0
