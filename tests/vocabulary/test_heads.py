"""The language of head specs: what it means, and what it refuses in which words."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import Head, HeadSet, format_heads, parse_heads

N_LAYERS, N_HEADS = 12, 9
LAW = settings(deadline=None, derandomize=True)


def parse(spec: str, **options) -> tuple[Head, ...]:
    return parse_heads(spec, n_layers=N_LAYERS, n_heads=N_HEADS, **options)


head_tuples = st.builds(Head, st.integers(0, N_LAYERS - 1), st.integers(0, N_HEADS - 1))
head_sets = st.sets(head_tuples, min_size=1, max_size=20).map(lambda heads: tuple(sorted(heads)))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("3:5", [(3, 5)]),
        ("3:5,7:2", [(3, 5), (7, 2)]),
        ("7:2,3:5", [(3, 5), (7, 2)]),
        ("3:5,3:5,3:4-6", [(3, 4), (3, 5), (3, 6)]),
        (" 3:5 ,\t7:2 ", [(3, 5), (7, 2)]),
        ("0:0-2", [(0, 0), (0, 1), (0, 2)]),
        ("4:4-4", [(4, 4)]),
        ("11:*", [(11, head) for head in range(N_HEADS)]),
        ("003:05", [(3, 5)]),
        ("all", [(layer, head) for layer in range(N_LAYERS) for head in range(N_HEADS)]),
        (" all ", [(layer, head) for layer in range(N_LAYERS) for head in range(N_HEADS)]),
    ],
)
def test_a_spec_names_these_heads(spec, expected):
    assert parse(spec) == tuple(Head(*pair) for pair in expected)


def test_a_head_prints_as_layer_and_head():
    assert str(Head(3, 5)) == "3:5"
    assert format_heads((Head(3, 5), Head(7, 2))) == "3:5,7:2"


@LAW
@given(head_sets)
def test_parsing_what_was_formatted_gives_the_same_heads(heads):
    assert parse(format_heads(heads)) == heads


@LAW
@given(head_sets, st.randoms(use_true_random=False))
def test_neither_order_nor_repeats_nor_blanks_matter(heads, random):
    items = [str(head) for head in heads] + [str(heads[0])]
    random.shuffle(items)
    assert parse(" , ".join(items)) == heads


@LAW
@given(st.integers(0, N_LAYERS - 1), st.integers(0, N_HEADS - 1), st.integers(0, N_HEADS - 1))
def test_a_range_holds_both_its_ends(layer, first, last):
    assume(first <= last)
    assert parse(f"{layer}:{first}-{last}") == tuple(Head(layer, h) for h in range(first, last + 1))


@pytest.mark.parametrize(
    "spec",
    ["", "  ", "3", "3:", ":5", "3:5,", ",3:5", "3:5;7:2", "3.5", "-1:2", "3:-2", "3:5-", "3:-", "3:a",
     "3:5 7:2", "*:3", "3:**", "3:1-2-3", "ALL", "all,3:5", "3:5,all", "３:５", "٣:٥", "3:5\n7:2", "3: 5",
     "1234567:0", "+3:5", "0x3:5", "3:1_0"],
)  # fmt: skip
def test_any_other_form_is_refused_with_the_right_one(spec):
    with pytest.raises(UserError) as caught:
        parse(spec, where="--head-spec")
    text = str(caught.value)
    assert text.startswith('--head-spec: expected items like "3:5", "3:0-5", "3:*", or "all", got ')
    assert text.endswith('write heads as layer:head, separated by commas, e.g. "3:5,7:2"')
    assert "\n" not in text


def test_the_refusal_names_the_item_at_fault_and_not_its_neighbours():
    with pytest.raises(UserError, match=r"got '7;2';") as caught:
        parse("3:5, 7;2 ,1:1")
    assert "3:5, 7" not in caught.value.got


def test_a_long_item_is_cut_in_the_message():
    with pytest.raises(UserError) as caught:
        parse("x" * 10_000)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("spec", ["12:0", "0:9", "0:7-9", "0:5-3", "999999:0", "12:*", "3:5,0:9"])
def test_heads_that_the_model_lacks_are_refused_with_its_size(spec):
    with pytest.raises(
        UserError,
        match=r"^confirm\.target_heads: expected layers 0-11 and heads 0-8, got '.*';"
        r" name heads that this model has$",
    ):
        parse(spec, where="confirm.target_heads")


@LAW
@given(st.text(max_size=12))
def test_any_text_is_heads_of_the_model_or_one_line_of_refusal(spec):
    try:
        heads = parse(spec)
    except UserError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert heads
        assert list(heads) == sorted(set(heads))
        assert all(0 <= h.layer < N_LAYERS and 0 <= h.head < N_HEADS for h in heads)


@LAW
@given(head_sets)
def test_a_label_is_read_back_without_the_models_size(heads):
    one = HeadSet(heads)
    assert HeadSet.parse(one.label) == one
    assert str(one) == one.label == format_heads(heads)
    assert one.n_heads == len(heads) == len(parse(one.label))
    assert one.is_single == (len(heads) == 1)


def test_a_label_keeps_its_order():
    """The store is asked for the label as it stands, so reading must not tidy it."""
    assert HeadSet.parse("7:2,3:5").label == "7:2,3:5"


@pytest.mark.parametrize(
    "label", ["", "3", "3:5,", "3:*", "3:0-5", "all", " 3:5", "3:5, 7:2", "a:b", "-1:0"]
)
def test_a_label_that_does_not_spell_out_its_heads_is_refused(label):
    with pytest.raises(UserError, match="spelled out"):
        HeadSet.parse(label)


def test_singles_come_before_sets_and_both_by_place():
    ordered = ["0:1", "2:0", "10:3", "0:0,0:1", "0:0,2:0", "3:1,4:0"]
    mixed = [HeadSet.parse(label) for label in reversed(ordered)]
    assert [one.label for one in sorted(mixed)] == ordered


def test_the_head_of_a_single():
    assert HeadSet.parse("3:5").only == Head(3, 5)
    with pytest.raises(ValueError, match="too many"):
        HeadSet.parse("3:5,7:2").only  # noqa: B018


def test_a_set_of_no_heads_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        HeadSet(())
