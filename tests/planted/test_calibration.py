"""Null calibration of the whole pipeline (slow; printed by `python -m tests.planted.calibration`)."""

from __future__ import annotations

import pytest

from tests.planted.calibration import main


@pytest.mark.slow
def test_null_p_values_are_uniform_and_discoveries_rare():
    n_runs = 40  # the program itself makes 90
    p, with_discovery, n_cells = main(n_runs)
    assert n_cells >= 450
    assert p > 0.01
    assert with_discovery <= 0.05 * n_runs + 2 * (n_runs * 0.05 * 0.95) ** 0.5
