"""Read-outs of next-token distributions: log-likelihoods, log-odds of token sets, divergences.

One distribution is read at a time, in double precision and by functions of NumPy alone, so that a row's
values depend neither on the other rows nor on the number of threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Readouts:
    """What an arm's distributions P_t at temperature 1 say along a path y_1 … y_T, in nats.

    Attributes
    ----------
    log_likelihood : float64 array [..., T]
        ln P_t(y_t).
    log_odds : mapping of str to float64 array [..., T]
        ln(P_t(S) / (1 - P_t(S))) of each token set S. Infinite only where all the rest, or all of S, has
        a probability below e^-745.
    kl : float64 array [..., T]
        KL(baseline_t || P_t), at least 0; the baseline's own is 0.
    """

    log_likelihood: Floats
    log_odds: Mapping[str, Floats]
    kl: Floats

    def of(self, arms: int | slice) -> Readouts:
        """Those of some arms, along the first axis."""
        return Readouts(
            log_likelihood=self.log_likelihood[arms],
            log_odds={name: odds[arms] for name, odds in self.log_odds.items()},
            kl=self.kl[arms],
        )

    def summary(self) -> Floats:
        """Log-odds of every set, then KL: their means over the steps, then those of the first step.

        Returns
        -------
        float64 array [..., 2 * (n_sets + 1)]
            In the order of :func:`phase7.vocabulary.readouts.readout_metrics`.
        """
        steps = np.stack([*self.log_odds.values(), self.kl], axis=-2)
        both: Floats = np.concatenate([steps.mean(axis=-1), steps[..., 0]], axis=-1)
        return both

    def by_name(self) -> dict[str, Floats]:
        """All of them, by what they are called in messages."""
        sets = {f"the log-odds of {name}": odds for name, odds in self.log_odds.items()}
        return {"the log-likelihood": self.log_likelihood, **sets, "the divergence": self.kl}


class Reading:
    """Collects the read-outs of a batch's arms.

    Parameters
    ----------
    n_arms : int
        Arm 0 is the baseline.
    path : sequence of int
        The tokens y_1 … y_T.
    token_sets : mapping of str to sequence of int
        Distinct ids.

    Attributes
    ----------
    readouts : Readouts
        Of all arms, [n_arms, T]; NaN where nothing has been noted.
    """

    def __init__(
        self, n_arms: int, path: Sequence[int], token_sets: Mapping[str, Sequence[int]]
    ) -> None:
        self._path = tuple(path)
        self._sets = {name: np.array(ids, dtype=np.int64) for name, ids in token_sets.items()}
        empty = np.full((n_arms, len(path)), np.nan)
        self.readouts = Readouts(
            log_likelihood=empty.copy(),
            log_odds={name: empty.copy() for name in token_sets},
            kl=empty.copy(),
        )
        self._baseline: tuple[Floats, Floats, float] | None = None

    def note(self, arm: int, step: int, logits: Floats) -> None:
        """Read one distribution from its logits [n_vocab]; of each step, the baseline's first."""
        largest = logits.max()
        weights = np.exp(logits - largest)
        total = weights.sum()
        log_total = largest + np.log(total)
        self.readouts.log_likelihood[arm, step] = logits[self._path[step]] - log_total
        for name, ids in self._sets.items():
            self.readouts.log_odds[name][arm, step] = _log_odds(weights, ids, total)
        if arm == 0:
            p = weights / total
            self._baseline = logits, p, _mean(p, logits) - log_total
        assert self._baseline is not None
        _, p, baseline_mean = self._baseline
        # E[ln P_baseline] - E[ln P] under the baseline; the mean of a constant is the constant.
        self.readouts.kl[arm, step] = np.maximum(baseline_mean - (_mean(p, logits) - log_total), 0.0)

    def gap(self, logits: Floats) -> float:
        """Largest absolute difference of some logits from the baseline's of the same step."""
        assert self._baseline is not None
        return float(np.abs(logits - self._baseline[0]).max())


def _log_odds(weights: Floats, ids: np.ndarray[Any, np.dtype[np.int64]], total: float) -> float:
    """ln of the sum of some weights over the sum of the others.

    Where the set holds more than half of the total, subtracting it would leave nothing but rounding, so
    the others are summed by themselves.
    """
    inside = weights[ids].sum()
    if inside <= total / 2:
        rest = total - inside
    else:
        others = weights.copy()
        others[ids] = 0.0
        rest = others.sum()
    with np.errstate(divide="ignore"):
        return float(np.log(inside) - np.log(rest))


def _mean(p: Floats, values: Floats) -> float:
    """The expectation under p, in a fixed order of summation."""
    return float(np.einsum("i,i->", p, values))
