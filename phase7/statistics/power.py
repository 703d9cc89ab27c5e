"""What a number of prompts can show at best: the smallest reachable p, the prompts a level asks for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import nct, t

from phase7.statistics.paired import MAX_EXACT, N_RESAMPLES, N_TAIL

FloatArray = npt.NDArray[np.float64]


def minimum_p(
    n: npt.ArrayLike,
    *,
    n_resamples: int = N_RESAMPLES,
    n_tail: int = N_TAIL,
    max_exact: int = MAX_EXACT,
) -> FloatArray:
    """Give the smallest p that a sign-flip test of n prompts can return.

    Parameters
    ----------
    n : array_like of int
        Prompts measured.
    n_resamples, n_tail, max_exact : int
        As in :func:`phase7.statistics.paired.paired_summary`.

    Returns
    -------
    float64 array, shape of `n`
        2 / 2**n where flips are enumerated, else 1 / (m + 1) with m the larger number of flips.
        NaN where n < 2: there is no test.
    """
    prompts = np.asarray(n)
    exact = 2.0 ** (1.0 - np.minimum(prompts, max_exact))
    floor = np.where(prompts <= max_exact, exact, 1 / (max(n_resamples, n_tail) + 1))
    return np.where(prompts >= 2, floor, np.nan)


def detectable_effect(sd: float, n: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Give the smallest mean difference that a two-sided paired test of n prompts finds with that power.

    Of the t test, by the noncentral t distribution (Cohen 1988, section 2.5); the sign-flip test has
    the same power but for few prompts, where it can reach `alpha` at all.

    Parameters
    ----------
    sd : float
        Standard deviation of the differences over prompts, in the metric's unit.

    Returns
    -------
    float
        In the metric's unit. NaN where n < 2 or `sd` is not a number; 0 where `sd` is 0.
    """
    if n < 2 or not np.isfinite(sd):
        return float("nan")
    critical = t.ppf(1 - alpha / 2, n - 1)

    def lacks(shift: float) -> float:
        # SciPy has no number for the tail on the other side where it is below 1e-16.
        other_side = np.nan_to_num(nct.cdf(-critical, n - 1, shift))
        return float(power - nct.sf(critical, n - 1, shift) - other_side)

    return float(brentq(lacks, 0.0, 2 * critical + 5.0) * sd / np.sqrt(n))


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
