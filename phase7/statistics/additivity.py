"""Does a set of heads do more, or less, than its heads do one by one?

Synergy is joint - sum of singles, paired by prompt, with an equivalence test. It is positive where the
set raises the metric by more than its heads do together. A verdict takes q-values, which only a family
of such tests has, and an effect that there could be synergy of.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

from phase7.statistics.exact_sums import ROUNDING_TOLERANCE, row_moments
from phase7.statistics.paired import (
    N_RESAMPLES,
    N_TAIL,
    PairedSummary,
    by_prompt_count,
    paired_summary,
)
from phase7.statistics.power import minimum_p
from phase7.statistics.sign_flips import MAX_EXACT

FloatArray = npt.NDArray[np.float64]
StrArray = npt.NDArray[np.str_]

EQUIVALENCE_MARGIN = 0.5
"""In standard deviations of the joint Δ over prompts: half of one is a medium d_z (Cohen 1988).

A synergy inside it would move the joint effect's own d_z by less than 0.5. For two heads whose
Δ, and the joint Δ, vary alike and independently, the synergy has an sd of 1.7 in this unit, and
"No" takes at least 35 prompts; a margin of 0.2 would take over 200.
"""

YES, NO, UNDETERMINED = "Yes", "No", "undetermined"

NO_EFFECT = "no effect"
"""Neither the set nor one of its heads has a significant effect: there is nothing to add up."""


@dataclass(frozen=True, kw_only=True)
class SynergySummary(PairedSummary):
    """A :class:`PairedSummary` of the synergy, with its equivalence test.

    Attributes
    ----------
    equivalence_margin : float64 array
        The margin in the metric's unit: `margin` times the sd of the joint Δ.
    equivalence_p : float64 array
        p of the two one-sided t tests: small says that the mean synergy lies within the margin.
    """

    equivalence_margin: FloatArray
    equivalence_p: FloatArray


def synergy(
    joint_delta: npt.ArrayLike,
    single_deltas: npt.ArrayLike,
    *,
    seed: int,
    margin: float = EQUIVALENCE_MARGIN,
    n_resamples: int = N_RESAMPLES,
    n_tail: int = N_TAIL,
    confidence: float = 0.95,
    max_exact: int = MAX_EXACT,
) -> SynergySummary:
    """Test joint - sum of singles, paired by prompt.

    Parameters
    ----------
    joint_delta : array_like of float, shape (..., prompt)
        Δ of the set, NaN: missing.
    single_deltas : array_like of float, shape (n_heads, ..., prompt)
        Δ of each head. A prompt missing for one of them is missing for the synergy.
    margin : float
        Of the equivalence test, in standard deviations of the joint Δ over the prompts used. It is
        estimated from the same prompts and then taken as given, as is usual for standardised margins
        (Lakens 2017, Social Psychological and Personality Science 8, 355-362).
    seed, n_resamples, n_tail, confidence, max_exact
        As in :func:`phase7.statistics.paired.paired_summary`.

    Returns
    -------
    SynergySummary
        Arrays of shape ``joint_delta.shape[:-1]``.

    Raises
    ------
    ValueError
        Where the shapes do not fit, there is no single, or `margin` is not positive.
    """
    joint, difference = _excess(joint_delta, single_deltas)
    columns = _equivalence(joint, difference, margin)
    summary = paired_summary(
        difference,
        seed=seed,
        n_resamples=n_resamples,
        n_tail=n_tail,
        confidence=confidence,
        max_exact=max_exact,
    )
    shared = {field.name: getattr(summary, field.name) for field in fields(PairedSummary)}
    return SynergySummary(**shared, equivalence_margin=columns["raw_margin"], equivalence_p=columns["p"])


def _equivalence(joint: FloatArray, difference: FloatArray, margin: float) -> dict[str, FloatArray]:
    """Margin in the metric's unit, and p of the equivalence test, by cell."""
    if not margin > 0:
        raise ValueError(f"margin: expected a positive number, got {margin}")
    both = np.concatenate([difference, np.where(np.isnan(difference), np.nan, joint)], axis=-1)
    _, columns = by_prompt_count(
        both, ("raw_margin", "p"), lambda rows: _equivalence_columns(rows, margin)
    )
    return columns


