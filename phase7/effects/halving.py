"""What the rounds of a search by successive halving measured, put together.

A head that was dropped has numbers of the prompts up to then, NaN for the others. Nothing of such a
search is tested: which heads have all prompts was decided by the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from phase7.effects.inference import COMPARED, CellStatistics, cell_statistics, mean_effects
from phase7.effects.readouts import StageReadouts, with_readouts
from phase7.effects.scores import StageScores, without_text
from phase7.effects.selection import strongest_heads
from phase7.experiment.stages import Stage
from phase7.experiment.statistics import Statistics
from phase7.experiment.swept import with_heads
from phase7.vocabulary.heads import Head


def put_together(sweep: Stage, parts: Sequence[tuple[Stage, StageReadouts]]) -> StageReadouts:
    """The read-outs of a sweep from those of its rounds, in their order; NaN for what none measured.

    Parameters
    ----------
    sweep : Stage
        All cells, and the prompts of these rounds.
    parts : sequence of (Stage, StageReadouts)
    """
    first = parts[0][1]
    n_metrics, n_prompts = len(first.metrics), len(sweep.recipients)
    baseline = np.full((n_metrics, n_prompts), np.nan)
    whole = {role: np.full((len(sweep.cells), n_metrics, n_prompts), np.nan) for role in first.patched}
    for stage, one in parts:
        prompts = [sweep.recipients.index(index) for index in stage.recipients]
        cells = [sweep.cells.index(cell) for cell in stage.cells]
        baseline[:, prompts] = one.baseline
        for role, values in one.patched.items():
            whole[role][np.ix_(cells, range(n_metrics), prompts)] = values
    return StageReadouts(
        metrics=first.metrics,
        baseline=baseline,
        patched=whole,
        n_self_rows=sum(one.n_self_rows for _, one in parts),
        max_self_logit_gap=max(one.max_self_logit_gap for _, one in parts),
    )


def in_order(
    readouts: StageReadouts, sweep: Stage, heads: Sequence[Head], metrics: Sequence[str]
) -> list[Head]:
    """Some heads by strength, strongest first, on all prompts that a sweep's rounds have had.

    Parameters
    ----------
    readouts : StageReadouts
        Of all cells of `sweep` on its prompts; those of `heads` without NaN.
    metrics : sequence of str
        What they are ordered by (:func:`phase7.effects.selection.strongest_heads`).
    """
    stage = with_heads(sweep, heads, sweep.recipients)
    cells = [sweep.cells.index(cell) for cell in stage.cells]
    mine = replace(readouts, patched={role: all_of[cells] for role, all_of in readouts.patched.items()})
    scores = with_readouts(without_text(stage), mine)
    return [Head(*head) for head in strongest_heads(scores, mean_effects(scores.full), metrics, None)]


def untested(scores: StageScores, stats: Statistics, seed: int) -> CellStatistics:
    """Means and sizes of a sweep's effects, with NaN for whatever a test makes."""
    found = cell_statistics(scores.full, stats, seed, confidence=None)
    return CellStatistics(
        values={
            name: np.full_like(column, np.nan) if name.endswith(COMPARED) else column
            for name, column in found.values.items()
        }
    )
