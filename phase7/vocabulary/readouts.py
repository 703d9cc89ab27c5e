"""The names of read-outs: metrics of the model's own distribution, in nats, free of sampling.

A read-out is the mean over the steps of a path that every arm follows, or, with :data:`FIRST` at its
end, its value at the first step alone, where the prompt is all that has been read. A contrast is the
log-likelihood of some continuations minus that of others. Definitions: docs/method.md.
"""

from __future__ import annotations

from collections.abc import Sequence

#: Ends the name of a read-out at the first step.
FIRST = "_first"

#: Mean KL(baseline || patched); it has no direction.
KL_PATH = "kl_path"

#: The token set that a user's own words make.
OWN_WORDS = "words"

_LOG_ODDS = "logodds_"
_LOG_LIKELIHOOD = "loglik_"
_PAIR = "logdiff_"


def log_odds_metric(token_set: str) -> str:
    """The log-odds of a token set by the set's name.

    Examples
    --------
    >>> log_odds_metric("gratitude")
    'logodds_gratitude'
    """
    return _LOG_ODDS + token_set


def readout_metrics(token_sets: Sequence[str]) -> tuple[str, ...]:
    """All read-outs of a run by the names of its token sets; none without sets.

    Examples
    --------
    >>> readout_metrics(["joy"])
    ('logodds_joy', 'kl_path', 'logodds_joy_first', 'kl_path_first')
    """
    whole = (*map(log_odds_metric, token_sets), KL_PATH) if token_sets else ()
    return (*whole, *(name + FIRST for name in whole))


def log_likelihood_metric(emotion: str) -> str:
    """The log-likelihood of an emotion's continuations minus that of neutral ones.

    Examples
    --------
    >>> log_likelihood_metric("gratitude")
    'loglik_gratitude'
    """
    return _LOG_LIKELIHOOD + emotion


def pair_metric(name: str) -> str:
    """The difference of the log-likelihoods of a target and a foil, by the pair's name.

    Examples
    --------
    >>> pair_metric("thank_you_no")
    'logdiff_thank_you_no'
    """
    return _PAIR + name


def contrast_metrics(name: str) -> tuple[str, str]:
    """Both metrics of a contrast: along whole continuations, and at their first tokens.

    Examples
    --------
    >>> contrast_metrics("loglik_anger")
    ('loglik_anger', 'loglik_anger_first')
    """
    return name, name + FIRST


def is_readout(metric: str) -> bool:
    """Whether a metric is measured on the model's distribution and not on text."""
    return metric.removesuffix(FIRST) == KL_PATH or metric.startswith(
        (_LOG_ODDS, _LOG_LIKELIHOOD, _PAIR)
    )


def has_direction(metric: str) -> bool:
    """Whether a read-out can rise and fall; a divergence from the baseline can only rise from 0."""
    return metric.removesuffix(FIRST) != KL_PATH


def measured_on(metric: str) -> str:
    """``"logits"`` for a read-out, whose unit is nats, and ``"text"`` for the score of a text."""
    return "logits" if is_readout(metric) else "text"
