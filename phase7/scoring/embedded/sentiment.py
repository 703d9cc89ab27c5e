"""Sentiment from emotion logits and VADER's features: probabilities of positive, negative and neutral.

VADER: Hutto and Gilbert (2014), "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social
Media Text". Its four scores join the 28 logits in one multinomial logistic regression.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from phase7.scoring.embedded.text import MAX_CHARACTERS

Floats = NDArray[np.float64]

CLASSES = ("positive", "negative", "neutral")
_VADER_SCORES = ("pos", "neg", "neu", "compound")
_LARGEST_LOGIT = 8.0

POSITIVE = frozenset(
    {
        "admiration", "amusement", "approval", "caring", "desire", "excitement", "gratitude", "joy",
        "love", "optimism", "pride", "relief",
    }
)  # fmt: skip
NEGATIVE = frozenset(
    {
        "anger", "annoyance", "disappointment", "disapproval", "disgust", "embarrassment", "fear",
        "grief", "nervousness", "remorse", "sadness",
    }
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SentimentModel:
    """Multinomial logistic regression.

    Attributes
    ----------
    coefficients : float64 [n_features, 3]
        In the order of `CLASSES`.
    bias : float64 [3]
    """

    coefficients: Floats
    bias: Floats

    def probabilities(self, features: Floats) -> Floats:
        """Probabilities float64 [n, 3]; each row sums to 1."""
        # One feature after another: a matrix product's order of summation depends on the batch.
        logits = np.tile(self.bias, (features.shape[0], 1))
        for column, weights in zip(features.T, self.coefficients, strict=True):
            logits += column[:, None] * weights
        logits -= logits.max(axis=1, keepdims=True)
        shares = np.exp(logits)
        total = shares[:, 0] + shares[:, 1] + shares[:, 2]
        return np.asarray(shares / total[:, None])


def sentiment_features(logits: Floats, vader: Floats) -> Floats:
    """Features of the stack: clipped logits, VADER's scores and compound squared (float64 [n, 33])."""
    return np.concatenate(
        [np.clip(logits, -_LARGEST_LOGIT, _LARGEST_LOGIT) / 4.0, vader, vader[:, 3:] ** 2], axis=1
    )


def vader_scores(analyzer: SentimentIntensityAnalyzer, texts: Sequence[str]) -> Floats:
    """VADER's pos, neg, neu and compound of each text (float64 [n, 4])."""
    rows = [analyzer.polarity_scores(text[:MAX_CHARACTERS]) for text in texts]
    return np.array([[row[key] for key in _VADER_SCORES] for row in rows]).reshape(-1, 4)


def emotion_sentiment(targets: NDArray[np.float32], labels: Sequence[str]) -> NDArray[np.int64]:
    """Sentiment class of GoEmotions label sets, by the groups of the corpus paper.

    Parameters
    ----------
    targets : float32 [n, n_labels]
    labels : sequence of str

    Returns
    -------
    int64 [n]
        Index into `CLASSES`: positive if there is a positive label and no negative one, negative the
        other way round, neutral if `neutral` is the only label; -1 (left out) for both groups at
        once and for ambiguous labels alone or with `neutral`.
    """
    positive = targets[:, [label in POSITIVE for label in labels]].any(axis=1)
    negative = targets[:, [label in NEGATIVE for label in labels]].any(axis=1)
    neutral = (targets[:, list(labels).index("neutral")] > 0) & (targets.sum(axis=1) == 1)
    result = np.full(len(targets), -1, dtype=np.int64)
    result[positive & ~negative] = 0
    result[negative & ~positive] = 1
    result[neutral] = 2
    return result


def fit_sentiment(
    features: Floats, classes: NDArray[np.int64], weights: Floats, *, penalty: float
) -> SentimentModel:
    """Fit by weighted maximum likelihood with an L2 penalty on standardised features.

    Parameters
    ----------
    features : float64 [n, n_features]
    classes : int64 [n]
        Indices into `CLASSES`.
    weights : float64 [n]
    penalty : float
    """
    mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-6
    scaled = (features - mean) / spread
    hot = np.eye(3)[classes]

    def objective(flat: Floats) -> tuple[float, Floats]:
        table = flat.reshape(-1, 3)
        logits = scaled @ table[:-1] + table[-1]
        logits -= logits.max(axis=1, keepdims=True)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        error = weights[:, None] * (np.exp(log_p) - hot)
        gradient = np.vstack([scaled.T @ error + penalty * table[:-1], error.sum(axis=0)])
        loss = -(weights[:, None] * hot * log_p).sum() + 0.5 * penalty * (table[:-1] ** 2).sum()
        return float(loss), gradient.ravel()

    start = np.zeros((features.shape[1] + 1) * 3)
    solution = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    table = solution.reshape(-1, 3)
    coefficients = table[:-1] / spread[:, None]
    return SentimentModel(coefficients=coefficients, bias=table[-1] - mean @ coefficients)


def balancing_weights(classes: NDArray[np.int64]) -> Floats:
    """Weights that give the three classes equal shares and sum to the number of texts."""
    counts = np.bincount(classes, minlength=3)
    return np.asarray(classes.size / (3.0 * counts))[classes]
