"""Training and cross-validation of the politeness head.

Near duplicates share a fold. What a fold is measured with is chosen and calibrated by folds of the rest,
as the shipped head is by folds of everything: a held-out request takes part in no decision about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.special import expit

from phase7.scoring.embedded.politeness import PolitenessModel, fit_politeness, politeness_counts
from phase7.scoring.embedded.strategies import strategy_features
from phase7.scoring.embedded.text import tokenize
from phase7.scoring.training.calibration import auroc, expected_calibration_error, fit_platt, reliability
from phase7.scoring.training.corpora import PolitenessCorpus
from phase7.scoring.training.folds import bootstrap_interval, grouped_folds, near_duplicate_groups

Floats = NDArray[np.float64]
Index = NDArray[np.int64]
Lexicon = tuple[NDArray[np.uint64], NDArray[np.uint64]]


@dataclass(frozen=True, kw_only=True)
class RequestChoice:
    """What the folds choose.

    Attributes
    ----------
    penalty : float
        L2 penalty of a word's coefficient.
    spread : float
        Of the soft targets expit((score - median) / (spread x standard deviation)). Soft targets let
        the middle half teach too: only the quartiles have a clear class.
    """

    penalty: float = 1.0
    spread: float = 0.5


REQUEST_CHOICES = (
    RequestChoice(),
    RequestChoice(penalty=0.3),
    RequestChoice(penalty=3.0),
    RequestChoice(spread=0.25),
    RequestChoice(spread=1.0),
)


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Featurised requests of one or more domains.

    Attributes
    ----------
    counts : csr_array float32 [n, n_buckets]
    strategies : float64 [n, n_strategies]
    quartile : int64 [n]
        As in `PolitenessCorpus`.
    score : float64 [n]
        Annotators' score, centred on its domain's median, in standard deviations of the domain.
    domain, group : int64 [n]
        Number of the domain; number of the group of near duplicates, across domains.
    """

    counts: sp.csr_array
    strategies: Floats
    quartile: Index
    score: Floats
    domain: Index
    group: Index

    def rows(self, index: Index) -> Requests:
        """The requests `index`."""
        return Requests(
            counts=self.counts[index],
            strategies=self.strategies[index],
            quartile=self.quartile[index],
            score=self.score[index],
            domain=self.domain[index],
            group=self.group[index],
        )

    @property
    def extreme(self) -> Index:
        """Requests of the top and bottom quartile of their domain."""
        return np.flatnonzero(self.quartile)


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """A head with its Platt calibration."""

    model: PolitenessModel
    slope: float
    intercept: float

    def logits(self, data: Requests) -> Floats:
        """Calibrated logits of featurised requests (float64 [n])."""
        return self.slope * _raw_logits(self.model, data) + self.intercept


def featurise_requests(domains: Mapping[str, PolitenessCorpus], lexicon: Lexicon) -> Requests:
    """Features, standardised scores and groups of all requests, domain after domain."""
    texts = [text for corpus in domains.values() for text in corpus.texts]
    tokens = tokenize(texts)
    sizes = [len(corpus.texts) for corpus in domains.values()]
    return Requests(
        counts=politeness_counts(tokens),
        strategies=strategy_features(tokens, *lexicon),
        quartile=np.concatenate([corpus.quartile for corpus in domains.values()]),
        score=np.concatenate(
            [(c.scores - np.median(c.scores)) / c.scores.std() for c in domains.values()]
        ),
        domain=np.repeat(np.arange(len(sizes)), sizes),
        group=near_duplicate_groups(texts),
    )


def fit_requests(data: Requests, lexicon: Lexicon, choice: RequestChoice) -> PolitenessModel:
    """Fit on all of `data`, every request with equal weight."""
    return fit_politeness(
        data.counts.tocsr(),
        data.strategies,
        expit(data.score / choice.spread),
        np.ones(data.score.size),
        lexicon,
        penalty=choice.penalty,
    )


