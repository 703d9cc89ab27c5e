"""Training of the emotion classifier: a linear model, teachers, and one distilled network.

GoEmotions train and dev become the linear model, the network, their mixture and its calibration.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from phase7.scoring.embedded.features import emotion_counts
from phase7.scoring.embedded.linear import LinearModel, fit_multilabel, inverse_document_frequency, tfidf
from phase7.scoring.embedded.network import NetworkParameters, network_logits
from phase7.scoring.embedded.scorer import EMOTION_BITS
from phase7.scoring.embedded.text import TokenizedTexts, hash_word, tokenize
from phase7.scoring.embedded.weights import quantise_linear, restore_linear
from phase7.scoring.training.calibration import fit_platt, fit_thresholds, macro_auroc
from phase7.scoring.training.corpora import EmotionCorpus
from phase7.scoring.training.train_network import (
    NetworkConfig,
    Sequences,
    predict,
    quantise,
    sequences,
    train_network,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class EmotionConfig:
    """How the emotion classifier is trained.

    Attributes
    ----------
    linear_strength, linear_iterations
        See `fit_multilabel`.
    n_teachers : int
        Networks whose mean, with the linear model, teaches the shipped network.
    teacher_network_share : float
        Weight of the networks in the teachers' mean logits.
    teacher : NetworkConfig
    student : NetworkConfig
    network_shares : tuple of float
        Mixtures of network and linear logits; the one with the best dev macro AUROC is kept.
    """

    linear_strength: float = 3.0
    linear_iterations: int = 40
    n_teachers: int = 3
    teacher_network_share: float = 0.7
    teacher: NetworkConfig = field(default_factory=NetworkConfig)
    student: NetworkConfig = field(default_factory=lambda: NetworkConfig(word_dropout=0.1))
    network_shares: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7)


@dataclass(frozen=True, kw_only=True)
class EmotionResult:
    """The trained classifier; thresholds are probabilities, float64 [28]."""

    linear: LinearModel
    network: NetworkParameters
    network_share: float
    slope: Floats
    intercept: Floats
    thresholds: Floats


def vader_lexicon() -> dict[str, float]:
    """VADER's words and their mean valence in [-4, 4]."""
    lexicon: dict[str, float] = SentimentIntensityAnalyzer().lexicon
    return lexicon


def lexicon_table() -> tuple[NDArray[np.uint64], Floats]:
    """Sorted hashes of VADER's words and the parts of their valence (uint64 [n], float64 [n, 2])."""
    table = {hash_word(word): valence / 2.0 for word, valence in vader_lexicon().items()}
    hashes = np.array(sorted(table), dtype=np.uint64)
    valence = np.array([table[int(key)] for key in hashes])
    return hashes, np.stack([np.maximum(valence, 0.0), np.maximum(-valence, 0.0)], axis=1)


def train_emotions(
    train: EmotionCorpus,
    dev: EmotionCorpus,
    config: EmotionConfig,
    seed: int,
    log: Callable[[str], None],
) -> EmotionResult:
    """Train, mix and calibrate; every choice is made on dev."""
    tokens, dev_tokens = tokenize(train.texts), tokenize(dev.texts)
    linear = _train_linear(tokens, train, config)
    dev_linear = linear.logits(emotion_counts(dev_tokens, EMOTION_BITS))
    log(f"linear model: dev macro AUROC {macro_auroc(dev.targets, dev_linear):.4f}")
    lexicon = lexicon_table()
    data = sequences(tokens, config.teacher, lexicon)
    teacher = _teach(tokens, data, train, linear, config, seed, log)
    student = train_network(data, train.targets, config.student, seed, teacher)
    network = quantise(student, data, lexicon)
    dev_network = network_logits(dev_tokens, network)
    log(f"distilled network: dev macro AUROC {macro_auroc(dev.targets, dev_network):.4f}")
    share = max(
        config.network_shares,
        key=lambda w: macro_auroc(dev.targets, w * dev_network + (1.0 - w) * dev_linear),
    )
    mixed = share * dev_network + (1.0 - share) * dev_linear
    slope, intercept = fit_platt(dev.targets, mixed)
    calibrated = slope * mixed + intercept
    log(f"mixture: network share {share}, dev macro AUROC {macro_auroc(dev.targets, mixed):.4f}")
    return EmotionResult(
        linear=linear,
        network=network,
        network_share=share,
        slope=slope,
        intercept=intercept,
        # As many digits as the record keeps, so that its figures follow from it.
        thresholds=np.round(expit(fit_thresholds(dev.targets, calibrated)), 6),
    )


def _train_linear(tokens: TokenizedTexts, corpus: EmotionCorpus, config: EmotionConfig) -> LinearModel:
    """Fit and round to the shipped precision, so that all later choices see the shipped numbers."""
    counts = emotion_counts(tokens, EMOTION_BITS)
    idf = inverse_document_frequency(counts)
    weights, bias = fit_multilabel(
        tfidf(counts, idf),
        corpus.targets,
        strength=config.linear_strength,
        iterations=config.linear_iterations,
    )
    return restore_linear(quantise_linear(LinearModel(idf=idf, weights=weights, bias=bias)))


def _teach(
    tokens: TokenizedTexts,
    data: Sequences,
    corpus: EmotionCorpus,
    linear: LinearModel,
    config: EmotionConfig,
    seed: int,
    log: Callable[[str], None],
) -> Floats:
    """Probabilities that the teachers give the training texts (float64 [n, 28])."""
    total = np.zeros(corpus.targets.shape)
    for k in range(config.n_teachers):
        model = train_network(data, corpus.targets, config.teacher, seed + 1 + k)
        total += predict(model, data)
        log(f"teacher {k + 1} of {config.n_teachers} trained")
    share = config.teacher_network_share
    networks = total / max(config.n_teachers, 1)
    counts = emotion_counts(tokens, EMOTION_BITS)
    return np.asarray(expit(share * networks + (1.0 - share) * linear.logits(counts)))
