"""Training and cross-validation of the sentiment and politeness classifiers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.special import expit

from phase7.scoring.embedded.politeness import PolitenessModel, fit_politeness, politeness_counts
from phase7.scoring.embedded.sentiment import SentimentModel, balancing_weights, fit_sentiment
from phase7.scoring.embedded.strategies import strategy_features
from phase7.scoring.embedded.text import tokenize
from phase7.scoring.training.calibration import (
    auroc,
    confusion,
    expected_calibration_error,
    fit_platt,
    macro_recall,
    reliability,
)
from phase7.scoring.training.corpora import PolitenessCorpus

Floats = NDArray[np.float64]
Lexicon = tuple[NDArray[np.uint64], NDArray[np.uint64]]

SENTIMENT_PENALTY = 10.0
EMOTION_WEIGHT = 0.25
"""Weight of all GoEmotions texts together, as a share of the tweets'."""
POLITENESS_PENALTY = 1.0
OTHER_DOMAIN_WEIGHT = 0.5
TARGET_SPREAD = 0.5
"""Spread of the soft politeness targets, in standard deviations of the annotators' score."""


@dataclass(frozen=True, kw_only=True)
class SentimentData:
    """Features float64 [n, n_features] and classes int64 [n] of one corpus."""

    features: Floats
    classes: NDArray[np.int64]

    def rows(self, index: NDArray[np.int64]) -> SentimentData:
        """The texts `index`."""
        return SentimentData(features=self.features[index], classes=self.classes[index])


def fit_stack(tweets: SentimentData, emotions: SentimentData) -> SentimentModel:
    """Fit the stack on tweets and GoEmotions texts, every class of each with equal weight."""
    other = balancing_weights(emotions.classes)
    other *= EMOTION_WEIGHT * tweets.classes.size / other.sum()
    return fit_sentiment(
        np.concatenate([tweets.features, emotions.features]),
        np.concatenate([tweets.classes, emotions.classes]),
        np.concatenate([balancing_weights(tweets.classes), other]),
        penalty=SENTIMENT_PENALTY,
    )


def cross_validate_sentiment(
    tweets: SentimentData, emotions: SentimentData, *, seed: int, n_folds: int = 10
) -> dict[str, Any]:
    """Held-out predictions for every tweet: macro recall, confusion and calibration error."""
    fold = np.random.default_rng(seed).permutation(tweets.classes.size) % n_folds
    held_out = np.zeros((tweets.classes.size, 3))
    for k in range(n_folds):
        model = fit_stack(tweets.rows(np.flatnonzero(fold != k)), emotions)
        held_out[fold == k] = model.probabilities(tweets.features[fold == k])
    counts = confusion(tweets.classes, held_out.argmax(axis=1))
    return {"macro_recall": macro_recall(counts), "confusion": counts.tolist()}


@dataclass(frozen=True, kw_only=True)
class Requests:
    """One domain, featurised; `quartile` as in `PolitenessCorpus`, `target` float64 [n]."""

    counts: sp.csr_array
    strategies: Floats
    quartile: NDArray[np.int64]
    target: Floats

    @property
    def extreme(self) -> NDArray[np.int64]:
        """Texts of the top and bottom quartile."""
        return np.flatnonzero(self.quartile)


def featurise_requests(corpus: PolitenessCorpus, lexicon: Lexicon) -> Requests:
    """Features, and soft targets expit((score - median) / (spread x standard deviation)).

    Soft targets let the middle half teach too: only the quartiles have a clear class.
    """
    tokens = tokenize(corpus.texts)
    centred = (corpus.scores - np.median(corpus.scores)) / corpus.scores.std()
    return Requests(
        counts=politeness_counts(tokens),
        strategies=strategy_features(tokens, *lexicon),
        quartile=corpus.quartile,
        target=expit(centred / TARGET_SPREAD),
    )


def fit_requests(
    parts: list[tuple[Requests, NDArray[np.int64], float]], lexicon: Lexicon
) -> PolitenessModel:
    """Fit on chosen texts of one or more domains, each with its weight."""
    return fit_politeness(
        sp.vstack([data.counts[index] for data, index, _ in parts]).tocsr(),
        np.concatenate([data.strategies[index] for data, index, _ in parts]),
        np.concatenate([data.target[index] for data, index, _ in parts]),
        np.concatenate([np.full(index.size, weight) for _, index, weight in parts]),
        lexicon,
        penalty=POLITENESS_PENALTY,
    )


def request_logits(model: PolitenessModel, data: Requests, index: NDArray[np.int64]) -> Floats:
    """Logits of featurised texts (float64 [n])."""
    words = model.words.logits(data.counts[index])[:, 0]
    return np.asarray(words + data.strategies[index] @ model.strategies)


def held_out_requests(
    data: Requests, other: Requests | None, lexicon: Lexicon, *, seed: int, n_folds: int = 5
) -> Floats:
    """Held-out logits of the quartile texts; `other` is a second domain that always trains.

    The middle half of the domain trains in every fold: it is never tested.
    """
    extreme, middle = data.extreme, np.flatnonzero(data.quartile == 0)
    fold = np.random.default_rng(seed).permutation(extreme.size) % n_folds
    logits = np.zeros(extreme.size)
    for k in range(n_folds):
        parts = [(data, np.concatenate([extreme[fold != k], middle]), 1.0)]
        if other is not None:
            parts.append((other, np.arange(other.quartile.size), OTHER_DOMAIN_WEIGHT))
        model = fit_requests(parts, lexicon)
        logits[fold == k] = request_logits(model, data, extreme[fold == k])
    return logits


def binary_figures(labels: NDArray[np.bool_], logits: Floats) -> dict[str, float]:
    """Accuracy at logit 0 and AUROC."""
    return {
        "accuracy": float(((logits > 0) == labels).mean()),
        "auroc": auroc(labels, logits),
    }


def train_politeness(
    domains: Mapping[str, Requests], lexicon: Lexicon, seed: int
) -> tuple[PolitenessModel, tuple[float, float], dict[str, Any]]:
    """Fit on both domains; cross-validate in domain, with the other domain, and across.

    Returns
    -------
    model : PolitenessModel
    calibration : (float, float)
        Platt slope and intercept, fitted on held-out logits of both domains.
    figures : dict
        By kind of validation and domain.
    """
    figures: dict[str, Any] = {"in_domain": {}, "shipped_recipe": {}, "cross_domain": {}}
    labels, logits = [], []
    for name, data in domains.items():
        other = next(part for key, part in domains.items() if key != name)
        truth = data.quartile[data.extreme] > 0
        alone = held_out_requests(data, None, lexicon, seed=seed)
        figures["in_domain"][name] = binary_figures(truth, alone)
        both = held_out_requests(data, other, lexicon, seed=seed)
        figures["shipped_recipe"][name] = binary_figures(truth, both)
        model = fit_requests([(other, np.arange(other.quartile.size), 1.0)], lexicon)
        across = request_logits(model, data, data.extreme)
        figures["cross_domain"][name] = binary_figures(truth, across)
        labels.append(truth)
        logits.append(both)
    pooled = np.concatenate(labels).astype(np.float32)
    held_out = np.concatenate(logits)
    slope, intercept = fit_platt(pooled[:, None], held_out[:, None])
    calibration = float(slope[0]), float(intercept[0])
    curve = reliability(pooled, expit(calibration[0] * held_out + calibration[1]))
    figures["reliability"] = curve
    figures["calibration_error"] = expected_calibration_error(curve)
    parts = [(data, np.arange(data.quartile.size), 1.0) for data in domains.values()]
    return fit_requests(parts, lexicon), calibration, figures
