"""Ratings of cells in words, by the thresholds of :mod:`phase7.statistics.ratings`.

This is the only place where the report rates anything; its languages translate the words.
"""

from __future__ import annotations

from phase7.findings.cells import Cell
from phase7.statistics.ratings import (
    LARGE,
    MEDIUM,
    SMALL,
    STRONG_METRICS,
    overall_rating,
    size_of_effect,
)

#: What a note under a table needs to state the thresholds.
THRESHOLDS = {"small": SMALL, "medium": MEDIUM, "large": LARGE, "n_strong": STRONG_METRICS}


def size_word(cell: Cell, metric: str, alpha: float) -> str:
    """Size of the tested effect on one metric."""
    d_z, q = (cell.tested_value(name, metric) for name in ("effect_size", "q_value"))
    return str(size_of_effect(d_z, q, alpha=alpha))


def overall_word(cell: Cell, alpha: float) -> str:
    """Rating of a cell over all its metrics."""
    return str(overall_rating(cell.tested("effect_size"), cell.tested("q_value"), alpha=alpha))
