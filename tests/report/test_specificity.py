"""Other emotions in tables, sentences and frames: each number is the store's."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import phase7.accessor  # noqa: F401  (registers the accessors)
from phase7.report import render_html
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.verdicts import ANY_EMOTION, NO_EFFECT, SPECIFIC, UNDETERMINED
from tests.report.test_answer import FIRST, LOGODDS, SPEC, made
from tests.report.test_report import render, tables

OTHERS = ["anger", "apology"]
#: Verdicts on the emotion's read-out in the primary mode.
WORDS = {"0:1": UNDETERMINED, "1:2": SPECIFIC, "2:0": ANY_EMOTION, FIRST: SPECIFIC}


def compared() -> xr.DataTree:
    """The tree with numbers for two other emotions, all different."""
    tree, rng = made().copy(), np.random.default_rng(8)
    for name in ("", "head_sets"):
        path = f"tiny/gratitude/{name}".rstrip("/")
        one = tree[path].to_dataset()
        cells = [dim for dim in one.n_prompts.dims]
        shape = [2, *one.delta.sizes.values()]
        dims = ("against", *one.delta.dims)
        tested = one.net_delta.notnull()
        for variable in ("delta", "ci_low", "ci_high", "p_value", "q_value", "effect_size"):
            one[f"specific_{variable}"] = xr.DataArray(rng.random(shape), dims=dims).where(tested)
        for variable in ("other_delta", "other_q_value"):
            one[variable] = xr.DataArray(rng.random(shape), dims=dims).where(tested)
        words = xr.full_like(one.delta, NO_EFFECT, dtype=object)
        for label, word in WORDS.items():
            if name == "head_sets" and "," in label:
                words.loc[dict(head_set=label, mode="result", metric=LOGODDS)] = word
            elif name == "" and "," not in label:
                layer, head = map(int, label.split(":"))
                words.loc[dict(layer=layer, head=head, mode="result", metric=LOGODDS)] = word
        one["specificity"] = words
        assert set(cells) < set(one.delta.dims)
        tree[path] = xr.DataTree(one.assign_coords(against=OTHERS), children=tree[path].children)
    return tree


TREE = compared()


def test_every_number_of_the_table_is_the_stores():
    (table,) = [one for one in tables(render(TREE, "en")).values() if "Other emotion" in one.header]
    rows = [row for row in table.rows if row[1] == f"`{LOGODDS}`"]
    heads = TREE["tiny/gratitude"].to_dataset()
    assert len(rows) == len(OTHERS) * 5  # two sets and three heads
    said = {SPECIFIC: "specific to gratitude", ANY_EMOTION: "any of these emotions"}
    for head in ("0:1", "1:2", "2:0"):
        layer, number = map(int, head.split(":"))
        for other in OTHERS:
            (row,) = [one for one in rows if one[0] == f"`{head}`" and one[2] == other]
            at = heads.sel(layer=layer, head=number, mode="result", metric=LOGODDS, against=other)
            shown = [float(cell.replace("−", "-")) for cell in row[3:6]]
            expected = [at.net_delta.item(), at.other_delta.item(), at.specific_delta.item()]
            np.testing.assert_allclose(shown, expected, atol=5e-4)
            assert f"{at.specific_ci_low.item():.3f}" in row[6]
            assert row[9] == said.get(WORDS[head], WORDS[head])


def test_the_conclusion_names_the_heads_of_each_verdict():
    text = render(TREE, "en")
    (block,) = [one for one in text.split("\n\n") if one.startswith("**Result**")]
    assert "specific to gratitude beside the donors of anger, apology" in block
    assert "Any of these emotions: `2:0`. Undetermined: `0:1`." in block
    assert "`1:2`" in block[block.index("specific to gratitude") :]
    assert "特異的" in render(TREE, "ja")
    assert "specific to gratitude" in render_html(TREE, lang="en")


def test_without_other_emotions_nothing_is_said():
    assert "specific Δ" not in render(made(), "en")


def test_the_frame_has_a_row_for_each_cell_and_other_emotion():
    effects = TREE["tiny/gratitude"].to_dataset()
    frame = effects.phase7.specificity(LOGODDS)
    assert len(frame) == len(OTHERS) * 3 and set(frame.against) == set(OTHERS)
    (row,) = frame[(frame.layer == 1) & (frame.against == "apology")].to_dict("records")
    at = effects.sel(layer=1, head=2, mode="result", metric=LOGODDS, against="apology")
    assert row["specific_delta"] == at.specific_delta and row["effect"] == at.net_delta
    assert row["specificity"] == SPECIFIC
    assert len(effects.phase7.specificity(LOGODDS, "all")) == len(OTHERS) * 3 * len(SPEC.modes)
    sets = TREE["tiny/gratitude/head_sets"].to_dataset().phase7.specificity(LOGODDS)
    assert set(sets.head_set) == {FIRST, "0:0,2:2"}
    with pytest.raises(UserError, match="donors of other emotions"):
        made()["tiny/gratitude"].to_dataset().phase7.specificity(LOGODDS)
