"""The synergies of a group's sets, a record for each that was tested."""

from __future__ import annotations

import math
from dataclasses import dataclass

from phase7.findings.cells import Cell
from phase7.findings.group import Group


@dataclass(frozen=True, kw_only=True, eq=False)
class SynergyRow:
    """The synergy of one set in one mode on one metric.

    Attributes
    ----------
    cell : Cell
        Of the metric's kind: with the metrics of text, or with the read-outs.
    metric : str
    value, low, high : float
        With its interval, in the metric's unit; positive where the set does more than its heads.
    p, q, equivalence_q : float
        NaN q: in no family.
    detectable : float
        The synergy that one test finds with 80 % power.
    verdict : str
        ``"Yes"``, ``"No"``, ``"no effect"`` or ``"undetermined"``.
    """

    cell: Cell
    metric: str
    value: float
    low: float
    high: float
    p: float
    q: float
    equivalence_q: float
    detectable: float
    verdict: str


def synergy_rows(group: Group) -> list[SynergyRow]:
    """Every tested synergy: each set and mode, on read-outs first and then on texts."""
    cells = [*group.readouts.values(), *group.confirmed.values()]
    rows = [
        synergy_row(cell, metric)
        for cell in cells
        if not cell.heads.is_single
        for metric in cell.metrics
    ]
    return [one for one in rows if not math.isnan(one.p)]


def synergy_row(cell: Cell, metric: str) -> SynergyRow:
    """One synergy, tested or not."""
    names = {"value": "", "low": "_ci_low", "high": "_ci_high", "p": "_p_value", "q": "_q_value",
             "equivalence_q": "_equivalence_q", "detectable": "_detectable"}  # fmt: skip
    values = {name: cell.value(f"synergy{end}", metric) for name, end in names.items()}
    return SynergyRow(cell=cell, metric=metric, verdict=cell.word("synergy_verdict", metric), **values)
