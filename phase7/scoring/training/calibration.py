"""Calibration, thresholds and figures of merit. A label without a positive text has no AUROC (NaN)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata

Floats = NDArray[np.float64]
Labels = NDArray[np.float32]


def fit_platt(labels: Labels, logits: Floats) -> tuple[Floats, Floats]:
    """Slope and intercept per label (Platt 1999), with his smoothed targets.

    Parameters
    ----------
    labels : float32 [n, n_labels]
    logits : float64 [n, n_labels]

    Returns
    -------
    slope, intercept : float64 [n_labels]
        The probability is expit(slope * logit + intercept).
    """
    pairs = [_platt(labels[:, k] > 0, logits[:, k]) for k in range(labels.shape[1])]
    slope, intercept = np.array(pairs).T
    return slope, intercept


def _platt(labels: NDArray[np.bool_], logits: Floats) -> Floats:
    n_positive = labels.sum()
    high = (n_positive + 1.0) / (n_positive + 2.0)
    low = 1.0 / (labels.size - n_positive + 2.0)
    targets = np.where(labels, high, low)

    def objective(pair: Floats) -> tuple[float, Floats]:
        z = pair[0] * logits + pair[1]
        error = expit(z) - targets
        gradient = np.array([error @ logits, error.sum()])
        return float((np.logaddexp(0.0, z) - targets * z).sum()), gradient

    return np.asarray(minimize(objective, np.array([1.0, 0.0]), jac=True, method="BFGS").x)


def fit_thresholds(labels: Labels, scores: Floats, *, n_resamples: int = 100, seed: int = 0) -> Floats:
    """F1-optimal threshold per label, averaged over bootstrap resamples of the texts.

    The F1 curve of a rare label is jagged: one dev text moves its optimum. The mean over resamples
    (bagging, Breiman 1996) moves less. Averaged on the scale of `scores`.

    Parameters
    ----------
    labels : float32 [n, n_labels]
    scores : float64 [n, n_labels]
    n_resamples, seed : int

    Returns
    -------
    float64 [n_labels]
    """
    rng = np.random.default_rng(seed)
    chosen = []
    for _ in range(n_resamples):
        rows = rng.integers(0, len(labels), len(labels))
        pairs = zip(labels[rows].T, scores[rows].T, strict=True)
        chosen.append([_best_threshold(label, score) for label, score in pairs])
    return np.asarray(np.mean(chosen, axis=0))


def _best_threshold(labels: NDArray[np.float32], scores: Floats) -> float:
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(labels[order])
    f1 = 2.0 * hits / (np.arange(1, labels.size + 1) + hits[-1])
    best = int(f1.argmax())
    below = min(best + 1, labels.size - 1)
    return float(scores[order[best]] + scores[order[below]]) / 2.0


def f1_per_label(labels: Labels, predicted: NDArray[np.bool_]) -> Floats:
    """F1 of each label (float64 [n_labels]); 0 where nothing is labelled nor predicted."""
    hits = (labels * predicted).sum(axis=0, dtype=np.float64)
    total = predicted.sum(axis=0) + labels.sum(axis=0, dtype=np.float64)
    return np.asarray(2.0 * hits / np.maximum(total, 1.0))


def auroc(labels: NDArray[Any], scores: Floats) -> float:
    """Area under the ROC curve of one label, ties counted half; NaN without both classes."""
    positive = np.asarray(labels) > 0
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return float("nan")
    ranks = float(rankdata(scores)[positive].sum())
    return (ranks - n_positive * (n_positive + 1) / 2.0) / (n_positive * n_negative)


def macro_auroc(labels: Labels, scores: Floats) -> float:
    """Mean AUROC over labels."""
    return float(np.mean([auroc(y, s) for y, s in zip(labels.T, scores.T, strict=True)]))


def confusion(truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts [3, 3], rows the truth and columns the prediction."""
    counts = np.zeros((3, 3), dtype=np.int64)
    np.add.at(counts, (truth, predicted), 1)
    return counts


def macro_recall(counts: NDArray[np.int64]) -> float:
    """Mean over classes of the share of their texts found."""
    return float(np.mean(np.diag(counts) / counts.sum(axis=1)))


def reliability(labels: NDArray[Any], probabilities: Floats, n_bins: int = 10) -> dict[str, list[float]]:
    """Mean probability, observed share and count in bins of equal width."""
    bins = np.minimum((probabilities * n_bins).astype(np.int64), n_bins - 1)
    count = np.bincount(bins, minlength=n_bins)
    used = count > 0
    predicted = np.bincount(bins, probabilities, n_bins)[used] / count[used]
    observed = np.bincount(bins, labels, n_bins)[used] / count[used]
    return {
        "predicted": predicted.tolist(),
        "observed": observed.tolist(),
        "count": count[used].tolist(),
    }


def expected_calibration_error(curve: dict[str, list[float]]) -> float:
    """Mean distance of predicted from observed, weighted by count (Naeini et al. 2015)."""
    count = np.array(curve["count"], dtype=np.float64)
    gap = np.abs(np.array(curve["predicted"]) - np.array(curve["observed"]))
    return float((gap * count).sum() / count.sum())
