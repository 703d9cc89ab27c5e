"""Cross-validated figures of the sentiment and politeness heads on top of trained emotions.

They need the data and no training of the networks, so the record of kept weights can be measured anew.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from phase7.scoring.embedded.scorer import emotion_logits
from phase7.scoring.embedded.sentiment import emotion_sentiment, sentiment_features, vader_scores
from phase7.scoring.embedded.text import hash_word, tokenize
from phase7.scoring.embedded.weights import EmbeddedModel
from phase7.scoring.training.calibration import confusion, macro_recall
from phase7.scoring.training.corpora import Corpora
from phase7.scoring.training.train_emotions import vader_lexicon
from phase7.scoring.training.train_heads import SentimentData, cross_validate_sentiment
from phase7.scoring.training.train_politeness import Lexicon, cross_validate_politeness
from phase7.vocabulary.metrics import GOEMOTIONS_LABELS

_VADER_NEUTRAL = 0.05
"""Compound scores nearer to 0 are neutral, by VADER's own documentation."""


def valence_lexicon() -> Lexicon:
    """Sorted hashes of VADER's words of valence 1 or more, and of -1 or less."""
    words = vader_lexicon()
    return _valence_hashes(words, 1), _valence_hashes(words, -1)


def sentiment_data(model: EmbeddedModel, corpora: Corpora) -> tuple[SentimentData, SentimentData]:
    """Features of the tweets, and of the GoEmotions dev texts that have a sentiment class.

    Parameters
    ----------
    model : EmbeddedModel
        Its calibrated emotions are used.
    corpora : Corpora
    """
    analyzer = SentimentIntensityAnalyzer()

    def featurise(texts: list[str], classes: NDArray[np.int64]) -> SentimentData:
        vader = vader_scores(analyzer, texts)
        features = sentiment_features(emotion_logits(model, tokenize(texts)), vader)
        return SentimentData(features=features, classes=classes)

    tweets = featurise(corpora.tweets.texts, corpora.tweets.classes)
    classes = emotion_sentiment(corpora.dev.targets, GOEMOTIONS_LABELS)
    return tweets, featurise(corpora.dev.texts, classes).rows(np.flatnonzero(classes >= 0))


def cross_validated(model: EmbeddedModel, corpora: Corpora, seed: int) -> dict[str, Any]:
    """Figures of both heads in grouped folds with nested choices; `model` gives the emotions."""
    tweets, dev = sentiment_data(model, corpora)
    texts = corpora.tweets.texts
    compound = vader_scores(SentimentIntensityAnalyzer(), texts)[:, 3]
    by_vader = np.select([compound >= _VADER_NEUTRAL, compound <= -_VADER_NEUTRAL], [0, 1], 2)
    return {
        "sentiment": {
            "stack": cross_validate_sentiment(texts, tweets, dev, seed=seed),
            "vader_macro_recall": macro_recall(confusion(tweets.classes, by_vader)),
        },
        "politeness": cross_validate_politeness(corpora.politeness, valence_lexicon(), seed),
    }


def _valence_hashes(words: dict[str, float], sign: int) -> NDArray[np.uint64]:
    chosen = [hash_word(word) for word, valence in words.items() if sign * valence >= 1.0]
    return np.array(sorted(chosen), dtype=np.uint64)
