"""Order the heads of a sweep, all of them or those that a screen chose."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from phase7.effects.inference import cell_statistics
from phase7.effects.selection import strongest_heads
from phase7.experiment.chosen_heads import n_ranked
from phase7.experiment.predictions import check_stage
from phase7.experiment.stages import Stage
from phase7.run.groups import Search
from phase7.run.measuring import Measured
from phase7.run.screening import screened
from phase7.vocabulary.heads import Head


def searched(
    sweep: Stage | None, metrics: Sequence[str], measure: Callable[[Stage], Measured]
) -> Search:
    """Sweep, and patch some heads where their effects were predicted; nothing without a sweep.

    Parameters
    ----------
    metrics : sequence of str
        The selection metrics.
    measure : callable
        Measures a stage along its own continuations.
    """
    if sweep is None:
        return Search()
    profile, found_by = sweep.profile, screened(sweep, metrics, measure)
    if found_by is None:
        swept, check = measure(sweep), check_stage(sweep)
        checked = None if check is None else measure(check)
    else:
        sweep, swept, checked = found_by.sweep, found_by.swept, found_by.unchosen
    result = cell_statistics(swept.scores.full, profile.statistics, profile.sampling.seed)
    found = strongest_heads(swept.scores, result, metrics, n_ranked(profile))
    return Search(
        sweep=sweep,
        swept=swept,
        screened=found_by,
        checked=checked,
        result=result,
        ranked=[Head(*head) for head in found],
    )
