"""Inference on paired differences, one row of prompts per cell, all cells at once.

Each cell gets a mean, a bootstrap interval, a sign-flip permutation p and Cohen's d_z over its prompts;
NaN marks a prompt that was not measured. A cell with fewer than two prompts gets NaN, never 0, and an
infinite difference is an error.

The net effect needs nothing of its own: it is ``paired_summary(delta - control, ...)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, stdtrit

from phase7.statistics.draws import bootstrap_counts, exact_signs, random_sign_blocks
from phase7.statistics.exact_sums import linear_quantile, row_moments, to_grid

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

N_RESAMPLES = 10_000
"""Bootstrap resamples, and sign flips of the first Monte Carlo stage."""

N_TAIL = 1_000_000
"""Sign flips of the second stage, for cells whose first stage met fewer than TAIL_HITS."""

TAIL_HITS = 10
"""A first stage with at least this many flips as extreme as the data is precise enough."""

MAX_EXACT = 14
"""Up to this many prompts all sign flips are enumerated: 2**13 of them, fewer than N_RESAMPLES."""

_LARGEST_MAX_EXACT = 20
_TILE_NUMBERS = 2**21


@dataclass(frozen=True, kw_only=True)
class PairedSummary:
    """What n paired differences say, per cell. All arrays have the shape of the cells.

    Attributes
    ----------
    n : int64 array
        Prompts that were measured.
    mean : float64 array
        Mean difference, in the metric's unit; positive where the patch raised it.
    ci_low, ci_high : float64 array
        Ends of the bootstrap interval of the mean (:func:`bootstrap_interval`).
    p_value : float64 array
        Two-sided sign-flip permutation p (:func:`sign_flip_test`).
    p_strict : float64 array
        The same without ties: the share of sign flips *more* extreme than the data. A calibration
        needs it; a report does not.
    effect_size : float64 array
        Cohen's d_z = mean / sd, with n - 1 in the sd (Cohen 1988, section 2.3.5). 0 where every
        difference is 0; plus or minus infinity where all are the same other number.

    Notes
    -----
    NaN in any float field means "not measured": fewer than two prompts.
    """

    n: IntArray
    mean: FloatArray
    ci_low: FloatArray
    ci_high: FloatArray
    p_value: FloatArray
    p_strict: FloatArray
    effect_size: FloatArray


class SignFlip(NamedTuple):
    """p with and without ties; see :class:`PairedSummary`."""

    p_value: FloatArray
    p_strict: FloatArray


class Interval(NamedTuple):
    """Both ends of an interval, one pair per cell."""

    low: FloatArray
    high: FloatArray


def paired_summary(
    delta: npt.ArrayLike,
    *,
    seed: int,
    n_resamples: int = N_RESAMPLES,
    n_tail: int = N_TAIL,
    confidence: float = 0.95,
    max_exact: int = MAX_EXACT,
) -> PairedSummary:
    """Summarise paired differences per cell.

    Parameters
    ----------
    delta : array_like of float, shape (..., prompt)
        Differences, the samples of a prompt already averaged. NaN: not measured, dropped from its
        cell alone.
    seed : int
        The experiment's seed. Cells with equally many prompts share the resamples and the flips.
    n_resamples : int
        Bootstrap resamples, and Monte Carlo sign flips where flips are not enumerated.
    n_tail : int
        Sign flips of the second stage; 0 leaves it out (see :func:`sign_flip_test`).
    confidence : float
        Of the interval, in (0, 1).
    max_exact : int
        Up to this many prompts the p is exact. At most 20.

    Returns
    -------
    PairedSummary
        Arrays of shape ``delta.shape[:-1]``. A cell's numbers are the same to the bit whether it
        is summarised alone or with others.

    Raises
    ------
    ValueError
        For an infinite difference, or an argument out of its range.
    """
    _check(n_resamples, n_tail, confidence, max_exact)
    interval = partial(bootstrap_interval, seed=seed, n_resamples=n_resamples, confidence=confidence)
    flips = partial(
        sign_flip_test, seed=seed, n_resamples=n_resamples, n_tail=n_tail, max_exact=max_exact
    )
    names = [field.name for field in fields(PairedSummary) if field.name != "n"]
    n, columns = by_prompt_count(delta, names, lambda rows: _columns(rows, interval, flips))
    return PairedSummary(n=n, **columns)


def _columns(
    rows: FloatArray,
    interval: Callable[[FloatArray], Interval],
    flips: Callable[[FloatArray], SignFlip],
) -> dict[str, FloatArray]:
    """Everything but n about cells of equally many prompts."""
    mean, sd = row_moments(rows)
    ends, test = interval(rows), flips(rows)
    return {
        "mean": mean,
        "ci_low": ends.low,
        "ci_high": ends.high,
        "p_value": test.p_value,
        "p_strict": test.p_strict,
        "effect_size": effect_size(mean, sd),
    }


def by_prompt_count(
    values: npt.ArrayLike,
    names: Iterable[str],
    summarise: Callable[[FloatArray], dict[str, FloatArray]],
) -> tuple[IntArray, dict[str, FloatArray]]:
    """Drop each cell's missing prompts and summarise the cells of equal n together.

    Parameters
    ----------
    values : array_like of float, shape (..., prompt)
        NaN: missing.
    names : iterable of str
        The keys `summarise` returns.
    summarise : callable
        From rows of shape (cells, n), n >= 2 and finite, to one array of shape (cells,) per name.

    Returns
    -------
    n : int64 array, shape (...)
    columns : dict of str to float64 array, shape (...)
        NaN where n < 2.

    Raises
    ------
    ValueError
        For an array without a prompt axis, or an infinite number in it.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0:
        raise ValueError("expected an array with the prompt on its last axis, got a single number")
    if np.isinf(array).any():
        raise ValueError("expected finite differences or NaN for a missing prompt, got an infinity")
    shape = array.shape[:-1]
    flat = array.reshape(int(np.prod(shape)), array.shape[-1])
    measured = ~np.isnan(flat)
    n = measured.sum(axis=1, dtype=np.int64)
    columns = {name: np.full(flat.shape[0], np.nan) for name in names}
    for count in np.unique(n[n >= 2]):
        cells = np.flatnonzero(n == count)
        rows = flat[cells][measured[cells]].reshape(cells.size, int(count))
        for name, column in summarise(rows).items():
            columns[name][cells] = column
    return n.reshape(shape), {name: column.reshape(shape) for name, column in columns.items()}


