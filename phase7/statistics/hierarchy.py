"""Correction in two steps: which cells have any effect at all, then which of their tests.

The tests of a cell are all of one intervention, so a cell first has to pass a test of its own, in which
all its tests speak at once; within the cells that pass, each test is corrected among the cell's tests
alone. Cells where nothing happens then cost the others little.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phase7.statistics.draws import exact_signs, random_sign_blocks
from phase7.statistics.multiplicity import benjamini_hochberg
from phase7.statistics.paired import N_RESAMPLES
from phase7.statistics.side_by_side import in_parts
from phase7.statistics.sign_flips import TAIL_HITS

FloatArray = npt.NDArray[np.float64]

#: Flips of the second stage: there are at most some hundreds of cells to correct for.
N_TAIL = 100_000

#: Statistics that differ by less, relative to their size, are tied.
_TIED = 1e-9


def global_p(
    differences: npt.ArrayLike, *, seed: int, n_resamples: int = N_RESAMPLES, n_tail: int = N_TAIL
) -> FloatArray:
    """Test of each cell that the arms of all its tests are exchangeable, by shared sign flips.

    The statistic is the largest |sum| over root sum of squares among the cell's tests: flips change the
    sums alone. All flips count where there are no more than `n_resamples` of them up to their sign; else
    they are drawn in two stages, as for one test (:mod:`phase7.statistics.sign_flips`).

    Parameters
    ----------
    differences : array_like of float, shape (cells, tests, units)
        A unit has one sign in all tests of a cell. NaN: not measured, or not to be tested.
    seed : int
        Of random flips.
    n_resamples, n_tail : int
        Flips of the first and of the second stage.

    Returns
    -------
    float64 array, shape (cells,)
        NaN for a cell with nothing but zeros or NaN.

    Raises
    ------
    ValueError
        For an infinite difference.
    """
    values = np.asarray(differences, dtype=np.float64)
    if np.isinf(values).any():
        raise ValueError("expected finite differences or NaN for a missing one, got an infinity")
    rows = of_length_one(np.nan_to_num(values, nan=0.0))
    (found,) = in_parts(len(rows), lambda part: [_global_p(rows[part], seed, n_resamples, n_tail)])
    return np.asarray(found)


def _global_p(rows: FloatArray, seed: int, n_resamples: int, n_tail: int) -> FloatArray:
    found, drawn = np.full(len(rows), np.nan), []
    cells = [tests[tests.any(axis=1)] for tests in rows]  # a test of zeros is never the largest
    for cell, tests in enumerate(cells):
        active = tests[:, tests.any(axis=0)]
        if active.size and 2 ** (active.shape[1] - 1) <= n_resamples:
            found[cell] = float(_extreme(active, exact_signs(active.shape[1])).mean())
        elif active.size:
            drawn.append(cell)
    for n_flips, stage in ((n_resamples, "first"), (n_tail, "second")):
        if not drawn:
            break
        hits, n = np.zeros(len(drawn), dtype=np.int64), rows.shape[-1]
        for signs in random_sign_blocks(seed=seed, purpose=f"cell {stage}", n=n, n_resamples=n_flips):
            hits += [int(_extreme(cells[cell], signs).sum()) for cell in drawn]
        found[drawn] = (hits + 1) / (n_flips + 1)
        drawn = [cell for cell, n_hits in zip(drawn, hits, strict=True) if n_hits < TAIL_HITS]
    return found


def of_length_one(rows: FloatArray) -> FloatArray:
    """Divide rows by the root of their sum of squares; rows of zeros as they are; shape (..., unit)."""
    largest = np.abs(rows).max(axis=-1, keepdims=True, initial=0.0)  # first: squares can overflow
    rows = np.divide(rows, largest, out=np.zeros_like(rows), where=largest > 0)
    length = np.sqrt((rows**2).sum(axis=-1, keepdims=True))
    scaled: FloatArray = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    return scaled


def _extreme(tests: FloatArray, signs: FloatArray) -> npt.NDArray[np.bool_]:
    """Which flips give a cell's tests, each of length 1, a statistic of the observed size; [flip]."""
    least = np.abs(tests.sum(axis=1)).max() * (1 - _TIED)
    sums = tests @ signs.T  # [test, flip]: largest and smallest go along memory
    found: npt.NDArray[np.bool_] = np.maximum(sums.max(axis=0), -sums.min(axis=0)) >= least
    return found


def hierarchical_q(p_value: npt.ArrayLike, cell_p: npt.ArrayLike) -> FloatArray:
    """Give q-values of tests in cells: the smallest level at which both steps reject.

    At a level a the cells are selected whose Benjamini-Hochberg q is at most a; with R of m selected, a
    selected cell's tests are rejected by Benjamini-Hochberg at a * R / m (Benjamini & Bogomolov 2014).
    What is controlled is the expected false discovery proportion of a selected cell, on average over the
    selected ones; and the false discovery rate of the selection itself.

    Parameters
    ----------
    p_value : array_like of float, shape (cells, tests)
        In [0, 1]; NaN: not tested.
    cell_p : array_like of float, shape (cells,)
        Of each cell's test of all at once. A cell with NaN, or without a test, is none.

    Returns
    -------
    float64 array, shape (cells, tests)
        In [p, 1]; NaN where p is NaN or the cell is none.

    Raises
    ------
    ValueError
        For a p outside [0, 1].
    """
    p = np.asarray(p_value, dtype=np.float64)
    is_cell = np.isfinite(np.asarray(cell_p, dtype=np.float64)) & np.isfinite(p).any(axis=1)
    q: FloatArray = np.full(p.shape, np.nan)
    if not is_cell.any():
        return q
    of_cell = benjamini_hochberg(np.asarray(cell_p)[is_cell])
    within = benjamini_hochberg(p[is_cell], axis=1)
    n_cells, best = len(of_cell), np.full(within.shape, np.inf)
    for n_selected, level in enumerate(np.sort(of_cell), start=1):
        np.fmin(best, np.maximum(level, within * (n_cells / n_selected)), out=best)
    best = np.minimum(np.maximum(best, of_cell[:, None]), 1.0)
    q[is_cell] = np.maximum(best, p[is_cell])  # NaN where p is; else no less, in spite of rounding
    return q
