"""The answer of a run: one set of heads at one strength, chosen on discovery prompts, tested by text.

Choice and tests stand on separate prompts: candidates are compared on those of the sweep, the chosen one
is tested on the confirmation's, and again, with another seed, on prompts that nothing has used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from phase7.experiment.declared import Answer
from phase7.experiment.profile import Profile
from phase7.experiment.prompts import PromptSet
from phase7.experiment.specificity import rival_stages
from phase7.experiment.stages import Cell, Stage
from phase7.experiment.strengths import require_difference
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import Head


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One test of what was chosen.

    Attributes
    ----------
    name : {"confirmation", "fresh"}
    own : Stage
        With the donor of the emotion, and that of the control.
    rivals : tuple of Stage
        The same with the donors of other emotions.
    """

    name: str
    own: Stage
    rivals: tuple[Stage, ...]


def choice_stage(sweep: Stage, ranked: Sequence[Head]) -> Stage | None:
    """The candidates on discovery prompts, one sample each; None where the profile wants no answer.

    Raises
    ------
    UserError
        If a difference is to be added and there are not two donors made of prompts.
    """
    profile, wanted = sweep.profile, sweep.profile.answer
    if wanted is None:
        return None
    if wanted.write == "add":
        require_difference(sweep, "answer.write")
    sizes = sorted({min(size, len(ranked)) for size in wanted.sizes})
    cells = {
        Cell(tuple(sorted(ranked[:size])), profile.patching.primary_mode, wanted.write, strength)
        for size in sizes
        for strength in wanted.strengths
    }
    return replace(
        sweep,
        name="choose",
        recipients=sweep.recipients[: wanted.n_prompts or None],
        cells=tuple(sorted(cells)),
        sampling=replace(profile.sampling, samples=1),
    )


def trials(confirm: Stage, sweep: Stage, chosen: Cell, others: Sequence[PromptSet]) -> list[Trial]:
    """The tests of the chosen cell: on the confirmation's prompts, and on fresh ones."""
    wanted = _wanted(confirm.profile)
    plain = replace(confirm, name="answer", cells=(chosen,), lengths=())
    stages = {"confirmation": _sampled(plain, wanted.samples, 0)}
    fresh = fresh_recipients(confirm, sweep)
    if fresh:
        stages["fresh"] = _sampled(replace(plain, name="fresh", recipients=fresh), wanted.samples, 1)
    return [
        Trial(name=name, own=stage, rivals=tuple(rival_stages(stage, others)))
        for name, stage in stages.items()
    ]


def fresh_recipients(confirm: Stage, sweep: Stage) -> tuple[int, ...]:
    """The first neutral prompts that neither the sweep nor the confirmation used.

    Raises
    ------
    UserError
        If there are not so many as the profile asks for.
    """
    wanted = _wanted(confirm.profile).fresh_prompts
    used = {*sweep.recipients, *confirm.recipients}
    left = [i for i in range(len(confirm.neutral.prompts)) if i not in used]
    if len(left) < wanted:
        raise UserError(
            expected=f"{wanted} neutral prompts beside the {len(used)} of sweep and confirmation",
            got=f"{len(left)}",
            where="answer.fresh_prompts",
            remedy="add prompts, lower fresh_prompts, or n_prompts of [sweep] and [confirm]",
        )
    return tuple(left[:wanted])


def _wanted(profile: Profile) -> Answer:
    assert profile.answer is not None  # who has chosen something has one
    return profile.answer


def _sampled(stage: Stage, n_samples: int, seed_shift: int) -> Stage:
    """The stage with so many samples (0: as it has), and with another seed where that is asked for."""
    own = stage.sampling
    sampling = replace(own, samples=n_samples or own.samples, seed=own.seed + seed_shift)
    profile = replace(stage.profile, sampling=sampling)
    return replace(stage, profile=profile, sampling=sampling)
