"""Ratios of two means over the same prompts, with their bootstrap interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, stdtrit

from phase7.statistics.draws import FloatArray, bootstrap_counts
from phase7.statistics.exact_sums import linear_quantile, to_grid


@dataclass(frozen=True, kw_only=True, eq=False)
class Ratio:
    """A ratio of means and both ends of its interval, each a float64 array."""

    value: FloatArray
    low: FloatArray
    high: FloatArray


def ratio_of_means(
    numerator: FloatArray,
    denominator: FloatArray,
    *,
    seed: int,
    n_resamples: int,
    confidence: float = 0.95,
) -> Ratio:
    """Mean of the numerator over mean of the denominator, both over the same prompts.

    The interval is a percentile bootstrap (:func:`expanded_confidence`), with numerator and denominator
    resampled together. It is for denominators that are clearly not 0: a resample whose denominator has
    the other sign makes an interval as wide as the numbers that it divides by are small.

    Parameters
    ----------
    numerator, denominator : float64 array [..., prompt]
        Broadcastable. NaN: not measured; such prompts are left out of both.

    Returns
    -------
    Ratio
        Without the prompt axis. NaN where fewer than two prompts were measured, or where the mean of the
        denominator is 0.
    """
    top, bottom = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    shape = top.shape[:-1]
    top, bottom = (values.reshape(-1, values.shape[-1]) for values in (top, bottom))
    known = np.isfinite(top) & np.isfinite(bottom)
    found = np.full((3, len(top)), np.nan)
    for pattern in np.unique(known, axis=0):
        n = int(pattern.sum())
        rows = np.flatnonzero((known == pattern).all(axis=1))
        if n < 2:
            continue
        counts = bootstrap_counts(seed=seed, n=n, n_resamples=n_resamples).T
        tail = (1 - expanded_confidence(n, confidence)) / 2
        over, under = to_grid(top[rows][:, pattern]), to_grid(bottom[rows][:, pattern])
        exponent = over.exponent - under.exponent
        with np.errstate(divide="ignore", invalid="ignore"):
            whole = over.units.sum(axis=1) / under.units.sum(axis=1)
            drawn = np.ldexp((over.units @ counts) / (under.units @ counts), exponent[:, None])
        found[0, rows] = np.ldexp(whole, exponent)
        drawn = np.where(np.isnan(drawn), 0.0, drawn)  # 0 / 0: an effect of 0 is no share of anything
        found[1, rows], found[2, rows] = linear_quantile(drawn, tail), linear_quantile(drawn, 1 - tail)
    undefined = ~np.isfinite(found[0])
    found[:, undefined] = np.nan
    value, low, high = (column.reshape(shape) for column in found)
    return Ratio(value=value, low=low, high=high)


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