def fit_chosen(
    data: Requests, lexicon: Lexicon, *, seed: int, n_folds: int = 3
) -> tuple[Calibrated, RequestChoice]:
    """Choose and calibrate on grouped folds of `data`, then fit on all of it.

    The choice has the best held-out AUROC of quartile requests, averaged over domains; the first of
    equals. The calibration is Platt's on the held-out logits of the choice.
    """
    fold = grouped_folds(data.group, n_folds, seed)
    extreme = data.extreme
    labels = data.quartile[extreme] > 0
    best, chosen, kept = -np.inf, REQUEST_CHOICES[0], np.zeros(extreme.size)
    for choice in REQUEST_CHOICES:
        held_out = np.zeros(fold.size)
        for k in range(n_folds):
            model = fit_requests(data.rows(np.flatnonzero(fold != k)), lexicon, choice)
            tested = np.flatnonzero(fold == k)
            held_out[tested] = _raw_logits(model, data.rows(tested))
        domains = [data.domain[extreme] == d for d in np.unique(data.domain)]
        found = np.mean([auroc(labels[mask], held_out[extreme][mask]) for mask in domains])
        if found > best:
            best, chosen, kept = float(found), choice, held_out[extreme]
    slope, intercept = fit_platt(labels[:, None].astype(np.float32), kept[:, None])
    model = fit_requests(data, lexicon, chosen)
    return Calibrated(model=model, slope=float(slope[0]), intercept=float(intercept[0])), chosen


def held_out_requests(data: Requests, lexicon: Lexicon, *, seed: int, n_folds: int = 5) -> Floats:
    """Calibrated held-out logits of all requests (float64 [n]).

    No fold shares a group with the others; choice and calibration are nested in the rest.
    """
    fold = grouped_folds(data.group, n_folds, seed)
    logits = np.zeros(fold.size)
    for k in range(n_folds):
        head, _ = fit_chosen(data.rows(np.flatnonzero(fold != k)), lexicon, seed=seed)
        tested = np.flatnonzero(fold == k)
        logits[tested] = head.logits(data.rows(tested))
    return logits


def request_figures(data: Requests, logits: Floats, seed: int) -> dict[str, Any]:
    """Accuracy at probability 0.5 and AUROC of the quartile requests, each with its 95 % interval."""
    extreme = data.extreme
    labels, found = data.quartile[extreme] > 0, logits[extreme]

    def accuracy(rows: Index) -> float:
        return float(((found[rows] > 0) == labels[rows]).mean())

    def area(rows: Index) -> float:
        return auroc(labels[rows], found[rows])

    everything, groups = np.arange(extreme.size), data.group[extreme]
    return {
        "n": int(extreme.size),
        "accuracy": accuracy(everything),
        "accuracy_interval": list(bootstrap_interval(accuracy, groups, seed=seed)),
        "auroc": area(everything),
        "auroc_interval": list(bootstrap_interval(area, groups, seed=seed)),
    }


def cross_validate_politeness(
    domains: Mapping[str, PolitenessCorpus], lexicon: Lexicon, seed: int
) -> dict[str, Any]:
    """Figures of the shipped recipe, of each domain alone, and of a head of the other domain.

    Returns
    -------
    dict
        By kind of validation and domain, and the reliability of the shipped recipe's probabilities.
    """
    data = featurise_requests(domains, lexicon)
    both = held_out_requests(data, lexicon, seed=seed)
    figures: dict[str, Any] = {"shipped_recipe": {}, "in_domain": {}, "cross_domain": {}}
    for number, name in enumerate(domains):
        own = data.rows(np.flatnonzero(data.domain == number))
        other = data.rows(np.flatnonzero(data.domain != number))
        figures["shipped_recipe"][name] = request_figures(own, both[data.domain == number], seed)
        alone = held_out_requests(own, lexicon, seed=seed)
        figures["in_domain"][name] = request_figures(own, alone, seed)
        head, _ = fit_chosen(other, lexicon, seed=seed)
        figures["cross_domain"][name] = request_figures(own, head.logits(own), seed)
    extreme = data.extreme
    labels = (data.quartile[extreme] > 0).astype(np.float32)
    curve = reliability(labels, expit(both[extreme]))
    figures["reliability"] = curve
    figures["calibration_error"] = expected_calibration_error(curve)
    figures["n_groups"] = int(np.unique(data.group).size)
    return figures


def _raw_logits(model: PolitenessModel, data: Requests) -> Floats:
    words = model.words.logits(data.counts)[:, 0]
    return np.asarray(words + data.strategies @ model.strategies)
