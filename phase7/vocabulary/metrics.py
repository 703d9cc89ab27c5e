"""The names of the 35 metrics, in the order of every table and array that this package makes.

Files may have another order: :mod:`phase7.findings.reader` brings what it reads into this one.
"""

from __future__ import annotations

SENTIMENT = ("sentiment_positive", "sentiment_negative", "sentiment_neutral")
POLITENESS = ("politeness",)
KEYWORDS = ("gratitude_keywords", "anger_keywords", "apology_keywords")

#: The 28 labels of GoEmotions in id order (Demszky et al. 2020, ACL), ``neutral`` last.
GOEMOTIONS_LABELS = (
    "admiration", "amusement", "anger", "annoyance", "approval", "caring", "confusion",
    "curiosity", "desire", "disappointment", "disapproval", "disgust", "embarrassment",
    "excitement", "fear", "gratitude", "grief", "joy", "love", "nervousness", "optimism",
    "pride", "realization", "relief", "remorse", "sadness", "surprise", "neutral",
)  # fmt: skip
GOEMOTIONS = tuple(f"goemotions_{label}" for label in GOEMOTIONS_LABELS)

METRICS = SENTIMENT + POLITENESS + KEYWORDS + GOEMOTIONS


def metric_place(metric: str) -> int:
    """Where a metric stands in :data:`METRICS`, and so in every array whose axis has that order.

    Raises
    ------
    ValueError
        If there is no such metric.
    """
    return METRICS.index(metric)
