"""What a number of prompts can show at best: the smallest reachable p, the prompts a level asks for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

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
