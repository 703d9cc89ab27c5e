"""Heads that no profile names: drawn at random, or the first of the sweep's order."""

from __future__ import annotations

import random
from collections.abc import Sequence

from phase7.experiment.profile import Profile
from phase7.models.facts import ModelFacts
from phase7.vocabulary.heads import Head, parse_heads


def target_heads(profile: Profile, files: ModelFacts) -> tuple[Head, ...]:
    """The heads that the profile names; none where it leaves that to the sweep."""
    spec = profile.confirm.target_heads
    return parse_for(files, spec, "confirm.target_heads") if spec.strip() else ()


def declared_sets(profile: Profile, files: ModelFacts) -> list[tuple[Head, ...]]:
    """What the profile names to be tested: its target heads alone and together, and its further sets."""
    targets = target_heads(profile, files)
    further = (parse_for(files, spec, "confirm.head_sets") for spec in profile.confirm.head_sets)
    return list(
        dict.fromkeys([*((head,) for head in targets), *([targets] if targets else []), *further])
    )


def random_heads(profile: Profile, files: ModelFacts) -> tuple[Head, ...]:
    """Heads drawn at random as a control, among those that are no targets; a function of the seed."""
    targets = target_heads(profile, files)
    pool = [head for head in parse_for(files, "all", "all") if head not in targets]
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