def effect_size(mean: FloatArray, sd: FloatArray) -> FloatArray:
    """Divide mean by sd, the limits where sd is 0: 0 for a zero mean, else signed infinity."""
    limit = np.where(mean == 0, 0.0, np.copysign(np.inf, mean))
    return np.divide(mean, sd, out=limit, where=sd > 0)


def expanded_confidence(n: int, confidence: float) -> float:
    """Say at which nominal level a percentile interval has to be taken for n observations.

    The percentile interval is too narrow for small n: resampling sees a variance with n in the
    denominator, and normal tails where Student's are due. Hesterberg (2015, The American
    Statistician 69, 371-386) widens it to the level that makes it match the t interval on
    normal data: the tail Φ(-t_{1-α/2, n-1} · sqrt(n / (n-1))) instead of α/2.

    Returns
    -------
    float
        In [confidence, 1]: 0.9981 for n = 5, 0.9555 for n = 70 at 0.95.
    """
    t = stdtrit(n - 1, (1 + confidence) / 2)
    return float(1 - 2 * ndtr(-t * np.sqrt(n / (n - 1))))


def bootstrap_interval(rows: FloatArray, *, seed: int, n_resamples: int, confidence: float) -> Interval:
    """Compute the expanded percentile bootstrap interval of each row's mean.

    It equals ``scipy.stats.bootstrap(method="percentile")`` with the generator
    :func:`phase7.statistics.draws.bootstrap_generator` and the confidence level
    :func:`expanded_confidence`. Percentile, since it is defined for every row: BCa is NaN for
    constant rows and estimates a third moment from as few as two prompts, and neither it nor the
    plain percentile covers 95 % with few prompts.

    Parameters
    ----------
    rows : float64 array, shape (cells, n)
        Finite, n >= 2.

    Returns
    -------
    Interval
        In the rows' unit. A constant row has both ends at its value. With 2 or 3 prompts the ends
        are the smallest and largest difference, which cover the mean in about 50 % and 75 % of
        cases: no resampling can do better, so read p beside it.
    """
    n = rows.shape[1]
    mean = row_moments(rows).mean
    # Deviations, not the rows: a constant row then has a width of exactly 0.
    grid = to_grid(rows - mean[:, None])
    counts = bootstrap_counts(seed=seed, n=n, n_resamples=n_resamples).T
    tail = (1 - expanded_confidence(n, confidence)) / 2
    low, high = np.empty(len(rows)), np.empty(len(rows))
    for tile in _tiles(len(rows), n_resamples):
        sums = grid.units[tile] @ counts
        low[tile] = linear_quantile(sums, tail)
        high[tile] = linear_quantile(sums, 1 - tail)
    return Interval(mean + np.ldexp(low / n, grid.exponent), mean + np.ldexp(high / n, grid.exponent))


