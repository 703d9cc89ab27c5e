"""Synergy of the tested sets: what they do together beyond the sum of what their heads do alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from phase7.effects.families import q_values
from phase7.effects.inference import CONFIDENCE, CellStatistics, of_the_level
from phase7.effects.scores import Floats, Scores
from phase7.experiment.stages import Cell
from phase7.experiment.statistics import Statistics
from phase7.statistics import detectable_effect, synergy, synergy_verdict


def tested_effect(scores: Scores) -> Floats:
    """The tested effect, net Δ or Δ where no control ran: [cell, metric, prompt]."""
    effect: Floats = scores.patched["emotion"] - scores.patched.get("control", scores.baseline)
    return effect


def synergies(
    all_cells: Sequence[Cell],
    scores: Scores,
    result: CellStatistics,
    cells: Sequence[int],
    stats: Statistics,
    seed: int,
) -> dict[str, Any]:
    """Joint effect minus the sum of the single ones for each of `cells`, each statistic [cell, metric].

    The effect is net Δ, or Δ where no control ran. NaN where a set's heads were not tested alone. The q
    of synergy and of its equivalence test are each over all rows, read-outs apart from text. A verdict
    is given where the set, or a head of it alone, has a significant effect; the others still count in q.
    `cells` are the places of the sets among `all_cells`, those of `scores` and `result`.
    """
    effect, place = tested_effect(scores), {cell: c for c, cell in enumerate(all_cells)}
    q = result.column("net_q_value" if "control" in scores.patched else "q_value")
    nothing = np.full_like(effect[0], np.nan)
    rows, gates, level = [], [], stats.confidence(CONFIDENCE)
    for c in cells:
        cell = all_cells[c]
        members = cell.head_set.members
        alone = [place.get(Cell(one.heads, cell.mode, units=one.units)) for one in members]
        alone = alone if len(members) > 1 else [None]  # a unit alone has no parts that were tested
        parts = np.stack([nothing if at is None else effect[at] for at in alone])
        found = synergy(effect[c], parts, seed=seed, n_resamples=stats.resamples, confidence=level)
        rows.append(found)
        tested = [c, *(at for at in alone if at is not None)]
        gates.append((q[tested] < stats.alpha).any(axis=0))

    def column(name: str) -> Any:
        values = np.stack([getattr(row, name) for row in rows])
        return of_the_level(values, stats) if name in ("p_value", "equivalence_p") else values

    p, n, n_nonzero = column("p_value"), column("n"), column("n_nonzero")
    q_value = q_values(p, n_nonzero, scores.metrics, stats)
    # Equivalence is not of signs: any number of prompts can support it.
    equivalence_q = q_values(column("equivalence_p"), np.full(p.shape, np.inf), scores.metrics, stats)
    verdict = synergy_verdict(
        n=n, p_value=p, q_value=q_value, equivalence_q=equivalence_q,
        has_effect=np.stack(gates), alpha=stats.alpha,
    )  # fmt: skip
    same = ("ci_low", "ci_high", "p_value", "n_nonzero", "equivalence_p")
    return {f"synergy_{name}": column(name) for name in same} | {
        "synergy": column("mean"),
        "synergy_q_value": q_value,
        "synergy_equivalence_q": equivalence_q,
        "synergy_detectable": detectable_effect(column("sd"), n, alpha=stats.alpha * stats.share),
        "synergy_verdict": verdict.astype("<U12"),
    }
