"""Sums and means over all subsets of a row's numbers, without listing the subsets.

A flip of signs turns the sum S of a row into S - 2 X, where X is the sum over the flipped subset. So a
sign-flip test counts the subsets whose sum is small, and the interval that inverts it ends at an order
statistic of the subsets' means (Hartigan 1969, JASA 64, 1303-1317). A row is taken in two halves: all
sums of each half, and a merge of both sorted lists.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import comb

from phase7.statistics.draws import keyed_generator

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Rows at a time: their sums stay in the processor's cache.
_ROWS = 32

#: Random subsets from which the search for an order statistic starts.
_N_START = 1_024

#: Ranks from the one that is looked for, within which subsets are listed.
_NEAR = 64

#: Up to so many numbers that are not 0, their subsets are listed.
FEW_NONZERO = 10

#: Steps of the search by slope; after them it goes by halving.
_MOST_STEPS = 8

#: Low bits of a key, for what a sum is of: one for its half, the others for its size.
_KEY_BITS = 5
_LEFT, _SIZE = 16, 15

#: Neighbours of a sum that are looked at.
_CROWD = 12


class _Halves(NamedTuple):
    """Sums (cells, 2**size) and sizes (2**size,) of all subsets of both halves of some rows."""

    left: IntArray
    left_size: IntArray
    right: IntArray
    right_size: IntArray

    def of(self, rows: npt.NDArray[np.intp]) -> _Halves:
        return self._replace(left=self.left[rows], right=self.right[rows])


def count_sums(units: FloatArray, limit: npt.ArrayLike) -> IntArray:
    """Count the subsets, the empty one included, whose sum is at most `limit`.

    Parameters
    ----------
    units : float64 array, shape (cells, n)
        Whole numbers (:func:`phase7.statistics.exact_sums.to_grid`), n at most 20.
    limit : int or int64 array, shape (cells,)

    Returns
    -------
    int64 array, shape (cells,)
        Of 2**n.
    """
    limits = np.broadcast_to(np.asarray(limit, dtype=np.int64), len(units))
    found = np.empty(len(units), dtype=np.int64)
    for tile in _tiles(len(units)):
        halves = _halves(units[tile])
        less = halves._replace(left=halves.left - limits[tile][:, None])
        found[tile] = _count(_merged(less, np.zeros_like(limits[tile])), less.left.shape[1])
    return found


def smallest_mean(units: FloatArray, rank: int) -> FloatArray:
    """Find the `rank`-th smallest mean over all subsets that are not empty; equal means each count.

    Parameters
    ----------
    units : float64 array, shape (cells, n)
        Whole numbers (:func:`phase7.statistics.exact_sums.to_grid`). Of a row with more than
        `FEW_NONZERO` numbers that are not 0, n is at most 20.
    rank : int
        From 1 to 2**n - 1.

    Returns
    -------
    float64 array, shape (cells,)
        In units. Where very many subsets have the same mean, to one unit.
    """
    found = np.empty(len(units))
    n_nonzero = np.count_nonzero(units, axis=1)
    for k in np.unique(n_nonzero):
        rows = np.flatnonzero(n_nonzero == k)
        for tile in _tiles(len(rows)):
            part = units[rows[tile]]
            if k <= FEW_NONZERO:
                part = part[part != 0].reshape(len(part), k)
                found[rows[tile]] = _weighted(part, units.shape[1] - int(k), rank)
            else:
                found[rows[tile]] = _smallest(part, rank)
    return found


def _weighted(nonzero: FloatArray, n_zeros: int, rank: int) -> FloatArray:
    """List the means of all subsets of the numbers that are not 0, with each number of zeros beside."""
    sums, sizes = (
        _sums(nonzero.astype(np.int64)),
        _sums(np.ones((1, nonzero.shape[1]), dtype=np.int64))[0],
    )
    zeros = np.arange(n_zeros + 1)
    members = sizes[:, None] + zeros
    ways = np.broadcast_to(comb(n_zeros, zeros), members.shape).copy()
    ways[0, 0] = 0  # the empty subset has no mean
    means = (sums[:, :, None] / np.maximum(members, 1)).reshape(len(nonzero), -1)
    order = means.argsort(axis=1)
    so_far = ways.ravel()[order].cumsum(axis=1)
    first = np.argmax(so_far >= rank, axis=1)
    return np.asarray(means[np.arange(len(means)), order[np.arange(len(means)), first]])


def _smallest(units: FloatArray, rank: int) -> FloatArray:
    """Search by counting the means up to a guess; near the rank, the means in between are listed."""
    halves = _halves(units)
    theta, slope = _start(units, rank)
    low, high = (end.astype(np.int64) for end in (units.min(axis=1) - 1, units.max(axis=1)))
    found, last = np.full(len(units), np.nan), np.full((2, len(units)), np.nan)
    for step in count():
        rows = np.flatnonzero(np.isnan(found))
        if not rows.size:
            return found
        at = theta[rows]
        keys = _merged(halves.of(rows), at)
        so_far = _count(keys, halves.left.shape[1]) - 1  # the empty subset has no mean
        low[rows] = np.where(so_far < rank, at, low[rows])
        high[rows] = np.where(so_far < rank, high[rows], at)
        slope[rows] = _secant(last[:, rows], at, so_far, slope[rows])
        last[:, rows] = at, so_far
        away = rank - so_far
        near = np.flatnonzero(np.abs(away) <= _NEAR)
        if near.size:
            reach = np.ceil(1.5 * (np.abs(away[near]) + 4) / slope[rows[near]])
            found[rows[near]] = at[near] + _listed(keys[near], away[near], reach, units.shape[1])
        ended = high[rows] - low[rows] <= 1
        found[rows[ended]] = high[rows[ended]]
        move = np.clip(away / slope[rows], -(2.0**50), 2.0**50).astype(np.int64)
        # Where many subsets share one mean, the guess may be it: its neighbour tells.
        guess = at + np.where(move == 0, np.where(away > 0, 1, -1), move)
        inside = (guess > low[rows]) & (guess < high[rows]) & (step < _MOST_STEPS)
        theta[rows] = np.where(inside, guess, (low[rows] + high[rows]) // 2)
    raise AssertionError("count() does not end")


def _secant(last: FloatArray, at: IntArray, so_far: IntArray, slope: FloatArray) -> FloatArray:
    """Ranks by unit between this guess and the last one, where that says something."""
    with np.errstate(divide="ignore", invalid="ignore"):
        secant = (so_far - last[1]) / (at - last[0])
    return np.where(np.isfinite(secant) & (secant > 0), secant, slope)


def _start(units: FloatArray, rank: int) -> tuple[IntArray, FloatArray]:
    """A first guess, and how many ranks a unit is there, from the means of random subsets."""
    n = units.shape[1]
    generator = keyed_generator(seed=0, purpose="subset means", n=n)
    drawn = generator.integers(0, 2, size=(_N_START, n)).astype(np.float64)
    drawn[drawn.sum(axis=1) == 0, 0] = 1
    means = units @ drawn.T / drawn.sum(axis=1)
    place = int(rank / 2**n * _N_START)
    before, after = max(place - place // 2 - 2, 0), min(place + place // 2 + 2, _N_START - 1)
    means.partition([before, place, after], axis=1)
    width = np.maximum(means[:, after] - means[:, before], 1.0)
    slope = (after - before) / _N_START * 2**n / width
    return np.rint(means[:, place]).astype(np.int64), slope


def _listed(keys: IntArray, away: IntArray, reach: FloatArray, n: int) -> FloatArray:
    """The mean that is `away` ranks from a guess, less the guess; NaN where it is not within `reach`.

    A subset whose mean is within `reach` has a sum within n times that, once the guess is taken off:
    these are neighbours among the merged sums.

    Parameters
    ----------
    keys : int64 array, shape (cells, sums)
        Merged at the guess.
    away : int64 array, shape (cells,)
        1 is the first mean above the guess, 0 the last one that is not.
    """
    value, is_left = keys >> _KEY_BITS, (keys & _LEFT) > 0
    limit = (n * reach).astype(np.int64)[:, None]
    found: list[tuple[npt.NDArray[np.intp], FloatArray]] = []
    crowded: npt.NDArray[np.bool_] = np.zeros(len(keys), dtype=bool)
    for apart in range(1, _CROWD + 1):
        close = value[:, apart:] - value[:, :-apart] <= limit
        if apart == _CROWD:
            crowded = np.asarray(close.any(axis=1))
            break
        if not close.any():
            break
        rows, first = np.nonzero(close & (is_left[:, apart:] != is_left[:, :-apart]))
        one, other = keys[rows, first], keys[rows, first + apart]
        size = (one & _SIZE) + (other & _SIZE)
        total = (other >> _KEY_BITS) - (one >> _KEY_BITS)
        wanted = (size > 0) & (total <= size * reach[rows])
        # A left sum that comes first is smaller, negated, than the right one: their sum is above 0.
        total = np.where(is_left[rows, first], total, -total)
        found.append((rows[wanted], total[wanted] / size[wanted]))
    means = np.full(len(keys), np.nan)
    if not found:
        return means
    rows, mean = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((mean, rows))
    rows, mean = rows[order], mean[order]
    # The place, in the list, of the first mean above the guess.
    above = np.searchsorted(rows, np.arange(len(keys))) + np.bincount(
        rows, weights=mean <= 0, minlength=len(keys)
    ).astype(np.int64)
    place = above + away - 1
    there = np.flatnonzero((place >= 0) & (place < len(rows)))
    there = there[rows[place[there]] == there]
    means[there] = mean[place[there]]
    return np.where(~crowded & (np.abs(means) <= reach), means, np.nan)


def _halves(units: FloatArray) -> _Halves:
    middle = units.shape[1] // 2
    left, right = (part.astype(np.int64) for part in (units[:, :middle], units[:, middle:]))
    ones = np.ones((1, units.shape[1]), dtype=np.int64)
    return _Halves(_sums(left), _sums(ones[:, :middle])[0], _sums(right), _sums(ones[:, middle:])[0])


def _sums(numbers: IntArray) -> IntArray:
    """The sum of every subset of each row's numbers, the empty one first."""
    sums = np.zeros((len(numbers), 1), dtype=np.int64)
    for column in numbers.T:
        sums = np.concatenate([sums, sums + column[:, None]], axis=1)
    return sums


def _merged(halves: _Halves, theta: IntArray) -> IntArray:
    """Sort the right sums and the negated left ones together, `theta` taken off every number.

    A key is the sum, then a bit that puts a left one behind the right ones that go with it, then how
    many numbers it sums.
    """
    at = theta[:, None]
    keys = np.empty((len(theta), halves.left.shape[1] + halves.right.shape[1]), dtype=np.int64)
    middle = halves.left.shape[1]
    np.subtract(at * halves.left_size, halves.left, out=keys[:, :middle])
    np.subtract(halves.right, at * halves.right_size, out=keys[:, middle:])
    keys <<= _KEY_BITS
    keys[:, :middle] += halves.left_size + _LEFT
    keys[:, middle:] += halves.right_size
    keys.sort(axis=1)
    return keys


def _count(keys: IntArray, n_left: int) -> IntArray:
    """Count the pairs of a left and a right sum that make at most 0, by row."""
    places = ((keys & _LEFT) > 0) @ np.arange(keys.shape[1])
    return np.asarray(places - n_left * (n_left - 1) // 2)


def _tiles(n_rows: int) -> Iterator[slice]:
    return (slice(start, start + _ROWS) for start in range(0, n_rows, _ROWS))
