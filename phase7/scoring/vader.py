"""Sentiment by the VADER lexicon and rules (Hutto & Gilbert 2014, ICWSM), library vaderSentiment.

The shares of positive, negative and neutral words sum to 1 up to VADER's rounding to three decimals; a
text without words is wholly neutral.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from phase7.scoring.base import Scores
from phase7.vocabulary.metrics import SENTIMENT

_KEYS = {"sentiment_positive": "pos", "sentiment_negative": "neg", "sentiment_neutral": "neu"}


class VaderScorer:
    """Three shares per text, each in [0, 1]."""

    name = "vader"
    metrics = SENTIMENT

    def __init__(self) -> None:
        self.version = version("vaderSentiment")
        self._analyzer = SentimentIntensityAnalyzer()

    def score(self, texts: Sequence[str]) -> dict[str, Scores]:
        """Shares per text."""
        shares = [self._analyzer.polarity_scores(text) for text in texts]
        wholly_neutral = [not any(share[key] for key in _KEYS.values()) for share in shares]
        scores = {
            metric: np.array([share[key] for share in shares], dtype=np.float64)
            for metric, key in _KEYS.items()
        }
        scores["sentiment_neutral"][wholly_neutral] = 1.0
        return scores

    def describe(self) -> dict[str, Any]:
        """See :class:`phase7.scoring.base.Scorer`."""
        return {
            "name": self.name,
            "version": self.version,
            "metrics": list(self.metrics),
            "description": "VADER lexicon and rules; shares of positive, negative, neutral words",
            "quality": {},
        }
