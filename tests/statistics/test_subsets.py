"""Counts and order statistics over all subsets, against listing them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from phase7.statistics import subsets
from phase7.statistics.exact_sums import to_grid

FloatArray = npt.NDArray[np.float64]

KINDS = ("normal", "whole", "zeros", "same", "one large")


def rows_of(kind: str, n: int, n_rows: int = 12) -> FloatArray:
    """Whole numbers on the grid, of several kinds of rows."""
    rng = np.random.default_rng(n)
    rows = rng.normal(0.2, 1.0, size=(n_rows, n))
    if kind == "whole":
        rows = np.rint(2 * rows)
    if kind == "zeros":
        rows *= rng.random(rows.shape) < 0.5
    if kind == "same":
        rows[:] = rows[:, :1]
    if kind == "one large":
        rows[:, 0] *= 1e9
    return to_grid(rows).units


def listed(units: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The sums of all subsets, and the means of those that are not empty in order."""
    n = units.shape[1]
    chosen = ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).astype(np.float64)
    sums = units @ chosen.T
    return sums, np.sort(sums[:, 1:] / chosen[1:].sum(axis=1), axis=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 5, 13])
def test_counts_of_sums(kind: str, n: int) -> None:
    units = rows_of(kind, n)
    sums, _ = listed(units)
    limits = [0, n // 2, -1, int(sums[0, -1])]
    for limit in limits:
        np.testing.assert_array_equal(subsets.count_sums(units, limit), (sums <= limit).sum(axis=1))
    own = sums[:, 2 ** (n - 1)].astype(np.int64)
    np.testing.assert_array_equal(subsets.count_sums(units, own), (sums <= own[:, None]).sum(axis=1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 4, 11, 14, 16])
def test_order_statistics_of_means(kind: str, n: int) -> None:
    """To half a unit, which is 2**-47 of the row's largest number."""
    units = rows_of(kind, n)
    _, means = listed(units)
    shares = (0.0, 0.005, 0.025, 0.3, 0.5, 0.975, 1.0)
    for rank in sorted({min(max(int(share * 2**n), 1), 2**n - 1) for share in shares}):
        found = subsets.smallest_mean(units, rank)
        np.testing.assert_allclose(found, means[:, rank - 1], rtol=1e-14, atol=1.0)


def test_the_search_lists_what_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where means are all different the answer is one of them; halving alone would come near."""
    units = rows_of("normal", 16)
    _, means = listed(units)
    np.testing.assert_allclose(subsets.smallest_mean(units, 1638), means[:, 1637], rtol=1e-15)
    monkeypatch.setattr(subsets, "_CROWD", 1)
    near = subsets.smallest_mean(units, 1638)
    assert np.any(near != means[:, 1637])
    np.testing.assert_allclose(near, means[:, 1637], rtol=0, atol=1.0)


def test_many_prompts_of_which_few_differ() -> None:
    """Of 40 prompts 2 differ: every subset of the two goes with any of 2**38 of the others."""
    units = np.zeros((1, 40))
    units[0, :2] = 3.0, 6.0
    n = 2**38
    assert subsets.smallest_mean(units, n - 1) == 0  # all but the empty one
    assert subsets.smallest_mean(units, n) == 3 / 39
    assert subsets.smallest_mean(units, 4 * n - 1) == 6
