"""The fuzz suite at reduced size; `tox -e fuzz` runs it whole."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.slow
def test_no_bad_input_breaks_a_promise():
    command = [sys.executable, "-m", "tests.programs.fuzz", "--cases", "900", "--tables", "4"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    match = re.search(r"cases: (\d+); failures: (\d+)", done.stdout)
    assert match is not None
    assert int(match[1]) >= 900
    assert int(match[2]) == 0
