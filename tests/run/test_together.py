"""Which units are computed together."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from phase7.run.memory import MOST_PROMPTS
from phase7.run.together import side_by_side
from phase7.run.units import Unit

STAGE, OTHER = SimpleNamespace(way_of_generating=1), SimpleNamespace(way_of_generating=2)


def unit(prompt: str, n_rows: int, stage=STAGE, kind="generation") -> Unit:
    return Unit(kind=kind, key={}, arguments=(stage, SimpleNamespace(prompt=prompt)), n_rows=n_rows)


def prompts_of(group) -> list[str]:
    return list(dict.fromkeys(one.arguments[1].prompt for one in group))


def rows_of(group) -> int:
    return sum(one.n_rows for one in group)


@pytest.mark.parametrize("n_at_once", [1, 2, 3])
@pytest.mark.parametrize("max_rows", [128, 512])
def test_all_batches_of_a_prompt_are_in_one_group_and_heavy_prompts_are_spread(n_at_once, max_rows):
    heavy = [unit(f"a{i}", n) for n in (64, 20) for i in range(20)]
    light = [unit(f"b{i}", 12) for i in range(20)]
    groups = side_by_side([*heavy, *light], max_rows, n_at_once)
    assert sorted(map(id, (one for group in groups for one in group))) == sorted(
        map(id, [*heavy, *light])
    )
    assert len(groups) % n_at_once == 0
    of = {f"{letter}{i}": 0 for letter in "ab" for i in range(20)}
    for group in groups:
        assert rows_of(group) <= max_rows and len(prompts_of(group)) <= MOST_PROMPTS
        for prompt in prompts_of(group):
            of[prompt] += 1
    assert set(of.values()) == {1}
    n_heavy = [sum(prompt.startswith("a") for prompt in prompts_of(group)) for group in groups]
    assert max(n_heavy) - min(n_heavy) <= 1


def test_prompts_of_one_size_stay_in_their_order():
    units = [unit(f"a{i}", 12) for i in range(20)]
    groups = side_by_side(units, 512, 2)
    assert [one for group in groups for one in group] == units
    assert [len(group) for group in groups] == [10, 10]


def test_what_does_not_fit_or_is_made_otherwise_is_apart():
    """Batches of one prompt that are too many for one, other samplings, and what is computed alone."""
    large = [unit("a", 400), unit("a", 200), unit("b", 600)]
    assert [len(group) for group in side_by_side(large, 512, 1)] == [1, 1, 1]
    apart = [
        unit("a", 12),
        unit("a", 12, OTHER),
        unit("a", 0, kind="capture"),
        unit("b", 0, kind="capture"),
    ]
    assert [len(group) for group in side_by_side(apart, 512, 1)] == [1, 1, 1, 1]
