"""Which metrics stand for an emotion."""

from __future__ import annotations

from phase7.vocabulary.metrics import METRICS

#: The GoEmotions label of an emotion that is not called the same there. Demszky et al. (2020) have no
#: "apology"; remorse is what their raters gave apologies.
_GOEMOTIONS_LABEL = {"apology": "remorse"}


def goemotions_metric(emotion: str) -> str | None:
    """The probability of the GoEmotions label that stands for an emotion; None where there is none.

    Examples
    --------
    >>> goemotions_metric("apology"), goemotions_metric("gratitude"), goemotions_metric("boredom")
    ('goemotions_remorse', 'goemotions_gratitude', None)
    """
    return _known(f"goemotions_{_GOEMOTIONS_LABEL.get(emotion, emotion)}")


def keywords_metric(emotion: str) -> str | None:
    """The count of an emotion's keywords; None where no list of them is kept.

    Examples
    --------
    >>> keywords_metric("apology"), keywords_metric("joy")
    ('apology_keywords', None)
    """
    return _known(f"{emotion}_keywords")


def _known(metric: str) -> str | None:
    return metric if metric in METRICS else None
