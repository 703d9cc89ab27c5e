"""Search a model's heads, and confirm what was found: on all prompts at once, or as far as it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from phase7.effects.families import primary_tests
from phase7.effects.guards import with_guards
from phase7.effects.halving import in_order, put_together, untested
from phase7.effects.inference import cell_statistics
from phase7.effects.looks import last_look
from phase7.effects.readouts import StageReadouts, with_readouts
from phase7.effects.scores import Scores, without_text
from phase7.effects.selection import strongest_heads
from phase7.experiment.chosen_heads import n_ranked
from phase7.experiment.halving import is_halved, rounds
from phase7.experiment.predictions import check_stage
from phase7.experiment.stages import Stage
from phase7.experiment.statistics import Statistics
from phase7.experiment.swept import swept_heads, with_heads
from phase7.run.groups import Search
from phase7.run.measuring import Measured
from phase7.run.screening import screened
from phase7.vocabulary.heads import Head

Measure = Callable[[Stage], Measured]


def searched(sweep: Stage | None, metrics: Sequence[str], measure: Measure) -> Search:
    """Order all swept heads, or those that a screen chose, and patch some whose effects were predicted.

    Parameters
    ----------
    metrics : sequence of str
        The selection metrics.
    measure : callable
        Measures a stage along its own continuations.
    """
    if sweep is None:
        return Search()
    profile = sweep.profile
    stats, seed = profile.statistics.at_once(), profile.sampling.seed
    if is_halved(sweep):
        swept, heads = _halved(sweep, metrics, measure)
        result = untested(swept.scores, stats, seed)
        return Search(sweep=sweep, swept=swept, result=result, ranked=heads[: n_ranked(profile)])
    found_by = screened(sweep, metrics, measure)
    if found_by is None:
        swept, check = measure(sweep), check_stage(sweep)
        checked = None if check is None else measure(check)
    else:
        sweep, swept, checked = found_by.sweep, found_by.swept, found_by.unchosen
    result = cell_statistics(swept.scores.full, stats, seed)
    found = strongest_heads(swept.scores, result, metrics, n_ranked(profile))
    return Search(
        sweep=sweep,
        swept=swept,
        screened=found_by,
        checked=checked,
        result=result,
        ranked=[Head(*head) for head in found],
    )


def _halved(sweep: Stage, metrics: Sequence[str], measure: Measure) -> tuple[Measured, list[Head]]:
    """What the rounds of a sweep measured, and all heads: those that were dropped last come first."""
    kept, dropped = swept_heads(sweep), list[Head]()
    parts: list[tuple[Stage, StageReadouts]] = []
    for one in rounds(sweep):
        dropped, kept = [*kept[one.n_heads :], *dropped], kept[: one.n_heads]
        stage = with_heads(sweep, kept, one.recipients)
        read = measure(stage).readouts
        assert read is not None  # a sweep that halves has nothing else
        parts.append((stage, read))
        so_far = replace(sweep, recipients=tuple(i for part, _ in parts for i in part.recipients))
        readouts = put_together(so_far, parts)
        kept = in_order(readouts, so_far, kept, metrics)
    scores = with_readouts(with_guards(without_text(sweep), None), readouts)
    return Measured(texts=None, scores=scores, readouts=readouts), [*kept, *dropped]


def confirmed(confirm: Stage, measure: Measure) -> tuple[Measured, Statistics]:
    """Measure a confirmation as far as it takes, and the statistics of the look where it stopped."""
    profile, found = confirm.profile, dict[int, Measured]()

    def first(n: int) -> Measured:
        if n not in found:
            found[n] = measure(replace(confirm, recipients=confirm.recipients[:n]))
        return found[n]

    def scores_of(n: int) -> Scores:
        return first(n).scores.full

    n_planned = len(confirm.recipients)
    metrics = first(profile.statistics.ends(n_planned)[0]).scores.full.metrics
    n, stats = last_look(
        scores_of, n_planned, primary_tests(confirm, metrics), profile.statistics, profile.sampling.seed
    )
    return first(n), stats
