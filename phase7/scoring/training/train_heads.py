"""Training and cross-validation of the sentiment classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phase7.scoring.embedded.sentiment import SentimentModel, balancing_weights, fit_sentiment
from phase7.scoring.training.calibration import confusion, macro_recall
from phase7.scoring.training.folds import bootstrap_interval, grouped_folds, near_duplicate_groups

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class StackChoice:
    """What the folds choose.

    Attributes
    ----------
    penalty : float
        L2 penalty of the coefficients.
    emotion_weight : float
        Weight of all GoEmotions texts together, as a share of the tweets'.
    """

    penalty: float = 10.0
    emotion_weight: float = 0.25


STACK_CHOICES = (
    StackChoice(),
    StackChoice(penalty=3.0),
    StackChoice(penalty=30.0),
    StackChoice(emotion_weight=0.1),
    StackChoice(emotion_weight=0.5),
)


@dataclass(frozen=True, kw_only=True)
class SentimentData:
    """Features float64 [n, n_features] and classes int64 [n] of one corpus."""

    features: Floats
    classes: NDArray[np.int64]

    def rows(self, index: NDArray[np.int64]) -> SentimentData:
        """The texts `index`."""
        return SentimentData(features=self.features[index], classes=self.classes[index])


def fit_stack(
    tweets: SentimentData, emotions: SentimentData, choice: StackChoice = STACK_CHOICES[0]
) -> SentimentModel:
    """Fit the stack on tweets and GoEmotions texts, every class of each with equal weight."""
    other = balancing_weights(emotions.classes)
    other *= choice.emotion_weight * tweets.classes.size / other.sum()
    return fit_sentiment(
        np.concatenate([tweets.features, emotions.features]),
        np.concatenate([tweets.classes, emotions.classes]),
        np.concatenate([balancing_weights(tweets.classes), other]),
        penalty=choice.penalty,
    )


def choose_stack(
    tweets: SentimentData,
    emotions: SentimentData,
    groups: NDArray[np.int64],
    *,
    seed: int,
    n_folds: int = 3,
) -> StackChoice:
    """The choice with the best held-out macro recall of the tweets; the first of equals."""
    fold = grouped_folds(groups, n_folds, seed)

    def quality(choice: StackChoice) -> float:
        predicted = np.zeros(fold.size, dtype=np.int64)
        for k in range(n_folds):
            model = fit_stack(tweets.rows(np.flatnonzero(fold != k)), emotions, choice)
            predicted[fold == k] = model.probabilities(tweets.features[fold == k]).argmax(axis=1)
        return macro_recall(confusion(tweets.classes, predicted))

    return max(STACK_CHOICES, key=quality)


def cross_validate_sentiment(
    texts: Sequence[str], tweets: SentimentData, emotions: SentimentData, *, seed: int, n_folds: int = 10
) -> dict[str, Any]:
    """Held-out predictions for every tweet: macro recall with its interval, and confusion.

    Near duplicates share a fold, and each fold's penalty and weight are chosen by folds of the rest.
    `texts` are the tweets.
    """
    groups = near_duplicate_groups(texts)
    fold = grouped_folds(groups, n_folds, seed)
    predicted = np.zeros(fold.size, dtype=np.int64)
    for k in range(n_folds):
        kept = np.flatnonzero(fold != k)
        choice = choose_stack(tweets.rows(kept), emotions, groups[kept], seed=seed)
        model = fit_stack(tweets.rows(kept), emotions, choice)
        predicted[fold == k] = model.probabilities(tweets.features[fold == k]).argmax(axis=1)

    def recall(rows: NDArray[np.int64]) -> float:
        return macro_recall(confusion(tweets.classes[rows], predicted[rows]))

    return {
        "macro_recall": recall(np.arange(fold.size)),
        "macro_recall_interval": list(bootstrap_interval(recall, groups, seed=seed)),
        "confusion": confusion(tweets.classes, predicted).tolist(),
    }
