"""The names of the 35 metrics, in the order of every table and array.

Scorers, effects, findings and figures all read this order from here.
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
