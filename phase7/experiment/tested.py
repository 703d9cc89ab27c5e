"""The two stages that every plan begins with: the search, and the confirmation of what it found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from phase7.experiment.chosen_heads import joint_sets, parse_for, random_heads
from phase7.experiment.profile import Profile
from phase7.experiment.prompts import PromptSet
from phase7.experiment.splits import confirmation_half, discovery_half
from phase7.experiment.stages import Cell, Stage
from phase7.models.facts import ModelFacts
from phase7.vocabulary.heads import Head, HeadSet


def sweep_stage(
    profile: Profile, files: ModelFacts, neutral: PromptSet, emotion: PromptSet
) -> Stage | None:
    """The sweep, or None where the profile has none."""
    sweep = profile.sweep
    if sweep is None:
        return None
    heads = parse_for(files, sweep.heads, "sweep.heads")
    sampling = profile.sampling
    if sweep.max_new_tokens:
        sampling = replace(sampling, max_new_tokens=sweep.max_new_tokens)
    return Stage(
        name="sweep",
        files=files,
        profile=profile,
        neutral=neutral,
        emotion=emotion,
        recipients=_first(discovery_half(neutral), sweep.n_prompts),
        cells=tuple(sorted(Cell((head,), mode) for head in heads for mode in sweep.modes)),
        sampling=sampling,
    )


def confirm_stage(
    profile: Profile,
    files: ModelFacts,
    neutral: PromptSet,
    emotion: PromptSet,
    strongest: Sequence[Head],
    joint: Sequence[tuple[Head, ...]] = (),
) -> Stage:
    """The confirmation: target heads alone and together, further sets, and what the sweep chose.

    Parameters
    ----------
    strongest : sequence of Head
        Each tested alone.
    joint : sequence of tuple of Head
        Each tested as a set alone; its heads are not tested one by one for it.
    """
    confirm = profile.confirm
    sets = {*joint_sets(profile, files)}
    others = [*strongest, *random_heads(profile, files)]
    alone = {one for heads in sets for one in heads.members} if confirm.alone else set()
    singles = alone | {HeadSet((head,)) for head in others}
    every = singles | sets | {HeadSet(tuple(sorted(heads))) for heads in joint}
    cells = sorted(Cell(one.heads, mode, units=one.units) for one in every for mode in confirm.modes)
    length = profile.sampling.max_new_tokens
    return Stage(
        name="confirm",
        files=files,
        profile=profile,
        neutral=neutral,
        emotion=emotion,
        recipients=confirmed_prompts(profile, neutral),
        cells=tuple(cells),
        sampling=profile.sampling,
        lengths=tuple(sorted({n for n in confirm.lengths if n < length})),
    )


def confirmed_prompts(profile: Profile, neutral: PromptSet) -> tuple[int, ...]:
    """The neutral prompts of a profile's confirmation, as far as it does not stop before."""
    half = confirmation_half(neutral) if profile.sweep else tuple(range(len(neutral.prompts)))
    return _first(half, profile.confirm.n_prompts)


def _first(indices: tuple[int, ...], n: int) -> tuple[int, ...]:
    return indices[:n] if n else indices
