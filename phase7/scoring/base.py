"""The one interface of scorers, and scoring of many texts.

Scores are a float64 array [n_texts, 35] in the order of :data:`phase7.vocabulary.metrics.METRICS`; a
metric that no scorer measures is NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

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
    """
    distinct = sorted(set(texts))
    table = np.full((len(distinct), len(METRICS)), np.nan)
    for scorer in scorers:
        if not distinct:
            break
        for metric, column in scorer.score(distinct).items():
            table[:, metric_place(metric)] = column
    return dict(zip(distinct, table, strict=True))
