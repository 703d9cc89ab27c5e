"""Politeness of a request: hashed words and strategies in one logistic regression.

The result is the calibrated probability that annotators would call a text polite rather than impolite.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from phase7.scoring.embedded.features import count_matrix, word_ngrams
from phase7.scoring.embedded.linear import LinearModel, fit_binary, inverse_document_frequency, tfidf
from phase7.scoring.embedded.strategies import strategy_features
from phase7.scoring.embedded.text import TokenizedTexts

Floats = NDArray[np.float64]

BITS = 15
_ORDERS = (1, 2)
_WORD_SCALE = 2.0
_STRATEGY_SCALE = 0.3


@dataclass(frozen=True, kw_only=True)
class PolitenessModel:
    """A linear layer over hashed word 1-2-grams plus one over standardised strategies.

    Attributes
    ----------
    words : LinearModel
        One output; its bias is the model's.
    strategies : float64 [n_strategies]
        Coefficients of the raw strategy features.
    positive, negative : uint64 [n]
        Sorted hashes of words of positive and negative valence.
    """

    words: LinearModel
    strategies: Floats
    positive: NDArray[np.uint64]
    negative: NDArray[np.uint64]

    def logits(self, tokens: TokenizedTexts) -> Floats:
        """Uncalibrated logits (float64 [n_texts])."""
        counts = politeness_counts(tokens)
        features = strategy_features(tokens, self.positive, self.negative)
        logits = self.words.logits(counts)[:, 0]
        # One feature after another: a matrix product's order of summation depends on the batch.
        for column, weight in zip(features.T, self.strategies, strict=True):
            logits += column * weight
        return logits


def politeness_counts(tokens: TokenizedTexts) -> sp.csr_array:
    """Counts of hashed word 1-2-grams (float32 csr [n_texts, 2**15])."""
    return count_matrix([word_ngrams(tokens, _ORDERS)], tokens.n_texts, BITS)


def fit_politeness(
    counts: sp.csr_array,
    strategies: Floats,
    targets: Floats,
    weights: Floats,
    lexicon: tuple[NDArray[np.uint64], NDArray[np.uint64]],
    *,
    penalty: float,
) -> PolitenessModel:
    """Fit the head.

    Parameters
    ----------
    counts : csr_array [n, 2**15]
    strategies : float64 [n, n_strategies]
    targets : float64 [n]
        Wanted probabilities.
    weights : float64 [n]
    lexicon : (uint64 [n], uint64 [n])
        Hashes of positive and of negative words.
    penalty : float
        L2 penalty of a word's coefficient; a strategy's is a tenth of it.
    """
    idf = inverse_document_frequency(counts)
    mean, spread = strategies.mean(axis=0), strategies.std(axis=0) + 1e-3
    dense = sp.csr_array((strategies - mean) / spread * _STRATEGY_SCALE)
    joined = sp.hstack([tfidf(counts, idf) * _WORD_SCALE, dense]).tocsr()
    n_words, n_strategies = counts.shape[1], strategies.shape[1]
    penalties = np.repeat([penalty, penalty / 10.0], [n_words, n_strategies])
    flat = fit_binary(joined, targets, weights, penalties, iterations=150)
    coefficients = flat[n_words:-1] * _STRATEGY_SCALE / spread
    words = LinearModel(
        idf=idf,
        weights=(flat[:n_words, None] * _WORD_SCALE).astype(np.float32),
        bias=flat[-1:] - mean @ coefficients,
    )
    positive, negative = lexicon
    return PolitenessModel(words=words, strategies=coefficients, positive=positive, negative=negative)