def sign_flip_test(
    rows: FloatArray, *, seed: int, n_resamples: int, n_tail: int, max_exact: int
) -> SignFlip:
    """Test each row's mean against 0 by flipping signs, two-sided.

    Under the null hypothesis a difference is as likely as its negative. p is the share of sign
    vectors whose mean is at least as far from 0 as the observed one. Up to `max_exact` prompts
    all are enumerated, and p equals ``scipy.stats.permutation_test(permutation_type="samples",
    n_resamples=inf)``. Beyond, p = (b + 1) / (m + 1) with b of m random vectors as extreme
    (Phipson & Smyth 2010).

    m has two stages. A correction for thousands of cells asks for p far below 1 / n_resamples, so
    a cell with fewer than TAIL_HITS of `n_resamples` flips as extreme takes its p from `n_tail`
    fresh flips instead. The p stays valid (P(p <= t) <= t under the null): for t below
    (TAIL_HITS + 1) / (n_resamples + 1) only a second stage, itself valid, can report p <= t; for
    a larger t every cell with p <= t would have been there by its first stage alone.

    Parameters
    ----------
    rows : float64 array, shape (cells, n)
        Finite, n >= 2.

    Returns
    -------
    SignFlip
        p = 1 for a row of zeros. Two means are tied where they differ by at most one unit of the
        row's grid (5.7e-14 of its largest number for 70 prompts). SciPy's tolerance is relative to
        the observed mean, so where that cancels to about 0 it lets rounding decide ties.
    """
    n = rows.shape[1]
    units = to_grid(rows).units
    if n <= max_exact:
        reached, passed = _count_flips(units, [exact_signs(n)])
        return SignFlip(reached / 2.0 ** (n - 1), passed / 2.0 ** (n - 1))

    def monte_carlo(cells: FloatArray, purpose: str, m: int) -> tuple[FloatArray, SignFlip]:
        blocks = random_sign_blocks(seed=seed, purpose=purpose, n=n, n_resamples=m)
        reached, passed = _count_flips(cells, blocks)
        return reached, SignFlip((reached + 1) / (m + 1), passed / (m + 1))

    reached, result = monte_carlo(units, "sign-flip", n_resamples)
    rare = np.flatnonzero(reached < TAIL_HITS)
    if n_tail > n_resamples and rare.size:
        _, tail = monte_carlo(units[rare], "sign-flip tail", n_tail)
        result.p_value[rare], result.p_strict[rare] = tail
    return result


def _count_flips(units: FloatArray, sign_blocks: Iterable[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Count the sign vectors that reach, and that pass, each row's own absolute sum."""
    n = units.shape[1]
    observed = np.abs(units.sum(axis=1))
    # Each unit is off by at most a half, so two sums that are tied differ by at most n units.
    reach, beyond = (observed - n)[:, None], (observed + n)[:, None]
    reached, passed = np.zeros(len(units)), np.zeros(len(units))
    for signs in sign_blocks:
        for tile in _tiles(len(units), len(signs)):
            sums = units[tile] @ signs.T
            np.abs(sums, out=sums)
            reached[tile] += np.count_nonzero(sums >= reach[tile], axis=1)
            passed[tile] += np.count_nonzero(sums > beyond[tile], axis=1)
    return reached, passed


def _tiles(n_cells: int, n_columns: int) -> Iterable[slice]:
    """Cut the cells so that a tile's product stays within 16 MiB."""
    height = max(1, _TILE_NUMBERS // n_columns)
    return (slice(start, start + height) for start in range(0, n_cells, height))


def _check(n_resamples: int, n_tail: int, confidence: float, max_exact: int) -> None:
    if n_resamples < 1:
        raise ValueError(f"n_resamples: expected at least 1, got {n_resamples}")
    if n_tail < 0:
        raise ValueError(f"n_tail: expected 0 (no second stage) or more, got {n_tail}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: expected a number between 0 and 1, got {confidence}")
    if not 1 <= max_exact <= _LARGEST_MAX_EXACT:
        raise ValueError(f"max_exact: expected 1 to {_LARGEST_MAX_EXACT}, got {max_exact}")
