"""Units beside heads in the language of specs, and single queries in that of positions."""

from __future__ import annotations

import pytest

from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import Head, HeadSet, parse_heads, parse_set
from phase7.vocabulary.modes import position_record
from phase7.vocabulary.units import Unit

N_LAYERS, N_HEADS = 12, 9


def parse(spec: str) -> HeadSet:
    return parse_set(spec, n_layers=N_LAYERS, n_heads=N_HEADS, where="--head-spec")


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        ("mlp:5", "mlp:5"),
        (" resid:11 , 3:5,mlp:0 ", "3:5,mlp:0,resid:11"),
        ("attn:7,mlp:10,mlp:2", "attn:7,mlp:2,mlp:10"),
        ("mlp:3-5", "mlp:3,mlp:4,mlp:5"),
        ("mlp:1,mlp:1", "mlp:1"),
        ("attn:7,7:2,6:2", "6:2,attn:7"),
        ("7:*,attn:7", "attn:7"),
        ("3:5,7:2", "3:5,7:2"),
        ("resid:*", ",".join(f"resid:{layer}" for layer in range(N_LAYERS))),
    ],
)
def test_a_spec_names_this_set_and_its_label_gives_it_back(spec, label):
    found = parse(spec)
    assert found.label == label
    assert HeadSet.parse(label) == found
    assert [one.label for one in found.members] == label.split(",")
    assert parse(label) == found


def test_a_unit_alone_is_a_set_and_stands_behind_single_heads():
    unit, head, two = parse("mlp:5"), parse("11:8"), parse("0:1,0:2")
    assert head.is_single and not unit.is_single and unit.n_heads == 0
    assert not parse("11:8,mlp:5").is_single
    assert sorted([two, unit, head])[0] == head
    assert parse("mlp:5,3:1") == HeadSet((Head(3, 1),), (Unit("mlp", 5),))


@pytest.mark.parametrize(
    "spec", ["mlp:", "mlp:x", "mlp:1:2", "resid:-1", "mlp:3-", "attn", "mlp:５", "mlp:*-2", "resid: 3"]
)
def test_any_other_form_of_a_unit_is_refused_with_the_right_one(spec):
    with pytest.raises(UserError, match=r'^--head-spec: expected units like "mlp:5", "resid:3-5" or'):
        parse(spec)


@pytest.mark.parametrize("spec", ["mlp:12", "resid:5-12", "attn:7-3"])
def test_layers_that_the_model_lacks_are_refused(spec):
    with pytest.raises(UserError, match=r"^--head-spec: expected layers 0-11, got"):
        parse(spec)


@pytest.mark.parametrize("spec", ["mlp:1,", ",mlp:1", "mlp:1,,3:5", "MLP:1", "mlp", "q:3", ""])
def test_what_is_neither_head_nor_unit_is_refused(spec):
    with pytest.raises(UserError, match=r"^--head-spec: expected"):
        parse(spec)


def test_where_heads_alone_can_be_a_unit_is_refused_and_told_where_it_may_stand():
    with pytest.raises(UserError, match=r"got 'mlp:3'; name attn, mlp and resid in target_heads or"):
        parse_heads("1:1,mlp:3", n_layers=N_LAYERS, n_heads=N_HEADS)


@pytest.mark.parametrize(
    ("positions", "queries", "from_start"),
    [
        ("generated", [6, 7, 8, 9], False),
        ("last", [6], False),
        ("all", list(range(10)), True),
        ("step:0", [6], False),
        ("step:3", [9], False),
        ("step:4", [], False),
        ("prompt:-1", [6], False),
        ("prompt:-2", [5], True),
        ("prompt:-7", [0], True),
        ("prompt:-8", [], True),
    ],
)
def test_queries_of_a_prompt_of_7_tokens_and_3_behind_it(positions, queries, from_start):
    record = position_record(positions)
    assert list(record.queries(n_prompt=7, n_queries=10)) == queries
    assert [q for q, is_it in enumerate(record.among(7, range(10))) if is_it] == queries
    assert record.from_start == from_start


@pytest.mark.parametrize(
    "positions", ["", "first", "step", "step:-1", "prompt:1", "prompt:-0", "step:1-3", "step:٣", "at:-1"]
)
def test_other_policies_are_refused_with_those_that_there_are(positions):
    with pytest.raises(
        UserError, match=r"^--positions: expected one of generated, last, all, step:N \(N from"
    ):
        position_record(positions, "--positions")
