"""Checks of the method itself: are null p-values uniform, and what does common noise buy?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import kstest

from phase7.statistics.draws import keyed_generator
from phase7.statistics.exact_sums import linear_quantile, row_moments
from phase7.statistics.paired import N_RESAMPLES

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def randomised_p(p_value: npt.ArrayLike, p_strict: npt.ArrayLike, *, seed: int) -> FloatArray:
    """Spread each p evenly over its tie: uniform on [0, 1] under the null, however discrete.

    A permutation p takes few values (2**(n-1) at most, fewer with ties; a cell whose text never
    changed has p = 1), and so lies above the uniform distribution: P(p <= t) <= t. That is what a
    test should do, and what makes a Kolmogorov-Smirnov test of it fail although nothing is
    wrong. p_strict + U (p_value - p_strict) is exactly uniform instead. Use it to check a
    calibration and for nothing else: it adds a coin toss to the evidence.

    Parameters
    ----------
    p_value, p_strict : array_like of float, equal shapes
        As in :class:`phase7.statistics.paired.PairedSummary`, made with ``n_tail=0``: the second
        stage of the Monte Carlo p is valid, but not uniform where it begins. NaN stays NaN.
    seed : int
        Of the U, which go to the cells in their order in the array.
    """
    p, strict = np.asarray(p_value, float), np.asarray(p_strict, float)
    if p.shape != strict.shape:
        raise ValueError(f"p_strict: expected shape {p.shape}, got {strict.shape}")
    spread = keyed_generator(seed=seed, purpose="randomised p", n=p.size).random(p.shape)
    return np.asarray(strict + spread * (p - strict))


class UniformityTest(NamedTuple):
    """A Kolmogorov-Smirnov test against uniform on [0, 1].

    Attributes
    ----------
    statistic : float
        Largest distance between the two distribution functions.
    p_value : float
        Two-sided; small: not uniform. It takes the cells as independent.
    n : int
        Cells that were tested.
    """

    statistic: float
    p_value: float
    n: int


def ks_uniform(p_value: npt.ArrayLike) -> UniformityTest:
    """Test whether p-values are uniform, as ``scipy.stats.kstest`` does.

    Parameters
    ----------
    p_value : array_like of float, any shape
        From :func:`randomised_p`, one per *independent* null cell. NaN: not tested, left out.
        Metrics of one text, or heads over the same prompts, move together; with such cells the
        statistic wanders further from 0 than the test assumes, and its p is too small.

    Raises
    ------
    ValueError
        Where no p is left.
    """
    p = np.asarray(p_value, float)
    p = p[~np.isnan(p)]
    if not p.size:
        raise ValueError("p_value: expected at least one number, got none but NaN")
    result = kstest(p, "uniform")
    return UniformityTest(float(result.statistic), float(result.pvalue), int(p.size))


class VarianceRatio(NamedTuple):
    """What shared noise saves. Arrays of the cells' shape.

    Attributes
    ----------
    n : int64 array
        Prompts measured under both kinds of noise.
    ratio : float64 array
        Variance of Δ under independent noise / under shared noise. The width of an interval goes
        with the root of variance / generations, so shared noise reaches the same interval with
        that many times fewer generations. NaN where n < 2 or both variances are 0; infinite
        where only the shared one is.
    ci_low, ci_high : float64 array
        Percentile bootstrap interval of the ratio.
    variance_shared, variance_independent : float64 array
        With n - 1 in the denominator.
    """

    n: IntArray
    ratio: FloatArray
    ci_low: FloatArray
    ci_high: FloatArray
    variance_shared: FloatArray
    variance_independent: FloatArray


def variance_ratio(
    shared: npt.ArrayLike,
    independent: npt.ArrayLike,
    *,
    seed: int,
    n_resamples: int = N_RESAMPLES,
    confidence: float = 0.95,
) -> VarianceRatio:
    """Compare the variance of Δ under shared and under independent noise.

    Parameters
    ----------
    shared, independent : array_like of float, equal shapes (..., prompt)
        Δ of the same prompts, each from equally many generations. NaN: missing under that noise;
        the prompt is then dropped from both.
    seed : int
        Of the bootstrap, which resamples prompts, the same ones for both.
    n_resamples : int
        Resamples. One in which neither variance is positive has no ratio and is left out.
    confidence : float
        Of the interval, in (0, 1).

    Raises
    ------
    ValueError
        Where the shapes differ, or a difference is infinite.
    """
    a, b = np.asarray(shared, float), np.asarray(independent, float)
    if a.shape != b.shape:
        raise ValueError(f"independent: expected shape {a.shape}, got {b.shape}")
    if np.isinf(a).any() or np.isinf(b).any():
        raise ValueError("expected finite differences or NaN for a missing prompt, got an infinity")
    both = ~(np.isnan(a) | np.isnan(b))
    columns = np.full((5, *a.shape[:-1]), np.nan)
    for cell in np.ndindex(a.shape[:-1]):
        pair = np.stack([a[cell][both[cell]], b[cell][both[cell]]])
        n = pair.shape[1]
        if n >= 2:
            indices = keyed_generator(seed=seed, purpose="variance ratio", n=n).integers(
                0, n, size=(n_resamples, n)
            )
            columns[(slice(None), *cell)] = _one_ratio(pair, indices, confidence)
    return VarianceRatio(both.sum(axis=-1, dtype=np.int64), *columns)


def _one_ratio(pair: FloatArray, indices: npt.NDArray[np.int64], confidence: float) -> tuple[float, ...]:
    """Give ratio, interval and both variances of one cell; `pair` is (2, n), shared first."""
    variances = row_moments(pair).sd ** 2
    ratio = _ratio(variances[1:], variances[:1])[0]
    resampled = _ratio(row_moments(pair[1][indices]).sd ** 2, row_moments(pair[0][indices]).sd ** 2)
    resampled = resampled[~np.isnan(resampled)]
    if np.isnan(ratio) or not resampled.size:
        return np.nan, np.nan, np.nan, variances[0], variances[1]
    tail = (1 - confidence) / 2
    low, high = linear_quantile(resampled, tail), linear_quantile(resampled, 1 - tail)
    return ratio, float(low), float(high), variances[0], variances[1]


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Divide; x / 0 is infinite, 0 / 0 is NaN."""
    limit = np.where(numerator > 0, np.inf, np.nan)
    return np.divide(numerator, denominator, out=limit, where=denominator > 0)
