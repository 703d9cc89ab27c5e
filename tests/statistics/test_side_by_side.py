"""Rows summarised on several processors have the numbers that they have on one."""

from __future__ import annotations

import numpy as np
import pytest

from phase7.statistics import paired_summary, side_by_side
from phase7.statistics.hierarchy import global_p
from phase7.statistics.side_by_side import in_parts

DIFFERENCES = np.random.default_rng(0).normal(1.0, 1.0, size=(8, 9, 30)).round(2)
DIFFERENCES[0] = 0.0
DIFFERENCES[1, :, ::2] = 0.0


@pytest.mark.parametrize("n", [1, 2, 3])
def test_parts_are_put_together_in_order(monkeypatch, n):
    monkeypatch.setattr(side_by_side, "_processors", lambda: n)
    parts: list[slice] = []

    def of(part: slice):
        parts.append(part)
        return np.arange(part.start, part.stop), np.arange(part.start, part.stop) ** 2

    one, other = in_parts(50, of)
    np.testing.assert_array_equal(one, np.arange(50))
    np.testing.assert_array_equal(other, np.arange(50) ** 2)
    assert len(parts) == n
    assert [len(found) for found in in_parts(0, of)] == [0, 0]


@pytest.mark.parametrize("n", [2, 3])
def test_no_number_depends_on_the_processors(monkeypatch, n):
    found = []
    for processors in (1, n):
        monkeypatch.setattr(side_by_side, "_processors", lambda processors=processors: processors)
        summary = paired_summary(DIFFERENCES, seed=1, n_resamples=999, n_tail=20_000)
        found.append([*vars(summary).values(), global_p(DIFFERENCES.swapaxes(0, 1), seed=1)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
