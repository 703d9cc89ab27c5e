"""Ratings of cells, by the thresholds of :mod:`phase7.statistics.ratings`.

What enters: a cell. What leaves: a word of that module; the languages translate it. The only place
where the report rates anything.
"""

from __future__ import annotations

from phase7.findings.group import Cell
from phase7.statistics.ratings import (
    LARGE,
    MEDIUM,
    SMALL,
    STRONG_METRICS,
    overall_rating,
    size_of_effect,
)
from phase7.vocabulary.metrics import METRICS

#: What a note under a table needs to state the thresholds.
THRESHOLDS = {"small": SMALL, "medium": MEDIUM, "large": LARGE, "n_strong": STRONG_METRICS}


def size_word(cell: Cell, metric: str, alpha: float) -> str:
    """Size of the tested effect on one metric."""
    m = METRICS.index(metric)
    d_z, q = cell.tested("effect_size")[m], cell.tested("q_value")[m]
    return str(size_of_effect(d_z, q, alpha=alpha))


def overall_word(cell: Cell, alpha: float) -> str:
    """Rating of a cell over all its metrics."""
    return str(overall_rating(cell.tested("effect_size"), cell.tested("q_value"), alpha=alpha))
