"""Shapes and types in the engine's signatures are checked while the tests of its annotations run.

The hook works on modules imported after it, so it stands before everything else. With every call
checked a tiny model's generation takes two to six times as long, so the checks rest during all other
tests, at no cost; tests/engine/test_annotations.py takes a generation and a forced pass of every kind
through them. What tests start in other processes is not checked.

Tests run in two processes side by side (`-n 2` in pyproject.toml; `-n 0` for a debugger), each with one
thread for its products: two with two threads each would wait for each other on two cores.

Models that a test fetches or converts never get into the user's cache: a slow test shares a folder of models with
the others of its process, any other test has an empty one of its own.

Nothing that a test writes has to outlast a power failure, so files are not forced to the disk, for which
the tests would wait as long as they compute. Tests of just that put their own `os.fsync` in its place.
"""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import tempfile
from pathlib import Path

import jaxtyping
import pytest

from tests.type_checker import check

if "PYTEST_XDIST_WORKER" in os.environ:  # the test modules import torch later
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.fsync = lambda _: None
_models, _numbers = Path(tempfile.mkdtemp(prefix="phase7-models-")), itertools.count()
atexit.register(shutil.rmtree, _models, ignore_errors=True)
jaxtyping.install_import_hook("phase7.engine", f"{check.__module__}.check")


def pytest_runtest_setup(item: pytest.Item) -> None:
    is_checked = item.path.name == "test_annotations.py"
    jaxtyping.config.update("jaxtyping_disable", not is_checked)
    own = "shared" if item.get_closest_marker("slow") else f"{next(_numbers)}"
    os.environ["PHASE7_MODELS"] = str(_models / own)
