"""What tests can show at best: the smallest reachable p, the smallest effect found with some power."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import nct, t

from phase7.statistics.paired import N_RESAMPLES, N_TAIL
from phase7.statistics.sign_flips import MAX_EXACT

FloatArray = npt.NDArray[np.float64]


def minimum_p(
    n_nonzero: npt.ArrayLike,
    *,
    n_resamples: int = N_RESAMPLES,
    n_tail: int = N_TAIL,
    max_exact: int = MAX_EXACT,
) -> FloatArray:
    """Give the smallest p that a sign-flip test can return, by how many differences are not 0.

    It is the same whatever the signs are, so a test may be left out for it (Tarone 1990).

    Parameters
    ----------
    n_nonzero : array_like of float
        Prompts whose difference is not 0; NaN: not tested.
    n_resamples, n_tail, max_exact : int
        As in :func:`phase7.statistics.paired.paired_summary`.

    Returns
    -------
    float64 array, shape of `n_nonzero`
        2 / 2**k where flips are enumerated (1 for no k at all), else 1 / (m + 1) with m the larger
        number of flips. NaN stays NaN.
    """
    k = np.asarray(n_nonzero, dtype=np.float64)
    exact = np.minimum(2.0 ** (1.0 - np.minimum(k, max_exact)), 1.0)
    floor = np.where(k > max_exact, 1 / (max(n_resamples, n_tail) + 1), exact)
    return np.where(np.isnan(k), np.nan, floor)


def detectable_effect(
    sd: npt.ArrayLike, n: npt.ArrayLike, *, alpha: float = 0.05, power: float = 0.8
) -> FloatArray:
    """Give the smallest mean difference that a two-sided paired test of n prompts finds with that power.

    Of the t test, by the noncentral t distribution (Cohen 1988, section 2.5); the sign-flip test has
    the same power but for few prompts, where it can reach `alpha` at all.

    Parameters
    ----------
    sd : array_like of float
        Standard deviation of the differences over prompts, in the metric's unit.
    n : array_like of int, broadcastable with `sd`
        Prompts.

    Returns
    -------
    float64 array
        In the metric's unit. NaN where n < 2 or `sd` is not a number; 0 where `sd` is 0.
    """
    spread, prompts = np.broadcast_arrays(np.asarray(sd, float), np.asarray(n))
    effect = np.full(spread.shape, np.nan)
    for size in np.unique(prompts[prompts >= 2]):
        here = (prompts == size) & np.isfinite(spread)
        effect[here] = spread[here] * _detectable_d_z(int(size), alpha, power)
    return effect


def _detectable_d_z(n: int, alpha: float, power: float) -> float:
    def lacks(d_z: float) -> float:
        return power - power_of(d_z, n, alpha=alpha)

    return float(brentq(lacks, 0.0, (2 * t.ppf(1 - alpha / 2, n - 1) + 5.0) / np.sqrt(n)))


def power_of(d_z: float, n: int, *, alpha: float = 0.05) -> float:
    """Give the probability that the two-sided paired t test of n prompts finds a d_z."""
    critical, shift = t.ppf(1 - alpha / 2, n - 1), d_z * np.sqrt(n)
    # SciPy has no number for the tail on the other side where it is below 1e-16.
    other_side = np.nan_to_num(nct.cdf(-critical, n - 1, shift))
    return float(nct.sf(critical, n - 1, shift) + other_side)


def prompts_needed(p: float) -> int:
    """Give the smallest number of prompts whose exact test can return a value below `p`.

    Raises
    ------
    ValueError
        For a `p` outside (0, 1].
    """
    if not 0 < p <= 1:
        raise ValueError(f"p: expected a number in (0, 1], got {p}")
    n = 2
    while 2.0 ** (1 - n) >= p:
        n += 1
    return n
