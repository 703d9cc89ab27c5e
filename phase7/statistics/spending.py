"""How the level of a test is shared out among looks at data that are still coming in.

A spending function says how much of the level may be used up when a share of the data is there (Lan &
DeMets 1983, Biometrika 70, 659-663). A look may use what is spent from the look before it to itself: an
analysis made at that level errs with at most that probability, and the looks of a run together with at
most the whole, whatever decides at which of them the run stops. That holds for every kind of test, sign
flips included, since nothing is assumed of how the looks depend on each other; exact joint boundaries
would reject a little more often.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

FloatArray = npt.NDArray[np.float64]

Spending = Literal["obrien_fleming", "pocock"]


def _obrien_fleming(fraction: float, alpha: float) -> float:
    """Almost nothing early: that of O'Brien & Fleming's (1979) boundary, alpha / 2 on either side."""
    return float(4 * norm.sf(norm.isf(alpha / 4) / math.sqrt(fraction)))


def _pocock(fraction: float, alpha: float) -> float:
    """About the same at every look: that of Pocock's (1977) boundary."""
    return alpha * math.log(1 + (math.e - 1) * fraction)


_SPENT: dict[Spending, Callable[[float, float], float]] = {
    "obrien_fleming": _obrien_fleming,
    "pocock": _pocock,
}


def spent(fraction: float, *, alpha: float, spending: Spending) -> float:
    """Give the level that is used up when a share of the data is there.

    Parameters
    ----------
    fraction : float
        In (0, 1].
    alpha : float
        Of the whole, two-sided.
    spending : {"obrien_fleming", "pocock"}

    Raises
    ------
    ValueError
        For a fraction outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction: expected a number in (0, 1], got {fraction}")
    return min(_SPENT[spending](fraction, alpha), alpha)


def level_shares(ends: Sequence[int], *, alpha: float, spending: Spending) -> FloatArray:
    """Give the share of the level that belongs to each look.

    Parameters
    ----------
    ends : sequence of int
        Prompts at each look, ascending; the last is all of them.
    alpha : float
        Of the whole, two-sided.
    spending : {"obrien_fleming", "pocock"}

    Returns
    -------
    float64 array, shape (looks,)
        They add up to 1.

    Raises
    ------
    ValueError
        For no looks, or ends that do not ascend from 1 on.
    """
    if not ends or any(a >= b for a, b in zip([0, *ends], ends, strict=False)):
        raise ValueError(f"ends: expected ascending numbers of prompts, got {list(ends)}")
    used = [spent(end / ends[-1], alpha=alpha, spending=spending) for end in ends[:-1]]
    shares: FloatArray = np.diff([0.0, *used, alpha]) / alpha
    return shares
