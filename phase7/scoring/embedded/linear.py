"""Logistic regression on hashed TF-IDF features, and its training.

TF-IDF is the sublinear one: (1 + ln count) x idf, each row scaled to length 1, with idf = 1 + ln((1 + n)
/ (1 + document frequency)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.optimize import minimize

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LinearModel:
    """One linear layer over hashed features.

    Attributes
    ----------
    idf : float32 [n_buckets]
    weights : float32 [n_buckets, n_outputs]
    bias : float64 [n_outputs]
    """

    idf: NDArray[np.float32]
    weights: NDArray[np.float32]
    bias: Floats

    def logits(self, counts: sp.csr_array) -> Floats:
        """Logits float64 [n_texts, n_outputs]; a text without features gets the bias.

        Every row is summed in the order of its own column indices, so a row's bits do not depend on
        the other rows.
        """
        return np.asarray(tfidf(counts, self.idf) @ self.weights, dtype=np.float64) + self.bias


def inverse_document_frequency(counts: sp.csr_array) -> NDArray[np.float32]:
    """Smoothed idf of every bucket (float32 [n_buckets])."""
    frequency = np.bincount(counts.indices, minlength=counts.shape[1])
    idf = 1.0 + np.log((1.0 + counts.shape[0]) / (1.0 + frequency))
    return np.asarray(idf, dtype=np.float32)


def tfidf(counts: sp.csr_array, idf: NDArray[np.float32]) -> sp.csr_array:
    """Sublinear TF-IDF with rows of length 1 (empty rows stay empty)."""
    values = (1.0 + np.log(counts.data)) * idf[counts.indices]
    sizes = np.diff(counts.indptr)
    norms = np.ones(counts.shape[0], dtype=np.float64)
    filled = np.flatnonzero(sizes)
    if filled.size:
        squares = np.square(values, dtype=np.float64)
        norms[filled] = np.sqrt(np.add.reduceat(squares, counts.indptr[filled]))
    values = (values / np.repeat(norms, sizes)).astype(np.float32)
    return sp.csr_array((values, counts.indices, counts.indptr), shape=counts.shape)


def fit_multilabel(
    features: sp.csr_array, targets: NDArray[np.float32], *, strength: float, iterations: int
) -> tuple[NDArray[np.float32], Floats]:
    """One L2-regularised logistic regression per label, all at once with L-BFGS.

    Parameters
    ----------
    features : csr_array float32 [n, n_buckets]
    targets : float32 [n, n_labels]
        0 or 1.
    strength : float
        Inverse of the L2 penalty (the `C` of the common libraries): the loss is the sum over texts
        and labels of the cross-entropy plus |W|^2 / (2 strength).
    iterations : int
        L-BFGS steps; early stopping is part of the regularisation.

    Returns
    -------
    weights : float32 [n_buckets, n_labels]
    bias : float64 [n_labels]
    """
    n_labels = targets.shape[1]
    transposed = features.T.tocsr()
    rate = targets.mean(axis=0, dtype=np.float64)
    prior = np.log(rate / (1.0 - rate))

    def objective(flat: Floats) -> tuple[float, Floats]:
        weights = flat[:-n_labels].reshape(-1, n_labels).astype(np.float32)
        logits = features @ weights + (flat[-n_labels:] + prior).astype(np.float32)
        loss = (np.logaddexp(0.0, logits) - targets * logits).sum(dtype=np.float64)
        error = 1.0 / (1.0 + np.exp(-logits)) - targets
        loss += 0.5 / strength * float(np.square(flat[:-n_labels]).sum())
        gradient = np.concatenate([(transposed @ error).ravel(), error.sum(axis=0)])
        gradient = gradient.astype(np.float64)
        gradient[:-n_labels] += flat[:-n_labels] / strength
        return loss, gradient

    start = np.zeros(features.shape[1] * n_labels + n_labels)
    solution = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": iterations, "maxcor": 6},
    ).x
    weights = solution[:-n_labels].reshape(-1, n_labels).astype(np.float32)
    return weights, solution[-n_labels:] + prior


def fit_binary(
    features: sp.csr_array, targets: Floats, weights: Floats, penalty: Floats, *, iterations: int
) -> Floats:
    """Weighted logistic regression with soft targets; returns coefficients and bias, float64 [d + 1].

    Parameters
    ----------
    features : csr_array [n, d]
    targets : float64 [n]
        Probabilities in [0, 1].
    weights : float64 [n]
        Weight of each text.
    penalty : float64 [d]
        L2 penalty of each coefficient.
    iterations : int
        Most L-BFGS steps.
    """
    transposed = features.T.tocsr()

    def objective(flat: Floats) -> tuple[float, Floats]:
        logits = features @ flat[:-1] + flat[-1]
        error = weights * (1.0 / (1.0 + np.exp(-logits)) - targets)
        loss = float((weights * (np.logaddexp(0.0, logits) - targets * logits)).sum())
        loss += 0.5 * float((penalty * flat[:-1] ** 2).sum())
        return loss, np.append(transposed @ error + penalty * flat[:-1], error.sum())

    start = np.zeros(features.shape[1] + 1)
    options = {"maxiter": iterations}
    return np.asarray(minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x)
