"""The sign-flip test of a mean, and the interval that inverts it.

Under the null hypothesis the two arms are exchangeable: a prompt's difference is as likely as its
negative. Prompts whose difference is 0 look the same either way and drop out. The interval holds every
value that the same test, applied to the differences less that value, does not reject; so it and p never
disagree about 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from phase7.statistics.draws import random_sign_blocks
from phase7.statistics.exact_sums import row_moments, to_grid
from phase7.statistics.side_by_side import in_parts
from phase7.statistics.subsets import FEW_NONZERO, count_sums, smallest_mean

FloatArray = npt.NDArray[np.float64]

MAX_EXACT = 20
"""Up to this many prompts whose difference is not 0 all sign flips count."""

TAIL_HITS = 10
"""A first stage with at least this many flips as extreme as the data is precise enough."""

_TILE_NUMBERS = 2**21

#: Numbers of a product that stay in one processor's cache, and the flips in it.
_CACHED_NUMBERS, _FLIPS_AT_ONCE = 2**17, 1_024


class Inference(NamedTuple):
    """What flips say of each row; see :class:`phase7.statistics.paired.PairedSummary`."""

    n_nonzero: FloatArray
    p_value: FloatArray
    p_strict: FloatArray
    ci_low: FloatArray
    ci_high: FloatArray


def sign_flip_inference(
    rows: FloatArray,
    *,
    seed: int,
    n_resamples: int,
    n_tail: int,
    confidence: float | None,
    max_exact: int,
) -> Inference:
    """Test each row's mean against 0, two-sided, and find the means that the test does not reject.

    p is the share of sign vectors whose mean is at least as far from 0 as the observed one, over all
    2**k of them where k <= `max_exact` differences are not 0. Beyond, it is (b + 1) / (m + 1) with b
    of m random vectors as extreme (Phipson & Smyth 2010).

    m has two stages. A correction for thousands of cells asks for p far below 1 / n_resamples, so
    a cell with fewer than TAIL_HITS of `n_resamples` flips as extreme takes its p from `n_tail`
    fresh flips instead. The p stays valid (P(p <= t) <= t under the null): for t below
    (TAIL_HITS + 1) / (n_resamples + 1) only a second stage, itself valid, can report p <= t; for
    a larger t every cell with p <= t would have been there by its first stage alone.

    A value below the mean is rejected while fewer than a share (1 - `confidence`) / 2 of all subsets of
    the row have a mean up to it: the interval ends at an order statistic of the subsets' means. These
    are all subsets for n <= `max_exact`, or few numbers that are not 0; else those of the first stage.

    Parameters
    ----------
    rows : float64 array, shape (cells, n)
        Finite, n >= 2.

    Returns
    -------
    Inference
        p = 1 for a row of zeros. Two means are tied where they differ by at most one unit of the
        row's grid (5.7e-14 of its largest number for 70 prompts), and an end that is 0 to that
        tolerance is 0.0.
    """
    parts = in_parts(
        len(rows), lambda part: _inferred(rows[part], seed, n_resamples, n_tail, confidence, max_exact)
    )
    return Inference(*parts)


def _inferred(
    rows: FloatArray, seed: int, n_resamples: int, n_tail: int, confidence: float | None, max_exact: int
) -> Inference:
    grid = to_grid(rows)
    n_nonzero = np.count_nonzero(grid.units, axis=1).astype(np.float64)
    p_value, p_strict = _p(grid.units, seed, n_resamples, n_tail, max_exact)
    if confidence is None:
        missing = np.full(len(rows), np.nan)
        return Inference(n_nonzero, p_value, p_strict, missing, missing)
    alpha = round(1 - confidence, 12)
    find = partial(
        _low_ends, rejects=p_value < alpha, alpha=alpha, seed=seed, n_resamples=n_resamples,
        max_exact=max_exact,
    )  # fmt: skip
    low, high = _with_zero(rows, find(grid.units), -find(-grid.units), grid.exponent, p_value < alpha)
    return Inference(n_nonzero, p_value, p_strict, low, high)


def _with_zero(
    rows: FloatArray,
    low: FloatArray,
    high: FloatArray,
    exponent: npt.NDArray[np.int_],
    rejects: npt.NDArray[np.bool_],
) -> list[FloatArray]:
    """Both ends in the rows' unit, with 0 between them exactly where the test does not reject it."""
    mean = row_moments(rows).mean
    constant = (rows == rows[:, :1]).all(axis=1)
    ends = []
    for end, outside in ((low, np.minimum), (high, np.maximum)):
        # Exact sums are rounded to the grid, and the mean is not.
        rounded = outside(np.ldexp(end, exponent), mean)
        inner = np.where(constant & np.isfinite(end), mean, rounded)
        dust = (np.abs(end) <= rows.shape[1] // 2) & ~rejects
        ends.append(np.where(dust, 0.0, np.where(rejects, inner, outside(inner, 0.0))) + 0.0)
    return ends


def _p(
    units: FloatArray, seed: int, n_resamples: int, n_tail: int, max_exact: int
) -> tuple[FloatArray, FloatArray]:
    """p with and without ties."""
    p_value, p_strict = np.empty(len(units)), np.empty(len(units))
    n_nonzero = np.count_nonzero(units, axis=1)
    for k in np.unique(n_nonzero[n_nonzero <= max_exact]):
        rows = np.flatnonzero(n_nonzero == k)
        part = units[rows]
        part = part[part != 0].reshape(len(rows), k)
        p_value[rows], p_strict[rows] = _exact_p(part, units.shape[1])
    rows = np.flatnonzero(n_nonzero > max_exact)
    if rows.size:
        p_value[rows], p_strict[rows] = _sampled_p(units[rows], seed, n_resamples, n_tail)
    return p_value, p_strict


def _exact_p(units: FloatArray, n: int) -> tuple[FloatArray, FloatArray]:
    """p over all flips of numbers that are not 0, of a row of n."""
    total = units.sum(axis=1)
    units = units * np.where(total < 0, -1.0, 1.0)[:, None]
    # Flipping a subset with sum X leaves S - 2 X, as far from 0 as S where X or S - X is at most 0. Each
    # unit is off by at most a half, so X is 0 where it is within n / 2.
    reached = 2 * count_sums(units, n // 2) / 2.0 ** units.shape[1]
    passed = 2 * count_sums(units, -(n // 2) - 1) / 2.0 ** units.shape[1]
    return np.where(np.abs(total) <= n, 1.0, np.minimum(reached, 1.0)), passed


def _sampled_p(
    units: FloatArray, seed: int, n_resamples: int, n_tail: int
) -> tuple[FloatArray, FloatArray]:
    """p over random flips, in two stages."""

    def stage(cells: FloatArray, purpose: str, m: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        blocks = random_sign_blocks(seed=seed, purpose=purpose, n=units.shape[1], n_resamples=m)
        reached, passed = _count_flips(cells, blocks)
        return reached, (reached + 1) / (m + 1), passed / (m + 1)

    reached, p_value, p_strict = stage(units, "sign-flip", n_resamples)
    rare = np.flatnonzero(reached < TAIL_HITS)
    if n_tail > n_resamples and rare.size:
        _, p_value[rare], p_strict[rare] = stage(units[rare], "sign-flip tail", n_tail)
    return p_value, p_strict


def _count_flips(units: FloatArray, sign_blocks: Iterable[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Count the sign vectors that reach, and that pass, each row's own absolute sum."""
    n = units.shape[1]
    observed = np.abs(units.sum(axis=1))
    # Each unit is off by at most a half, so two sums that are tied differ by at most n units.
    reach, beyond = observed - n, observed + n
    reached, passed = np.zeros(len(units)), np.zeros(len(units))
    for signs in sign_blocks:
        for start in range(0, len(signs), _FLIPS_AT_ONCE):
            some = signs[start : start + _FLIPS_AT_ONCE].T
            for tile in _tiles(len(units), some.shape[1], _CACHED_NUMBERS):
                sums = units[tile] @ some
                np.abs(sums, out=sums)
                hit = np.flatnonzero(sums.max(axis=1) >= reach[tile])
                rows, sums = tile.start + hit, sums[hit]
                reached[rows] += np.count_nonzero(sums >= reach[rows, None], axis=1)
                passed[rows] += np.count_nonzero(sums > beyond[rows, None], axis=1)
    return reached, passed


def _low_ends(
    units: FloatArray,
    *,
    rejects: npt.NDArray[np.bool_],
    alpha: float,
    seed: int,
    n_resamples: int,
    max_exact: int,
) -> FloatArray:
    """Lower ends in units, minus infinity where no value is rejected.

    Parameters
    ----------
    rejects : bool array, shape (cells,)
        Whether the test rejects 0.
    """
    n = units.shape[1]
    listed = np.count_nonzero(units, axis=1) <= min(FEW_NONZERO, max_exact)
    ends = np.full(len(units), -np.inf)
    # A value is not rejected from so many subsets on, the empty one included: it never is extreme.
    rank = int(np.ceil(alpha * 2 ** (n - 1))) - 1
    exact = np.flatnonzero(listed | (n <= max_exact))
    if rank >= 1 and exact.size:
        ends[exact] = smallest_mean(units[exact], rank)
    others = np.flatnonzero(~listed & (n > max_exact))
    if others.size:
        ends[others] = _sampled_ends(units[others], rejects[others], alpha, seed, n_resamples)
    return ends


def _sampled_ends(
    units: FloatArray, rejects: npt.NDArray[np.bool_], alpha: float, seed: int, n_resamples: int
) -> FloatArray:
    """Lower ends from the flips of the first stage."""
    n, found = units.shape[1], np.empty(len(units))
    rank = int(np.ceil(alpha * (n_resamples + 1))) - 1
    blocks = random_sign_blocks(seed=seed, purpose="sign-flip", n=n, n_resamples=n_resamples)
    flipped = np.concatenate([signs < 0 for signs in blocks]).astype(np.float64)
    size, total = flipped.sum(axis=1), units.sum(axis=1)
    for tile in _tiles(len(units), n_resamples):
        sums = units[tile] @ flipped.T
        with np.errstate(divide="ignore", invalid="ignore"):
            one, other = sums / size, (total[tile][:, None] - sums) / (n - size)
        # A flip of none or of all changes nothing and is always as extreme.
        means = np.where((size == 0) | (size == n), -np.inf, np.fmin(one, other))
        means.partition(max(rank - 1, 0), axis=1)
        ends = means[:, rank - 1] if rank >= 1 else np.full(len(means), -np.inf)
        # Where p, from more flips or all of them, rejects 0, it rejects all below: the end is above.
        for row in np.flatnonzero(rejects[tile] & (total[tile] > 0) & (ends <= 0)):
            ends[row] = means[row][means[row] > 0].min(initial=total[tile][row] / n)
        found[tile] = ends
    return found


def _tiles(n_cells: int, n_columns: int, n_numbers: int = _TILE_NUMBERS) -> Iterator[slice]:
    """Cut the cells so that a tile's product has at most so many numbers, by default 16 MiB of them."""
    height = max(1, n_numbers // n_columns)
    return (slice(start, start + height) for start in range(0, n_cells, height))
