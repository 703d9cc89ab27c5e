"""A third of a full crossing runs by default, in which all pairs still meet.

Tests over every architecture, mode and position policy are 36 or more each. By default run those of a
Latin square: every architecture with every mode, every architecture with every policy, and every mode
with every policy. The rest is slow, and run with the slow tests.
"""

from __future__ import annotations

import pytest

from phase7.vocabulary.modes import MODES, POSITIONS
from tests import tiny


def pytest_itemcollected(item: pytest.Item) -> None:
    values = getattr(getattr(item, "callspec", None), "params", {})
    if {"architecture", "mode", "where"} <= set(values):
        places = (
            list(tiny.ARCHITECTURES).index(values["architecture"]),
            MODES.index(values["mode"]),
            POSITIONS.index(values["where"]),
        )
        if sum(places) % 3:
            item.add_marker(pytest.mark.slow)
