"""How large an effect can be among units that a screen did not choose.

Few of them can be patched. Exact effects of a *random sample*, one unit at a time, bound how many of the
others are larger than the largest one seen (:func:`n_larger`), and nothing else without an assumption: a
single large one is in a sample of n of N units with probability n / N only.

*Random halves* reach every unit. Each unit is put on either side of a split by the toss of a coin, and
both sides are patched, each side together. Between the two outcomes of one unit's coin, the others'
held, the difference D of the sides moves by what the unit adds to one side plus what it adds to the
other. So |D| is at least the mean of these two effects for one of the two outcomes: with probability 1/2
in one split, and 1 - 2^-m in one of m (:func:`largest_missed`). The units are patched in company: the
bound is on the effect in the company of half of its group, and holds for the effect alone where the
company does not make it smaller; exactly where effects add up.

Joint patches of random subsets to bound what a screen has missed are from Kramár et al. 2024
(arXiv:2403.00745), who test the mean over subsets under additivity; the argument by one unit's coin is
that of symmetrised sums (Kahane 1985, *Some random series of functions*, ch. 2).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from phase7.statistics.draws import keyed_generator

FloatArray = npt.NDArray[np.float64]
Signs = npt.NDArray[np.int8]


def n_larger(n_units: int, n_drawn: int, *, confidence: float = 0.95) -> int:
    """How many of the units that were not drawn can be larger than the largest one drawn.

    The smallest K so that, if more than K of all were larger than it, a sample without any of these
    would have had a probability of at most 1 - `confidence`. Needs nothing but that the sample was drawn
    at random, without looking at the effects (the tolerance limits of Wilks 1941, Ann. Math. Statist.
    12, 91-96, in a finite population).

    Parameters
    ----------
    n_units : int
        Of which the sample was drawn.
    n_drawn : int
        0 to `n_units`.
    confidence : float
        Between 0 and 1.

    Examples
    --------
    >>> n_larger(250, 20)
    33
    >>> n_larger(250, 250)
    0
    """
    if not 0 <= n_drawn <= n_units:
        raise ValueError(f"n_drawn: expected 0 to {n_units}, got {n_drawn}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: expected a number between 0 and 1, got {confidence}")
    for k in range(n_units - n_drawn):
        if _p_none_drawn(n_units, n_drawn, k + 1) <= 1 - confidence:
            return k
    return n_units - n_drawn


def n_splits(confidence: float) -> int:
    """How many random splits it takes: the smallest m with 1 - 2^-m of at least `confidence`.

    Examples
    --------
    >>> n_splits(0.95)
    5
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: expected a number between 0 and 1, got {confidence}")
    return max(1, math.ceil(-math.log2(1 - confidence) - 1e-9))


def random_signs(n_units: int, n_splits: int, *, seed: int) -> Signs:
    """The coins: +1 or -1, each with probability 1/2, [n_splits, n_units]."""
    draws = keyed_generator(seed=seed, purpose="splits", n=n_units)
    return (2 * draws.integers(2, size=(n_splits, n_units)) - 1).astype(np.int8)


def largest_missed(predicted: npt.ArrayLike, signs: npt.ArrayLike, differences: npt.ArrayLike) -> Any:
    """The bound on the largest absolute effect of any unit of one group, with confidence 1 - 2^-m.

    It is the largest absolute prediction plus what a unit can differ from its own: the largest
    |D - sum of ± predictions| of the splits. Good predictions make it tight; bad ones loose, not wrong.

    Parameters
    ----------
    predicted : float array [..., n_units]
        What was known of them before; 0 where nothing was.
    signs : int array [m, n_units]
        Of each split: drawn by :func:`random_signs`.
    differences : float array [..., m]
        Effect of patching the units with +1 together, minus that of those with -1.

    Returns
    -------
    float64 array [...]
        NaN where something was not measured; 0 for no units.
    """
    a, coins = np.asarray(predicted, dtype=np.float64), np.asarray(signs, dtype=np.float64)
    d = np.asarray(differences, dtype=np.float64)
    if coins.ndim != 2 or a.shape[-1] != coins.shape[1] or d.shape[-1] != coins.shape[0]:
        raise ValueError(
            f"expected signs [m, n_units] for {a.shape[-1]} units and {d.shape[-1]} splits,"
            f" got {coins.shape}"
        )
    if not a.shape[-1]:
        return np.zeros(a.shape[:-1])
    if not len(coins):
        return np.full(a.shape[:-1], np.inf)
    return np.abs(a).max(axis=-1) + np.abs(d - a @ coins.T).max(axis=-1)


def recall(scores: npt.ArrayLike, effects: npt.ArrayLike, n: int) -> float:
    """The share of the `n` units with the largest |effects| that are among the `n` largest |scores|.

    NaN for n = 0 or fewer than n units. Ties go to the unit that comes first.
    """
    one, other = np.abs(np.asarray(scores, float)), np.abs(np.asarray(effects, float))
    if not 0 < n <= one.size:
        return math.nan
    first, true = (set(np.argsort(-values, kind="stable")[:n].tolist()) for values in (one, other))
    return len(first & true) / n


def rank_correlation(one: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Spearman's ρ; NaN for fewer than three pairs of numbers, or where one of both is constant."""
    a, b = np.asarray(one, float).ravel(), np.asarray(other, float).ravel()
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if a.size < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(spearmanr(a, b).statistic)


def _p_none_drawn(n_units: int, n_drawn: int, n_special: int) -> float:
    """Probability that a sample holds none of the special units (hypergeometric)."""
    return math.comb(n_units - n_special, n_drawn) / math.comb(n_units, n_drawn)
