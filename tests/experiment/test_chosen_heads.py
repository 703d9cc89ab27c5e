"""Sets that the sweep's order names, and random ones beside them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from phase7.experiment.chosen_heads import first_sets, n_ranked, random_sets
from phase7.experiment.stages import Cell
from phase7.experiment.tested import confirm_stage
from phase7.vocabulary.errors import UserError
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


def test_units_are_tested_alone_and_in_their_sets():
    tested = profile(target_heads="mlp:1,0:2,attn:2", head_sets=("resid:0,1:1",), modes=("result",))
    stage = confirm_stage(tested, FILES, NEUTRAL, GRATITUDE, [])
    labels = [cell.label for cell in stage.cells]
    assert sorted(labels) == [
        "0:2", "0:2,attn:2,mlp:1", "1:1", "1:1,resid:0", "attn:2", "mlp:1", "resid:0"
    ]  # fmt: skip
    assert [str(unit) for unit in stage.sited_units] == ["mlp:1", "resid:0"]
    together = confirm_stage(changed("confirm", tested, alone=False), FILES, NEUTRAL, GRATITUDE, [])
    assert sorted(cell.label for cell in together.cells) == ["0:2,attn:2,mlp:1", "1:1,resid:0"]


@pytest.mark.parametrize("mode", ["v_only", "pattern_v"])
def test_what_composes_nothing_is_refused_in_a_mode_that_composes(mode):
    both = ("result", mode)
    with pytest.raises(UserError, match=f"got mlp:1 in mode {mode}") as caught:
        confirm_stage(profile(target_heads="0:1,mlp:1", modes=both), FILES, NEUTRAL, GRATITUDE, [])
    assert caught.value.where == "confirm.target_heads"
    with pytest.raises(UserError, match=r"confirm\.head_sets: expected mode result alone"):
        confirm_stage(profile(head_sets=("resid:1",), modes=both), FILES, NEUTRAL, GRATITUDE, [])
    stage = confirm_stage(profile(target_heads="attn:1", modes=both), FILES, NEUTRAL, GRATITUDE, [])
    assert sorted(cell.mode for cell in stage.cells) == sorted(both)


def test_a_batch_has_room_for_its_self_checks():
    """One for each kind of write, and one for each stream, as the engine makes them."""

    def cells(spec, **options):
        tested = profile(target_heads=spec, modes=("result",), **options)
        return confirm_stage(tested, FILES, NEUTRAL, GRATITUDE, [])

    for spec, n_checks in (("0:1,1:2", 1), ("0:1,mlp:1", 1), ("0:1,resid:0,resid:2", 3)):
        stage = cells(spec)
        for batch in stage.batches():
            assert batch.n_rows == (1 + len(batch.patches) + n_checks) * stage.sampling.samples
