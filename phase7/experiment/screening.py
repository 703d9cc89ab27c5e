"""The stages of a screen: all heads estimated, the first of them swept, and a look at the others.

The others are patched exactly in two ways: a random sample one by one, and random halves together
(:mod:`phase7.statistics.missed` says what either tells).
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from phase7.experiment.stages import Cell, Stage
from phase7.experiment.swept import swept_heads, with_heads
from phase7.statistics.missed import Signs, n_splits, random_signs
from phase7.vocabulary.heads import Head


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Some heads that were not chosen, and how they are split.

    Attributes
    ----------
    heads : tuple of Head
    signs : int8 array [split, head]
        On which side of each split a head is.
    """

    heads: tuple[Head, ...]
    signs: Signs

    def side(self, split: int, sign: int) -> tuple[Head, ...]:
        """The heads on one side of a split; maybe none."""
        return tuple(h for h, s in zip(self.heads, self.signs[split], strict=True) if s == sign)


def screen_stage(sweep: Stage) -> Stage | None:
    """The stage that estimates what every head of a sweep does; None where nothing is screened."""
    return None if sweep.profile.screen is None else replace(sweep, name="screen")


def screen_stages(sweep: Stage) -> list[Stage]:
    """A screen's stages as far as they are known before it ran; none where nothing is screened.

    Which heads are chosen is not: the sweep's first ones stand for them, so that their number is right.
    """
    stage, screen = screen_stage(sweep), sweep.profile.screen
    if stage is None or screen is None:
        return []
    chosen = swept_heads(sweep)[: screen.heads]
    others = (unchosen_stage(sweep, chosen), halves_stage(sweep, groups(sweep, chosen)))
    return [
        stage,
        with_heads(sweep, chosen, sweep.recipients),
        *(one for one in others if one is not None),
    ]


def unchosen_stage(sweep: Stage, chosen: Collection[Head]) -> Stage | None:
    """The stage that patches a random sample of the other heads one by one; None where there are none.

    Parameters
    ----------
    sweep : Stage
        Of all heads.
    """
    screen, others = sweep.profile.screen, _others(sweep, chosen)
    assert screen is not None
    draw = random.Random(f"phase7 unchosen heads {sweep.profile.sampling.seed}")
    drawn = draw.sample(others, min(screen.checked_heads, len(others)))
    return replace(with_heads(sweep, drawn, sweep.recipients), name="unchosen") if drawn else None


def groups(sweep: Stage, chosen: Collection[Head]) -> list[Group]:
    """The other heads in random groups of nearly one size, each with its random splits."""
    screen, others = sweep.profile.screen, _others(sweep, chosen)
    assert screen is not None
    if not others:
        return []
    seed = sweep.profile.sampling.seed
    random.Random(f"phase7 groups of heads {seed}").shuffle(others)
    n_groups = -(-len(others) // screen.group) if screen.group else 1
    made = [tuple(sorted(others[number::n_groups])) for number in range(n_groups)]
    splits = n_splits(screen.confidence)
    coins = random_signs(len(others), splits, seed=seed)  # one stream, so that groups differ
    ends = [sum(map(len, made[: number + 1])) for number in range(n_groups)]
    return [
        Group(heads=heads, signs=coins[:, end - len(heads) : end])
        for heads, end in zip(made, ends, strict=True)
    ]


def halves_stage(sweep: Stage, made: Sequence[Group]) -> Stage | None:
    """The stage that patches the sides of all splits, each together; None where there are none."""
    sides = {
        side
        for group in made
        for split in range(len(group.signs))
        for sign in (1, -1)
        if (side := group.side(split, sign))
    }
    modes = sorted({cell.mode for cell in sweep.cells})
    cells = tuple(sorted(Cell(side, mode) for side in sides for mode in modes))
    return replace(sweep, name="halves", cells=cells) if cells else None


def _others(sweep: Stage, chosen: Collection[Head]) -> list[Head]:
    taken = set(chosen)
    return [head for head in swept_heads(sweep) if head not in taken]