def _excess(joint_delta: npt.ArrayLike, single_deltas: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """The joint Δ, and the same less the singles; what is left of rounding alone becomes 0."""
    joint = np.asarray(joint_delta, dtype=np.float64)
    singles = np.asarray(single_deltas, dtype=np.float64)
    if singles.ndim != joint.ndim + 1 or singles.shape[1:] != joint.shape or not len(singles):
        raise ValueError(
            f"single_deltas: expected shape (n_heads, *{joint.shape}) with n_heads >= 1, "
            f"got {singles.shape}"
        )
    difference, scale = joint.copy(), np.abs(joint)
    # One head after the other: the order, and so the bits, must not depend on the shape.
    for single in singles:
        difference -= single
        scale += np.abs(single)
    difference[np.abs(difference) <= ROUNDING_TOLERANCE * scale] = 0.0
    return joint, difference


def _equivalence_columns(rows: FloatArray, margin: float) -> dict[str, FloatArray]:
    """Test rows that hold the differences of n prompts, then their joint Δ."""
    n = rows.shape[1] // 2
    if n < 2:
        missing = np.full(len(rows), np.nan)
        return {"raw_margin": missing, "p": missing}
    raw_margin = margin * row_moments(rows[:, n:]).sd
    return {"raw_margin": raw_margin, "p": equivalence_p(rows[:, :n], raw_margin)}


def equivalence_p(rows: FloatArray, margin: FloatArray) -> FloatArray:
    """Test that each row's mean lies within ± margin: two one-sided t tests (Schuirmann 1987).

    Parameters
    ----------
    rows : float64 array, shape (cells, n)
        Finite, n >= 2.
    margin : float64 array, shape (cells,)
        Not negative, in the rows' unit.

    Returns
    -------
    float64 array, shape (cells,)
        The larger p of ``scipy.stats.ttest_1samp`` against -margin ("greater") and +margin
        ("less"). A constant row has 0 where it lies strictly inside the margin and 1 otherwise,
        a margin of 0 included.
    """
    n = rows.shape[1]
    mean, sd = row_moments(rows)
    inside = np.where(np.abs(mean) < margin, np.inf, -np.inf)
    # The smaller distance to a margin, in standard errors, decides both tests.
    distance = (margin - np.abs(mean)) * np.sqrt(n)
    t = np.divide(distance, sd, out=inside, where=sd > 0)
    return np.asarray(stdtr(n - 1, -t))


def synergy_verdict(
    *,
    n: npt.ArrayLike,
    p_value: npt.ArrayLike,
    q_value: npt.ArrayLike,
    equivalence_q: npt.ArrayLike,
    has_effect: npt.ArrayLike,
    alpha: float = 0.05,
) -> StrArray:
    """Turn the corrected tests of a synergy into words.

    - "Yes": q is below `alpha`.
    - "No": p is not, the q of the equivalence test is, and there are prompts enough that "Yes" was
      possible (6 at alpha 0.05).
    - "no effect": neither the set nor one of its heads has a significant effect, so there is nothing
      to judge.
    - "undetermined": all else, missing numbers included.

    Parameters
    ----------
    n, p_value, q_value, equivalence_q : array_like, broadcastable together
        Of the synergy, q among all synergies that were tested; NaN: in no family.
    has_effect : array_like of bool
        Whether the set, or a head of it alone, has a significant effect.
    alpha : float
        Level of both tests.

    Returns
    -------
    str array
    """
    p, effect = np.asarray(p_value, float), np.asarray(has_effect, bool)
    yes = effect & (np.asarray(q_value) < alpha)
    # A test that could never say Yes is in no position to say No.
    able = minimum_p(n) < alpha
    no = effect & able & (p >= alpha) & (np.asarray(equivalence_q) < alpha)
    nothing = ~effect & ~np.isnan(p)
    return np.where(yes, YES, np.where(no, NO, np.where(nothing, NO_EFFECT, UNDETERMINED)))
