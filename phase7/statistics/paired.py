"""Inference on paired differences, one row of prompts per cell, all cells at once.

Each cell gets a mean, a sign-flip permutation p, the interval that inverts that test, and Cohen's d_z
over its prompts; NaN marks a prompt that was not measured. A cell with fewer than two prompts gets NaN,
never 0, and an infinite difference is an error.

The net effect needs nothing of its own: it is ``paired_summary(delta - control, ...)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
import numpy.typing as npt

from phase7.statistics.exact_sums import row_moments
from phase7.statistics.sign_flips import MAX_EXACT, Inference, sign_flip_inference

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

N_RESAMPLES = 10_000
"""Sign flips of the first Monte Carlo stage."""

N_TAIL = 1_000_000
"""Sign flips of the second stage, for cells whose first stage met fewer than TAIL_HITS."""


@dataclass(frozen=True, kw_only=True)
class PairedSummary:
    """What n paired differences say, per cell. All arrays have the shape of the cells.

    Attributes
    ----------
    n : int64 array
        Prompts that were measured.
    n_nonzero : float64 array
        Prompts whose difference is not 0 (to rounding). Only they count: a flip of 0 changes nothing.
    mean : float64 array
        Mean difference, in the metric's unit; positive where the patch raised it.
    sd : float64 array
        Standard deviation of the differences, with n - 1.
    ci_low, ci_high : float64 array
        Ends of the interval of the mean: all values that the sign-flip test does not reject at
        1 - `confidence`. Infinite where it cannot reject any (fewer than 6 prompts at 0.95).
    p_value : float64 array
        Two-sided sign-flip permutation p (:func:`phase7.statistics.sign_flips.sign_flip_inference`).
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
    n_nonzero: FloatArray
    mean: FloatArray
    sd: FloatArray
    ci_low: FloatArray
    ci_high: FloatArray
    p_value: FloatArray
    p_strict: FloatArray
    effect_size: FloatArray


def paired_summary(
    delta: npt.ArrayLike,
    *,
    seed: int,
    n_resamples: int = N_RESAMPLES,
    n_tail: int = N_TAIL,
    confidence: float | None = 0.95,
    max_exact: int = MAX_EXACT,
) -> PairedSummary:
    """Summarise paired differences per cell.

    Parameters
    ----------
    delta : array_like of float, shape (..., prompt)
        Differences, the samples of a prompt already averaged. NaN: not measured, dropped from its
        cell alone.
    seed : int
        The experiment's seed. Cells with equally many prompts share the flips.
    n_resamples : int
        Monte Carlo sign flips where flips are not enumerated.
    n_tail : int
        Sign flips of the second stage; 0 leaves it out.
    confidence : float or None
        Of the interval, in (0, 1). None: no interval, which saves most of the time; its ends are NaN.
    max_exact : int
        Up to this many prompts whose difference is not 0, p is exact, and up to this many prompts the
        interval. At most 20.

    Returns
    -------
    PairedSummary
        Arrays of shape ``delta.shape[:-1]``. A cell's numbers are the same to the bit whether it
        is summarised alone or with others. 0 is outside an interval exactly where its p is below
        1 - `confidence`.

    Raises
    ------
    ValueError
        For an infinite difference, or an argument out of its range.
    """
    _check(n_resamples, n_tail, confidence, max_exact)
    infer = partial(
        sign_flip_inference, seed=seed, n_resamples=n_resamples, n_tail=n_tail,
        confidence=confidence, max_exact=max_exact,
    )  # fmt: skip
    names = [field.name for field in fields(PairedSummary) if field.name != "n"]
    n, columns = by_prompt_count(delta, names, lambda rows: _columns(rows, infer))
    return PairedSummary(n=n, **columns)


def _columns(rows: FloatArray, infer: Callable[[FloatArray], Inference]) -> dict[str, FloatArray]:
    """Everything but n about cells of equally many prompts."""
    mean, sd = row_moments(rows)
    return {"mean": mean, "sd": sd, "effect_size": effect_size(mean, sd)} | infer(rows)._asdict()


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


def _check(n_resamples: int, n_tail: int, confidence: float | None, max_exact: int) -> None:
    if n_resamples < 1:
        raise ValueError(f"n_resamples: expected at least 1, got {n_resamples}")
    if n_tail < 0:
        raise ValueError(f"n_tail: expected 0 (no second stage) or more, got {n_tail}")
    if confidence is not None and not 0 < confidence < 1:
        raise ValueError(f"confidence: expected a number between 0 and 1, got {confidence}")
    if not 1 <= max_exact <= MAX_EXACT:
        raise ValueError(f"max_exact: expected 1 to {MAX_EXACT}, got {max_exact}")
