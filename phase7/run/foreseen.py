"""All stages of a run to come: with as many heads as a search will find, whichever these are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from phase7.experiment.answer import choice_stage, fresh_recipients, trials
from phase7.experiment.chosen_heads import first_sets, n_ranked, random_sets, target_set
from phase7.experiment.contrasts import ReadingPlan, reading_plans
from phase7.experiment.halving import is_halved, planned_parts
from phase7.experiment.predictions import check_stage
from phase7.experiment.profile import Profile
from phase7.experiment.prompts import PromptSet
from phase7.experiment.screening import screen_stages
from phase7.experiment.stages import Stage
from phase7.experiment.swept import swept_heads
from phase7.experiment.tested import confirm_stage, sweep_stage
from phase7.models.facts import ModelFacts
from phase7.run.beside import beside_plan
from phase7.vocabulary.heads import Head


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """A stage of a run to come.

    Attributes
    ----------
    stage : Stage
    parts : tuple of Stage
        What it is read in, one after the other: more than one where a search halves its heads.
    is_known : bool
        Whether its heads are those that it will have; else others stand for them, and only their number
        is right.
    along : Foreseen or None
        The stage along whose continuations it is read, where not along its own.
    """

    stage: Stage
    parts: tuple[Stage, ...]
    is_known: bool
    along: Foreseen | None = None

    def readings(self, root: Path) -> Iterator[tuple[int, ReadingPlan]]:
        """All that is read of it, with the number of the part that it is read of.

        Parameters
        ----------
        root : Path
            Where ``data/`` lies.
        """
        along = None if self.along is None else self.along.stage
        for number, part in enumerate(self.parts):
            for plan in reading_plans(part, root, along):
                yield number, plan


def foreseen_stages(
    profile: Profile,
    model: ModelFacts,
    neutral: PromptSet,
    emotion: PromptSet,
    others: Sequence[PromptSet] = (),
) -> list[Foreseen]:
    """All stages of one (model, emotion), in the order of a run, but for its circuit.

    The first swept heads stand for those that the sweep will put first.

    Parameters
    ----------
    others : sequence of PromptSet
        The other emotions.

    Raises
    ------
    UserError
        If the model or the prompts cannot have what the profile asks for.
    """
    sweep = sweep_stage(profile, model, neutral, emotion)
    ranked = _stand_ins(profile, model, sweep)
    first, drawn = first_sets(profile, ranked), random_sets(profile, model, ranked)
    strongest = ranked[: profile.confirm.strongest]
    confirm = confirm_stage(profile, model, neutral, emotion, strongest, [*first, *drawn])
    is_declared = not (strongest or first or drawn)
    if sweep is not None and profile.answer is not None:
        fresh_recipients(confirm, sweep)  # refuses what it cannot have
    found = [] if sweep is None else _search(sweep)
    found.append(confirmed := _one(confirm, is_known=is_declared))
    plan = beside_plan(confirm, ranked, first, others)
    doses = [] if plan.doses is None else [plan.doses]
    beside = [(stage, is_declared) for stage in [*doses, *plan.against]]
    beside += [(stage, True) for stage in plan.controls]
    beside += [] if plan.curve is None else [(plan.curve[1], False)]
    found += [_one(stage, is_known=is_known, along=confirmed) for stage, is_known in beside]
    return [*found, *([] if sweep is None else _answer(sweep, confirmed, ranked, others))]


def _one(stage: Stage, *, is_known: bool, along: Foreseen | None = None) -> Foreseen:
    return Foreseen(stage=stage, parts=(stage,), is_known=is_known, along=along)


def _stand_ins(profile: Profile, model: ModelFacts, sweep: Stage | None) -> list[Head]:
    """Heads in the place of a sweep's order: no targets first, which would be tested once for both."""
    if sweep is None:
        return []
    targets = target_set(profile, model)
    named = targets.heads if targets else ()
    heads = sorted(swept_heads(sweep), key=lambda head: head in named)
    n_swept = len(heads) if profile.screen is None else profile.screen.heads
    return heads[:n_swept][: n_ranked(profile)]


def _search(sweep: Stage) -> list[Foreseen]:
    """A sweep, with what comes before it, and what shows how good it is."""
    screened = screen_stages(sweep)
    if screened:
        return [_one(screened[0], is_known=True), *(_one(one, is_known=False) for one in screened[1:])]
    check = check_stage(sweep)
    checked = [] if check is None else [_one(check, is_known=True)]
    if not is_halved(sweep):
        return [_one(sweep, is_known=True), *checked]
    return [Foreseen(stage=sweep, parts=tuple(planned_parts(sweep)), is_known=True), *checked]


def _answer(
    sweep: Stage, confirmed: Foreseen, ranked: Sequence[Head], others: Sequence[PromptSet]
) -> list[Foreseen]:
    """The choice of an answer, and its tests if there will be one."""
    choice = choice_stage(sweep, ranked)
    if choice is None:
        return []
    found = [_one(choice, is_known=False)]
    for trial in trials(confirmed.stage, sweep, choice.cells[-1], others):
        along = confirmed if trial.name == "confirmation" else None
        found.append(_one(trial.own, is_known=False, along=along))
        found += [_one(rival, is_known=False) for rival in trial.rivals]
    return found
