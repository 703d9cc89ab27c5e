"""The names of the fluency guards: metrics of text that tell whether it still reads as the baseline's.

They stand on no side of any emotion. Definitions: docs/method.md.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Mean ln p of a text's tokens under the unpatched model, after the text's own prompt, in nats.
MEAN_LN_P = "mean_ln_p"

#: Share of a text's 4-grams of tokens that repeat an earlier one.
REPEATED = "repeated_4grams"

GUARDS = (MEAN_LN_P, REPEATED)

#: Percentiles of the baseline over prompts between which a guard's mean has to stay.
RANGE = (5.0, 95.0)


def smallest_repetition(n_samples: int, n_tokens: int) -> float:
    """The smallest :data:`REPEATED` other than 0 that a prompt's texts of full length can have.

    One 4-gram repeated in one sample. A baseline without any repetition has a range of no width, which
    a single repeated 4-gram among all texts would leave; so the range reaches at least as far as this.

    Examples
    --------
    >>> smallest_repetition(4, 13)
    0.025
    """
    return 1 / (n_samples * max(n_tokens - 3, 1))


def kept_range(baseline: npt.ArrayLike, guard: str, step: float) -> tuple[float, float]:
    """Between which means a guard is kept: from the 5th to the 95th percentile of the baseline.

    Parameters
    ----------
    baseline : array_like of float, shape (prompt,)
        NaN: not measured.
    guard : str
    step : float
        Up to which repetitions are kept in any case (:func:`smallest_repetition`).

    Examples
    --------
    >>> kept_range([0.0, 0.0, 0.0], REPEATED, 0.025)
    (0.0, 0.025)
    """
    low, high = (float(end) for end in np.nanpercentile(np.asarray(baseline, dtype=np.float64), RANGE))
    return low, max(high, step) if guard == REPEATED else high


def is_guard(metric: str) -> bool:
    """Whether a metric is a guard.

    Examples
    --------
    >>> is_guard("mean_ln_p"), is_guard("politeness")
    (True, False)
    """
    return metric in GUARDS
