"""The one interface of scorers, and scoring of many texts.

Scores are a float64 array [n_texts, 35] in the order of :data:`phase7.vocabulary.metrics.METRICS`; a
metric that no scorer measures is NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from phase7.vocabulary.errors import UserError
from phase7.vocabulary.metrics import METRICS, metric_place

Scores = np.ndarray[Any, np.dtype[np.float64]]


class Scorer(Protocol):
    """Turns texts into metrics.

    Attributes
    ----------
    name : str
        As chosen with ``--scorers``.
    version : str
        Changes whenever the same text would be scored differently.
    metrics : tuple of str
        The metrics it measures.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def metrics(self) -> tuple[str, ...]: ...

    def score(self, texts: Sequence[str]) -> dict[str, Scores]:
        """One float64 array [n_texts] for each of `metrics`; independent of the texts' company."""
        ...

    def describe(self) -> dict[str, Any]:
        """Name, version, metrics, a one-sentence description and measured quality {figure: value}."""
        ...


def score_distinct(scorers: Iterable[Scorer], texts: Iterable[str]) -> dict[str, Scores]:
    """Score each distinct text once.

    Returns
    -------
    dict of str to float64 array [35]
        By text; NaN for metrics without a scorer.

    Raises
    ------
    UserError
        If a scorer fails, or returns something other than a finite number, or NaN, for every text and
        each of its metrics.
    """
    distinct = sorted(set(texts))
    table = np.full((len(distinct), len(METRICS)), np.nan)
    for scorer in scorers:
        if not distinct:
            break
        for metric, column in _columns(scorer, distinct).items():
            table[:, metric_place(metric)] = column
    return dict(zip(distinct, table, strict=True))


def _columns(scorer: Scorer, texts: Sequence[str]) -> dict[str, Scores]:
    """What a scorer makes of some texts: one finite number, or NaN, a text for each of its metrics."""
    try:
        found = scorer.score(list(texts))
    except UserError:
        raise
    except Exception as error:  # a scorer of one's own may raise anything
        raise _wrong(scorer, f"{type(error).__name__}: {error}"[:200]) from error
    if not isinstance(found, Mapping):
        raise _wrong(scorer, f"a {type(found).__name__}")
    if set(found) != set(scorer.metrics):
        raise _wrong(scorer, f"the metrics {', '.join(map(str, found))[:200] or '(none)'}")
    return {metric: _column(scorer, metric, found[metric], len(texts)) for metric in scorer.metrics}


def _column(scorer: Scorer, metric: str, given: Any, n_texts: int) -> Scores:
    try:
        column = np.asarray(given)
        is_number = column.dtype.kind in "biuf"
        column = column.astype(np.float64) if is_number else column
    except Exception as error:  # what is no array may raise anything
        raise _wrong(scorer, f"{type(error).__name__}: {error}"[:200], metric) from error
    if not is_number:
        raise _wrong(scorer, f"values of type {column.dtype}", metric)
    if column.shape != (n_texts,):
        raise _wrong(scorer, f"an array of shape {column.shape} for {n_texts} texts", metric)
    if infinite := np.flatnonzero(np.isinf(column)).tolist():
        raise _wrong(scorer, f"{column[infinite[0]]} for text {infinite[0]}", metric)
    return column


def _wrong(scorer: Scorer, got: str, metric: str = "") -> UserError:
    return UserError(
        expected="a dict that has for each of its metrics an array with a finite number, or NaN where it"
        f" cannot be measured, for each text ({', '.join(scorer.metrics)[:200]})",
        got=got,
        where=f"scorer {scorer.name!r}" + (f", {metric}" if metric else ""),
        remedy="correct the scorer; see docs/how-to/own-scorer.md",
    )
