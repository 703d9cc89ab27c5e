"""Choose a set and a strength on discovery prompts, and test them by text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from phase7.effects.answer import AnswerScores, Tried, choose
from phase7.experiment.answer import choice_stage, trials
from phase7.experiment.prompts import PromptSet
from phase7.experiment.stages import Stage
from phase7.run.measuring import Measured
from phase7.vocabulary.heads import Head


def answered(
    sweep: Stage | None,
    confirm: Stage,
    ranked: Sequence[Head],
    others: Sequence[PromptSet],
    metric: str,
    measure: Callable[[Stage, Stage | None], Measured],
    generate: Callable[[Sequence[Stage]], object],
) -> tuple[AnswerScores | None, list[Measured]]:
    """The answer of one (model, emotion), and all that was measured for it; None without a search.

    Parameters
    ----------
    ranked : sequence of Head
        The sweep's order.
    others : sequence of PromptSet
        The other emotions.
    metric : str
        The read-out that the candidates are compared by.
    measure : callable
        Measures a stage along the continuations of another, or of its own.
    generate : callable
        Generates the texts of several stages at once.
    """
    candidates = None if sweep is None else choice_stage(sweep, ranked)
    if sweep is None or candidates is None:
        return None, []
    compared = measure(candidates, None)
    chosen, every = choose(compared.scores, metric), [compared]
    tried = []
    for trial in trials(confirm, sweep, chosen, others) if chosen is not None else []:
        generate([trial.own, *trial.rivals])
        along = confirm if trial.name == "confirmation" else trial.own
        own = measure(trial.own, along if along is not trial.own else None)
        rivals = {stage.emotion.name: measure(stage, None) for stage in trial.rivals}
        every += [own, *rivals.values()]
        scores = {name: one.scores for name, one in rivals.items()}
        tried.append(Tried(name=trial.name, own=own.scores, rivals=scores))
    found = AnswerScores(candidates=compared.scores, chosen=chosen, metric=metric, tried=tuple(tried))
    return found, every
