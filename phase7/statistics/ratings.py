"""Words for numbers, by thresholds that are printed under the tables.

A cell is rated only where its q is below alpha; a missing number is "not measured", never small.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

StrArray = npt.NDArray[np.str_]

ALPHA = 0.05
"""Level of q below which an effect is rated."""

SMALL, MEDIUM, LARGE = 0.2, 0.5, 0.8
"""Lower bounds of |d_z| for the three words (Cohen 1988, section 2.2.3)."""

STRONG_METRICS = 2
"""Significant metrics that a "strong" head must have: one alone, however large, may be a fluke."""

NOT_MEASURED = "not measured"
NOT_SIGNIFICANT = "n.s."
SIZES = ("negligible", "small", "medium", "large")
OVERALL = ("none", "weak", "moderate", "strong")


def size_of_effect(
    effect_size: npt.ArrayLike, q_value: npt.ArrayLike, *, alpha: float = ALPHA
) -> StrArray:
    """Rate each effect.

    Parameters
    ----------
    effect_size, q_value : array_like of float, broadcastable together
        d_z and q of the same Δ (the net one where a control was run). NaN: not measured.
    alpha : float
        Level of q.

    Returns
    -------
    str array
        One of SIZES by |d_z|, NOT_SIGNIFICANT where q >= alpha, or NOT_MEASURED.
    """
    d, q = np.broadcast_arrays(np.asarray(effect_size, float), np.asarray(q_value, float))
    words = np.array(SIZES)[np.digitize(np.abs(d), (SMALL, MEDIUM, LARGE)).clip(max=3)]
    rated = np.where(q < alpha, words, NOT_SIGNIFICANT)
    return np.where(np.isnan(d) | np.isnan(q), NOT_MEASURED, rated)


def overall_rating(
    effect_size: npt.ArrayLike, q_value: npt.ArrayLike, *, alpha: float = ALPHA
) -> StrArray:
    """Rate a head by all its metrics.

    Parameters
    ----------
    effect_size, q_value : array_like of float, shape (..., metric)
        d_z and q of the same Δ. NaN: not measured, left out.
    alpha : float
        Level of q.

    Returns
    -------
    str array, shape (...)
        "none" where no metric has q < alpha; else, by the largest |d_z| among those that do,
        "weak" below MEDIUM, "moderate" from MEDIUM, and "strong" from LARGE where at least
        STRONG_METRICS metrics have q < alpha. NOT_MEASURED where no metric was measured.
    """
    d, q = np.broadcast_arrays(np.asarray(effect_size, float), np.asarray(q_value, float))
    measured = ~(np.isnan(d) | np.isnan(q))
    significant = measured & (q < alpha)
    count = significant.sum(axis=-1)
    largest = np.where(significant, np.abs(d), 0.0).max(axis=-1, initial=0.0)
    level = (count >= 1).astype(int)
    level += (count >= 1) & (largest >= MEDIUM)
    level += (count >= STRONG_METRICS) & (largest >= LARGE)
    return np.where(measured.any(axis=-1), np.array(OVERALL)[level], NOT_MEASURED)
