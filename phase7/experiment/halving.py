"""A search by successive halving: the discovery prompts in rounds, each with half the heads of the last.

After each round the weaker half of the heads is dropped, so that most of the prompts are spent on the
heads that matter (Jamieson & Talwalkar 2016, AISTATS, 240-248, "successive halving").
"""

from __future__ import annotations

from dataclasses import dataclass

from phase7.experiment.stages import Stage
from phase7.experiment.swept import swept_heads, with_heads


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round of a search.

    Attributes
    ----------
    recipients : tuple of int
        The prompts that it adds.
    n_heads : int
        The heads that it reads on them.
    """

    recipients: tuple[int, ...]
    n_heads: int


def rounds(sweep: Stage) -> list[Round]:
    """The rounds of a sweep; a single one where the profile halves nothing."""
    assert sweep.profile.sweep is not None
    n = len(sweep.recipients)
    ends = [*(end for end in sweep.profile.sweep.halving if end < n), n]
    found, start, n_heads = [], 0, len(swept_heads(sweep))
    for end in ends:
        found.append(Round(recipients=sweep.recipients[start:end], n_heads=n_heads))
        start, n_heads = end, -(-n_heads // 2)
    return found


def is_halved(stage: Stage) -> bool:
    """Whether a stage is a search that drops heads on its way."""
    return stage.name == "sweep" and len(rounds(stage)) > 1


def planned_parts(sweep: Stage) -> list[Stage]:
    """A sweep's rounds as stages for counting: which heads are left is not known, only how many."""
    heads = swept_heads(sweep)
    return [with_heads(sweep, heads[: one.n_heads], one.recipients) for one in rounds(sweep)]
