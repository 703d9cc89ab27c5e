"""The heads and sets that a profile names, those drawn at random, and the first of the sweep's order."""

from __future__ import annotations

import random
from collections.abc import Sequence

from phase7.experiment.profile import Profile
from phase7.models.facts import ModelFacts
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import Head, HeadSet, parse_heads, parse_set
from phase7.vocabulary.modes import MODE_RECORDS


def target_set(profile: Profile, files: ModelFacts) -> HeadSet | None:
    """The heads and units that the profile names; None where it leaves that to the sweep."""
    spec = profile.confirm.target_heads
    return _set_for(profile, files, spec, "confirm.target_heads") if spec.strip() else None


def joint_sets(profile: Profile, files: ModelFacts) -> list[HeadSet]:
    """What the profile names to be patched together: its targets first, then its further sets."""
    targets = target_set(profile, files)
    specs = profile.confirm.head_sets
    further = (_set_for(profile, files, spec, "confirm.head_sets") for spec in specs)
    return list(dict.fromkeys([*([targets] if targets else []), *further]))


def declared_sets(profile: Profile, files: ModelFacts) -> list[HeadSet]:
    """What the profile names to be tested: its targets alone and together, and its further sets."""
    targets = target_set(profile, files)
    alone = targets.members if targets else ()
    return list(dict.fromkeys([*alone, *joint_sets(profile, files)]))


def random_heads(profile: Profile, files: ModelFacts) -> tuple[Head, ...]:
    """Heads drawn at random as a control, among those that are no targets; a function of the seed."""
    targets = target_set(profile, files)
    named = targets.heads if targets else ()
    pool = [head for head in parse_for(files, "all", "all") if head not in named]
    draw = random.Random(f"phase7 random heads {profile.sampling.seed}")
    return tuple(sorted(draw.sample(pool, min(profile.confirm.random_heads, len(pool)))))


def first_sets(profile: Profile, ranked: Sequence[Head]) -> list[tuple[Head, ...]]:
    """The sets of the sweep's first k heads, by size; all heads where there are no k."""
    sizes = sorted({min(size, len(ranked)) for size in profile.confirm.strongest_sets if ranked})
    return [tuple(sorted(ranked[:size])) for size in sizes]


def random_sets(profile: Profile, files: ModelFacts, ranked: Sequence[Head]) -> list[tuple[Head, ...]]:
    """Sets of the same sizes, drawn by the seed from the swept heads that are not among the first k.

    Fewer, or none, where not so many heads are left to draw from.
    """
    sweep, drawn = profile.sweep, []
    if sweep is None:
        return []
    swept = parse_for(files, sweep.heads, "sweep.heads")
    for first in first_sets(profile, ranked):
        pool = sorted(set(swept) - set(first))
        draw = random.Random(f"phase7 random sets {profile.sampling.seed} {len(first)}")
        if len(first) <= len(pool):
            drawn += [
                tuple(sorted(draw.sample(pool, len(first)))) for _ in range(profile.confirm.random_sets)
            ]
    return drawn


def n_ranked(profile: Profile) -> int | None:
    """How many of the sweep's heads are asked for behind it, in order; None: all."""
    confirm = profile.confirm
    sizes = [*(profile.answer.sizes if profile.answer else ())]
    sizes += [profile.circuit.heads] if profile.circuit else []
    return None if confirm.curve else max([confirm.strongest, *confirm.strongest_sets, *sizes])


def parse_for(files: ModelFacts, spec: str, where: str) -> tuple[Head, ...]:
    """The heads of a spec, which the model must have."""
    return parse_heads(spec, n_layers=files.n_layers, n_heads=files.n_heads, where=where)


def _set_for(profile: Profile, files: ModelFacts, spec: str, where: str) -> HeadSet:
    """The set of a spec, which the model must have and the profile's modes must be able to patch."""
    found = parse_set(spec, n_layers=files.n_layers, n_heads=files.n_heads, where=where)
    composed = [mode for mode in profile.confirm.modes if MODE_RECORDS[mode].reads_pattern]
    if found.sited and composed:
        raise UserError(
            expected="mode result alone for an MLP or a residual stream",
            got=f"{found.sited[0]} in mode {composed[0]}",
            where=where,
            remedy='patch them with modes = ["result"], heads in other modes in a profile of their own',
        )
    return found
