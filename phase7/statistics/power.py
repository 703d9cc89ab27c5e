"""What a number of prompts can show at best.

What enters: numbers of prompts and of tests. What leaves: the smallest reachable p, the prompts a
level asks for, and a sentence that says so in a report.
"""

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


def power_note(n: int, *, n_tests: int = 1, alpha: float = 0.05, floor: float | None = None) -> str:
    """Say in one line what n prompts can and cannot show.

    Parameters
    ----------
    n : int
        Prompts measured.
    n_tests : int
        Size of the family that q is computed over.
    alpha : float
        Level of q.
    floor : float, optional
        The smallest reachable p, where it is not that of :func:`minimum_p` with its defaults.

    Returns
    -------
    str
        For example "With n = 4 prompts no p below 0.125 is possible, so no single test can
        reach p < 0.05 (that takes 6 prompts)."
    """
    if n < 2:
        return f"With n = {n} prompts nothing can be tested (that takes 2)."
    lowest = float(minimum_p(n)) if floor is None else floor
    text = f"With n = {n} prompts no p below {lowest:.3g} is possible"
    if lowest >= alpha:
        needed = prompts_needed(alpha)
        return f"{text}, so no single test can reach p < {alpha:g} (that takes {needed} prompts)."
    if n_tests == 1:
        return f"{text}."
    together = int(np.floor(lowest * n_tests / alpha)) + 1
    if together == 1:
        return f"{text}; a single one among {n_tests} tests can reach q < {alpha:g}."
    return (
        f"{text}; among {n_tests} tests at least {together} must reach it together "
        f"for any to have q < {alpha:g}."
    )
