"""The scorer `embedded`: 28 emotions, sentiment and politeness without a download.

Every string is a valid text and gets probabilities in [0, 1], one float64 array for each metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from phase7.scoring.embedded.features import emotion_counts
from phase7.scoring.embedded.network import network_logits
from phase7.scoring.embedded.sentiment import CLASSES, sentiment_features, vader_scores
from phase7.scoring.embedded.text import TokenizedTexts, tokenize
from phase7.scoring.embedded.weights import FOLDER, EmbeddedModel, load_model, load_record
from phase7.vocabulary.metrics import GOEMOTIONS, POLITENESS, SENTIMENT

Floats = NDArray[np.float64]

EMOTION_BITS = 17
_CHUNK = 256
"""Texts that are processed together; bounds memory and changes no number."""


class EmbeddedScorer:
    """Scores texts with the weights inside the package.

    Parameters
    ----------
    folder : Path, optional
        Where `weights.safetensors` and `model.json` lie; the package's own by default.

    Attributes
    ----------
    name, version : str
    metrics : tuple of str
        Three sentiments, politeness and the 28 emotions.

    Raises
    ------
    UserError
        If the files are missing or damaged.
    """

    name = "embedded"
    metrics: tuple[str, ...] = SENTIMENT + POLITENESS + GOEMOTIONS

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._model, self.version = load_model(folder)
        self._analyzer = SentimentIntensityAnalyzer()

    def score(self, texts: Sequence[str]) -> dict[str, Floats]:
        """Score texts.

        Parameters
        ----------
        texts : sequence of str
            Continuations; characters after the first 4,000 of a text are ignored.

        Returns
        -------
        dict of str to float64 [n_texts]
            A probability in [0, 1] per metric, never NaN. A text's numbers are the same to the bit
            whatever the other texts and their order.
        """
        table = np.zeros((len(texts), len(self.metrics)))
        for begin in range(0, len(texts), _CHUNK):
            rows = slice(begin, begin + _CHUNK)
            table[rows] = self._score_chunk(texts[rows])
        return {metric: table[:, k].copy() for k, metric in enumerate(self.metrics)}

    def describe(self) -> dict[str, Any]:
        """Name, version, metrics, one sentence, and the measured quality {figure: value}."""
        record = load_record(self._folder)
        return {
            "name": self.name,
            "version": self.version,
            "metrics": list(self.metrics),
            "description": (
                "Hashed TF-IDF and word-convolution classifiers of GoEmotions with sentiment and "
                "politeness heads, trained for this package and shipped with it."
            ),
            "quality": record["quality"],
        }

    def _score_chunk(self, texts: Sequence[str]) -> Floats:
        tokens = tokenize(texts)
        calibrated = emotion_logits(self._model, tokens)
        vader = vader_scores(self._analyzer, texts)
        sentiment = self._model.sentiment.probabilities(sentiment_features(calibrated, vader))
        order = [CLASSES.index(metric.removeprefix("sentiment_")) for metric in SENTIMENT]
        politeness = politeness_logits(self._model, tokens)[:, None]
        return np.concatenate([sentiment[:, order], expit(politeness), expit(calibrated)], axis=1)


def emotion_logits(model: EmbeddedModel, tokens: TokenizedTexts) -> Floats:
    """Calibrated logits of the 28 emotions (float64 [n_texts, 28])."""
    linear = model.emotion_linear.logits(emotion_counts(tokens, EMOTION_BITS))
    network = network_logits(tokens, model.emotion_network)
    mixed = model.network_share * network + (1.0 - model.network_share) * linear
    return model.slope * mixed + model.intercept


def politeness_logits(model: EmbeddedModel, tokens: TokenizedTexts) -> Floats:
    """Calibrated politeness logits (float64 [n_texts])."""
    return model.politeness_slope * model.politeness.logits(tokens) + model.politeness_intercept
