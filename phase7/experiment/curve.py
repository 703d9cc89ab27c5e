"""How many heads it takes: the sweep's first heads in growing sets, beside random sets of each size.

All sets are read on the confirmation's prompts, without texts; so are the first heads one by one, whose
effects together are what the sets would have if heads did not act upon each other.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from phase7.experiment.profile import Profile
from phase7.experiment.stages import Cell, Stage
from phase7.vocabulary.heads import Head

HeadTuple = tuple[Head, ...]

#: Heads of the sweep's order that are read one by one, at most.
MOST_ALONE = 40


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The sets of a curve.

    Attributes
    ----------
    first : mapping of int to tuple of Head
        By size, the sweep's first heads; the largest size is all swept heads.
    drawn : mapping of int to tuple of tuple of Head
        By size, random sets; none of a size that leaves too few heads to draw from.
    alone : tuple of Head
        The first heads in their order, as many as the largest size of at most 40.
    """

    first: Mapping[int, HeadTuple]
    drawn: Mapping[int, tuple[HeadTuple, ...]]
    alone: HeadTuple

    @property
    def sets(self) -> list[HeadTuple]:
        """All of them, each once."""
        drawn = (heads for one in self.drawn.values() for heads in one)
        alone = ((head,) for head in self.alone)
        return list(dict.fromkeys([*self.first.values(), *drawn, *alone]))


def curve_of(profile: Profile, ranked: Sequence[Head]) -> Curve | None:
    """The sets of a profile's curve; None where it asks for none.

    Random sets are drawn by the seed from the swept heads that are not among the first of their size, so
    that nothing of what they are compared with is in them.

    Parameters
    ----------
    ranked : sequence of Head
        All swept heads in the sweep's order.
    """
    wanted = profile.confirm
    if not wanted.curve or not ranked:
        return None
    sizes = sorted({size for size in wanted.curve if size < len(ranked)} | {len(ranked)})
    first = {size: tuple(sorted(ranked[:size])) for size in sizes}
    drawn = {}
    for size in sizes:
        pool = sorted(set(ranked) - set(first[size]))
        draw = random.Random(f"phase7 curve {profile.sampling.seed} {size}")
        if size <= len(pool):
            sets = (tuple(sorted(draw.sample(pool, size))) for _ in range(wanted.curve_random_sets))
            drawn[size] = tuple(sets)
    n_alone = max((size for size in sizes if size <= MOST_ALONE), default=0)
    return Curve(first=first, drawn=drawn, alone=tuple(ranked[:n_alone]))


def curve_stage(confirm: Stage, curve: Curve) -> Stage:
    """The stage that reads the sets of a curve, in the primary mode."""
    mode = confirm.profile.patching.primary_mode
    cells = sorted({Cell(heads, mode) for heads in curve.sets})
    recipients = confirm.recipients[: confirm.profile.confirm.curve_prompts or None]
    return replace(confirm, name="curve", recipients=recipients, cells=tuple(cells), lengths=())
