"""Correction of correlated tests by their own sign flips: step-down minP (Westfall & Young 1993).

All tests of a family see the same flips of a prompt, so what the tests share by prompt the flips share.
The adjusted p controls the family-wise error: the probability of one or more false rejections.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from phase7.statistics.draws import exact_signs, random_sign_blocks
from phase7.statistics.exact_sums import to_grid

FloatArray = npt.NDArray[np.float64]

N_FLIPS = 2**16
"""Joint flips of a family, the observed signs included; fewer where there are not as many."""


def step_down_min_p(
    blocks: Sequence[npt.ArrayLike], *, seed: int, n_flips: int = N_FLIPS
) -> list[FloatArray]:
    """Adjust sign-flip p-values within one family.

    Of the tests in the order of their p, the k-th gets the share of flips under which the smallest p of
    the k-th and all later ones is at most the k-th's own, and no less than the one before (Ge, Dudoit &
    Speed 2003, TEST 12, 1-77, box 2). The p of a flip is its rank among all flips of the test. Tests
    that cannot reject take no part in the minimum, so they cost the others nothing.

    Parameters
    ----------
    blocks : sequence of array_like of float, shape (tests, units)
        Paired differences by block: the tests of a block flip together, blocks flip independently (such
        as prompts and pairs of donor prompts). NaN: not measured; it weighs nothing.
    seed : int
        Of random flips.
    n_flips : int
        All flips are enumerated where these are at most `n_flips`, and else so many are drawn, the
        observed signs among them.

    Returns
    -------
    list of float64 array, shape (tests,)
        Adjusted p by block, in [p, 1]. NaN for a test with fewer than two measured units.

    Raises
    ------
    ValueError
        For an infinite difference, or `n_flips` below 2.
    """
    arrays = [np.asarray(block, dtype=np.float64) for block in blocks]
    if n_flips < 2:
        raise ValueError(f"n_flips: expected at least 2, got {n_flips}")
    if any(np.isinf(array).any() for array in arrays):
        raise ValueError("expected finite differences or NaN for a missing one, got an infinity")
    tested = [np.isfinite(array).sum(axis=1) > 1 for array in arrays]
    rows = [
        np.where(np.isnan(array), 0.0, array)[chosen]
        for array, chosen in zip(arrays, tested, strict=True)
    ]
    signs = _signs([array.shape[1] for array in rows], seed, n_flips)
    ranks = [_ranks(row, sign) for row, sign in zip(rows, signs, strict=True) if row.size]
    adjusted = _stepped_down(np.concatenate(ranks)) if ranks else np.empty(0)
    found = [np.full(len(chosen), np.nan) for chosen in tested]
    ends = np.cumsum([int(chosen.sum()) for chosen in tested])[:-1]
    for values, chosen, own in zip(found, tested, np.split(adjusted, ends), strict=True):
        values[chosen] = own
    return found


def _signs(sizes: Sequence[int], seed: int, n_flips: int) -> list[FloatArray]:
    """Joint flips [flip, unit] of each block; the first is the data as observed."""
    n_all = [max(size - 1, 0) for size in sizes]
    if 2 ** sum(n_all) <= n_flips:
        whole = [exact_signs(size) if size else np.ones((1, 0)) for size in sizes]
        joint = np.meshgrid(*(np.arange(len(one)) for one in whole), indexing="ij")
        return [one[at.ravel()] for one, at in zip(whole, joint, strict=True)]
    drawn = []
    for place, size in enumerate(sizes):
        purpose = f"step-down block {place}"
        parts = random_sign_blocks(seed=seed, purpose=purpose, n=size, n_resamples=n_flips - 1)
        drawn.append(np.concatenate([np.ones((1, size)), *parts]))
    return drawn


def _ranks(rows: FloatArray, signs: FloatArray) -> npt.NDArray[np.int64]:
    """How many flips are as extreme as each flip, [test, flip]."""
    n = rows.shape[1]
    units = to_grid(rows).units
    ranks = np.empty((len(rows), len(signs)), dtype=np.int64)
    for test, row in enumerate(units):
        sums = np.abs(signs @ row)
        # Each unit is off by at most a half, so two sums that are tied differ by at most n units.
        ranks[test] = len(sums) - np.searchsorted(np.sort(sums), sums - n)
    return ranks


def _stepped_down(ranks: npt.NDArray[np.int64]) -> FloatArray:
    """Adjusted p of each test, whose observed rank is that of the first flip."""
    order = np.argsort(ranks[:, 0], kind="stable")
    smallest = np.minimum.accumulate(ranks[order][::-1], axis=0)[::-1]
    share = (smallest <= ranks[order, :1]).mean(axis=1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate(share)
    return adjusted
