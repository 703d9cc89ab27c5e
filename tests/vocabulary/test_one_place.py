"""Places on an axis come from one function, and labels of heads are taken apart by one type."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "phase7"

#: What stands for a reader of its own -> modules that may have it.
PATTERNS = {
    r"\bMETRICS\.index\(": {"vocabulary/metrics.py"},
    r"\bMODES\.index\(": {"vocabulary/modes.py"},
    r"label\.(count|split|partition)\(|\bin label\b": {"vocabulary/heads.py"},
}


def found(pattern: str) -> set[str]:
    modules = PACKAGE.rglob("*.py")
    return {
        path.relative_to(PACKAGE).as_posix()
        for path in modules
        if re.search(pattern, path.read_text(encoding="utf-8"))
    }


@pytest.mark.parametrize("pattern", PATTERNS)
def test_only_its_own_module_does_it(pattern):
    assert found(pattern) == PATTERNS[pattern]
