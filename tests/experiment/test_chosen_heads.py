"""Sets that the sweep's order names, and random ones beside them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from phase7.experiment.chosen_heads import first_sets, n_ranked, random_sets
from phase7.experiment.stages import Cell, confirm_stage
from phase7.vocabulary.heads import Head
from tests.stages import FILES, GRATITUDE, NEUTRAL, PROFILE, changed

#: All twelve heads, in an order that is not that of their places.
RANKED = [Head((5 * i) % 12 // 4, (5 * i) % 4) for i in range(12)]


def profile(*sizes: int, seed: int = 5, heads: str = "all", **confirm):
    made = changed("confirm", changed("sampling", seed=seed), strongest_sets=sizes, **confirm)
    return changed("sweep", made, heads=heads)


def test_the_order_above_names_every_head_once():
    assert len(set(RANKED)) == 12 and sorted(RANKED) != RANKED


def test_the_first_sets_are_the_first_heads_by_size():
    found = first_sets(profile(5, 2, 5), RANKED)
    assert found == [tuple(sorted(RANKED[:2])), tuple(sorted(RANKED[:5]))]
    assert first_sets(profile(), RANKED) == []


@pytest.mark.parametrize(("n", "sizes"), [(3, [2, 3]), (2, [2]), (1, [1]), (0, [])])
def test_sizes_beyond_the_heads_that_there_are_mean_all_heads(n, sizes):
    assert [len(one) for one in first_sets(profile(2, 3), RANKED[:n])] == sizes


def test_as_many_heads_are_ranked_as_any_part_asks_for():
    assert n_ranked(profile(2, 6, strongest=3)) == 6
    assert n_ranked(profile(2, strongest=3)) == 3
    assert n_ranked(profile()) == 0


@pytest.mark.parametrize("seed", range(8))
def test_random_sets_are_of_the_same_sizes_and_without_the_first(seed):
    made = profile(2, 4, seed=seed, random_sets=3)
    drawn = random_sets(made, FILES, RANKED)
    assert [len(one) for one in drawn] == [2, 2, 2, 4, 4, 4]
    for heads in drawn:
        assert list(heads) == sorted(set(heads))
        assert not set(heads) & set(RANKED[: len(heads)])
    assert random_sets(made, FILES, RANKED) == drawn
    assert len(set(drawn)) > 2


def test_random_sets_follow_the_seed_and_reach_every_other_head():
    drawn = [
        tuple(random_sets(profile(3, seed=seed, random_sets=1), FILES, RANKED)) for seed in range(40)
    ]
    assert len(set(drawn)) > 20
    assert {head for (heads,) in drawn for head in heads} == set(RANKED[3:])


def test_random_sets_hold_swept_heads_alone():
    first = [Head(1, 3), Head(1, 0), Head(1, 1), Head(1, 2)]
    made = profile(2, heads="1:*", random_sets=4)
    assert set(random_sets(made, FILES, first)) == {(Head(1, 1), Head(1, 2))}


def test_there_are_no_random_sets_where_too_few_heads_are_left():
    made = profile(2, 6, 7, random_sets=2)
    drawn = random_sets(made, FILES, RANKED)
    assert [len(one) for one in drawn] == [2, 2, 6, 6]  # 12 - 7 = 5 are not 7
    assert drawn[2] == drawn[3] == tuple(sorted(RANKED[6:]))


def test_no_random_sets_without_a_sweep_or_a_ranking_or_unless_they_are_asked_for():
    assert random_sets(replace(PROFILE, sweep=None), FILES, RANKED) == []
    assert random_sets(profile(2, random_sets=1), FILES, []) == []
    assert random_sets(profile(2), FILES, RANKED) == []


def test_joint_sets_are_tested_as_a_whole_alone():
    joint = [(Head(2, 2), Head(1, 0)), (Head(0, 1), Head(1, 1))]
    plain = confirm_stage(PROFILE, FILES, NEUTRAL, GRATITUDE, [Head(1, 1)])
    stage = confirm_stage(PROFILE, FILES, NEUTRAL, GRATITUDE, [Head(1, 1)], joint)
    added = set(stage.cells) - set(plain.cells)
    assert set(plain.cells) < set(stage.cells)
    assert added == {
        Cell(heads, mode)
        for heads in ((Head(1, 0), Head(2, 2)), (Head(0, 1), Head(1, 1)))
        for mode in PROFILE.confirm.modes
    }
    assert list(stage.cells) == sorted(stage.cells)
