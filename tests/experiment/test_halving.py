"""A search in rounds: how many heads and which prompts each has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from phase7.experiment.halving import is_halved, planned_parts, rounds
from phase7.experiment.profile import Sweep
from phase7.experiment.swept import swept_heads, with_heads
from phase7.vocabulary.errors import UserError
from tests import stages
from tests.stages import BY_READOUTS, changed


def halved(*ends: int, heads: str = "all"):
    profile = changed(
        "sweep", BY_READOUTS, text=False, modes=("result", "v_only"), heads=heads, halving=ends
    )
    return stages.sweep(profile, neutral=stages.prompts("neutral", 20))


def test_every_round_has_the_next_prompts_and_half_the_heads_rounded_up():
    stage = halved(1, 3, 4, heads="0:*,1:0,1:1,1:2")
    assert stage.recipients == tuple(range(0, 20, 2))
    found = [(one.recipients, one.n_heads) for one in rounds(stage)]
    assert found == [((0,), 7), ((2, 4), 4), ((6,), 2), ((8, 10, 12, 14, 16, 18), 1)]
    assert is_halved(stage)


def test_numbers_beyond_the_prompts_count_for_nothing():
    assert rounds(halved(4, 10, 30)) == rounds(halved(4))
    assert not is_halved(halved(10)) and not is_halved(halved()) and is_halved(halved(9))
    assert not is_halved(stages.confirm(halved(4).profile))


def test_a_round_keeps_all_modes_of_its_heads():
    stage = halved(2)
    some = swept_heads(stage)[3:5]
    part = with_heads(stage, some, (2, 6))
    assert part.recipients == (2, 6) and part.name == "sweep"
    assert {(cell.heads, cell.mode) for cell in part.cells} == {
        ((head,), mode) for head in some for mode in ("result", "v_only")
    }


def test_the_plan_counts_as_many_heads_as_will_be_read():
    parts = planned_parts(halved(2, 5))
    assert [len(one.cells) for one in parts] == [24, 12, 6]
    assert [len(one.recipients) for one in parts] == [2, 3, 5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"halving": (2, 2)}, "halving: expected ascending numbers of prompts of at least 1"),
        ({"halving": (0, 2)}, "halving: expected ascending numbers of prompts of at least 1"),
        ({"halving": (2,), "text": True}, 'halving: expected text = false and readouts = "exact"'),
        ({"halving": (2,), "readouts": "attribution"}, "halving: expected text = false and readouts"),
    ],
)
def test_a_search_that_cannot_be_halved_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        replace(Sweep(text=False), **changes)
