"""What a group says of other emotions: which effects are the emotion's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from phase7.findings.cells import Cell
from phase7.findings.group import Group
from phase7.vocabulary.verdicts import NO_EFFECT, VERDICTS


@dataclass(frozen=True, kw_only=True)
class Beyond:
    """One cell's effect on one metric beside that of another emotion's donor.

    Attributes
    ----------
    other : str
        The other emotion.
    delta : float
        Specific Δ: the emotion's donor minus the other's.
    low, high, p, q : float
        Of the specific Δ.
    other_delta, other_q : float
        Of the other emotion's own tested effect.
    """

    other: str
    delta: float
    low: float
    high: float
    p: float
    q: float
    other_delta: float
    other_q: float


_STORED = {
    "delta": "specific_delta",
    "low": "specific_ci_low",
    "high": "specific_ci_high",
    "p": "specific_p_value",
    "q": "specific_q_value",
    "other_delta": "other_delta",
    "other_q": "other_q_value",
}


def others(group: Group) -> tuple[str, ...]:
    """The other emotions whose donors ran."""
    return tuple(str(one) for one in group.main.coords["against"].values) if _ran(group) else ()


def beyond(group: Group, cell: Cell, metric: str) -> list[Beyond]:
    """A cell's effect on a metric against each other emotion; none where that was not measured."""
    found = {short: cell.by_other(name, metric) for short, name in _STORED.items()}
    rows = [
        Beyond(other=other, **{short: float(values[a]) for short, values in found.items()})
        for a, other in enumerate(others(group))
    ]
    return [row for row in rows if np.isfinite(row.delta)]


def verdict(cell: Cell, metric: str) -> str:
    """A word of :mod:`phase7.vocabulary.verdicts`; no effect where nothing was compared."""
    word = cell.word("specificity", metric) if "specificity" in cell.arrays else NO_EFFECT
    return word if word in VERDICTS else NO_EFFECT


def by_verdict(cells: Sequence[Cell], metric: str) -> dict[str, list[Cell]]:
    """Cells by their verdict on a metric, in their order."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(verdict(cell, metric), []).append(cell)
    return found


def _ran(group: Group) -> bool:
    return "specific_delta" in group.main and group.main.sizes.get("against", 0) > 0
