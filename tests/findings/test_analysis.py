"""The analysis API: tables against the store, doctests, lazy loading, exports, attributes."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import phase7
import phase7.accessor
from phase7.accessor import datasets, trees
from phase7.effects import file as effects
from phase7.effects.attributes import COORDINATES, VARIABLES
from phase7.findings import pairs
from phase7.statistics import agreement_by_head
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.metrics import METRICS
from phase7.vocabulary.modes import MODES
from tests.report.synthetic import Spec, tree

REPOSITORY = Path(__file__).parents[2]
TINY = Spec(planted=("1:2",), seed=3)
ANGER = replace(TINY, emotion="anger", seed=4)
DEEP = replace(
    TINY,
    model="deep",
    n_layers=8,
    n_heads=2,
    target="2:1,6:0",
    strongest=("2:1", "5:1"),
    planted=("2:1",),
)


@pytest.fixture(scope="module")
def made() -> xr.DataTree:
    return tree(TINY, ANGER, DEEP)


@pytest.fixture
def group(made):
    return made["tiny/gratitude"].to_dataset()


@pytest.fixture(scope="module")
def stored(made, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("effects") / "three.nc"
    effects.write_effects(made, path)
    return path


@pytest.fixture(autouse=True)
def _no_display():
    matplotlib.use("Agg")
    yield
    from matplotlib import pyplot

    pyplot.close("all")


@pytest.mark.slow
def test_docstrings_show_what_happens(made):
    finder, runner = (
        doctest.DocTestFinder(),
        doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE),
    )
    tests = [
        one
        for module in (datasets, trees, pairs)
        for one in finder.find(module, extraglobs={"tree": made})
    ]
    for one in tests:
        runner.run(one)
    assert runner.failures == 0
    assert sum(bool(one.examples) for one in tests) >= 9


def test_top_heads_are_the_stores_numbers_in_order(group):
    top = group.phase7.top_heads("politeness", 3)
    here = group.sel(mode="result", metric="politeness")
    sizes = np.sort(np.abs(here.net_delta.values[here.n_prompts.values > 0]))[::-1]
    np.testing.assert_array_equal(top.effect.abs(), sizes[:3])
    for row in top.itertuples():
        one = here.sel(layer=row.layer, head=row.head)
        assert (row.ci_low, row.ci_high) == (float(one.net_ci_low), float(one.net_ci_high))
        assert (row.p_value, row.q_value) == (float(one.net_p_value), float(one.net_q_value))
        assert row.effect_size == float(one.net_effect_size)
        assert row.net and row.n_prompts == TINY.n_confirmation


@pytest.mark.parametrize("by", ["effect", "effect_size", "q_value"])
def test_top_heads_by(group, by):
    top = group.phase7.top_heads("sentiment_positive", 99, mode="all", by=by)
    assert len(top) == 3 * len(MODES)  # three tested heads
    key = top[by].abs()
    assert key.is_monotonic_increasing if by == "q_value" else key.is_monotonic_decreasing


def test_without_a_control_the_effect_is_plain_delta():
    effects_ = tree(replace(TINY, control=False))["tiny/gratitude"].to_dataset()
    top = effects_.phase7.top_heads("politeness", 1)
    here = effects_.sel(mode="result", metric="politeness")
    assert not top.net[0] and abs(top.effect[0]) == float(np.abs(here.delta).max())


def test_head_sets_have_tops_too(made):
    top = made["tiny/gratitude/head_sets"].to_dataset().phase7.top_heads("sentiment_positive")
    assert list(top.head_set) == ["1:2,3:0"] and bool(top.significant[0])


def test_every_test_is_a_row_and_nothing_untested(made):
    for name in ("tiny/gratitude", "tiny/gratitude/sweep", "tiny/gratitude/head_sets"):
        dataset = made[name].to_dataset()
        frame = dataset.phase7.to_dataframe()
        assert len(frame) == int(np.isfinite(dataset.delta).sum()) > 0
        assert set(frame.metric) == set(METRICS) and (frame.n_prompts > 0).all()
        assert float(frame.net_delta.sum()) == pytest.approx(float(dataset.net_delta.sum()))


def test_layers_average_the_heads(made):
    sweep = made["tiny/gratitude/sweep"].to_dataset()
    layers = sweep.phase7.layers("politeness")
    expected = np.abs(sweep.net_delta.sel(mode="result", metric="politeness"))
    np.testing.assert_allclose(layers.mean_size, expected.mean("head"))
    np.testing.assert_allclose(layers.largest_size, expected.max("head"))


def test_comparison_by_head(made, group):
    other = made["tiny/anger/sweep"].to_dataset()
    sweep = made["tiny/gratitude/sweep"].to_dataset()
    found = sweep.phase7.compare(other, "politeness")
    sizes = [np.abs(d.net_delta.sel(mode="result", metric="politeness").values) for d in (sweep, other)]
    assert float(found.rank_agreement) == agreement_by_head(*sizes).rho
    assert found.sizes == {"layer": 4, "head": 3} and int(found.n_compared) == 12
    planted = group.phase7.compare(made["tiny/anger"].to_dataset(), "sentiment_positive")
    assert bool(planted.in_both.sel(layer=1, head=2)) and int(planted.in_both.sum()) == 1
    opposite = made["tiny/anger"].to_dataset()
    opposite["net_delta"] = -opposite.net_delta
    assert not group.phase7.compare(opposite, "sentiment_positive").in_both.any()


def test_other_models_of_the_same_shape_are_not_paired_by_head(group):
    other = tree(replace(TINY, model="twin"))["twin/gratitude"].to_dataset()
    assert group.phase7.compare(other, "politeness").attrs["by"] == "depth"
    assert group.phase7.compare(other, "politeness", by="head").attrs["by"] == "head"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda d, t: d.phase7.top_heads("cheer"),
            "metric: expected a metric of the effects store, got 'cheer'",
        ),
        (lambda d, t: d.phase7.top_heads("politeness", mode="x"), "got 'x'; name one of result, v_only"),
        (
            lambda d, t: d.phase7.top_heads("politeness", by="x"),
            "name one of effect, effect_size, q_value",
        ),
        (lambda d, t: d.phase7.heatmap("cheer"), "got 'cheer'"),
        (lambda d, t: d.phase7.compare(d, "politeness", by="x"), "name one of auto, head, depth"),
        (
            lambda d, t: d.phase7.compare(t["deep/gratitude"].to_dataset(), "politeness", by="head"),
            "got (4, 3) and (8, 2); compare by='depth'",
        ),
        (lambda d, t: t["tiny/gratitude/texts"].to_dataset().phase7.to_dataframe(), "expected a group"),
        (
            lambda d, t: t["tiny/gratitude/texts"].to_dataset().phase7.top_heads("politeness"),
            "expected a group, its sweep or its head_sets",
        ),
        (
            lambda d, t: t["tiny/gratitude/head_sets"].to_dataset().phase7.layers("politeness"),
            "single heads",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(made, group, call, message):
    with pytest.raises(UserError) as caught:
        call(group, made)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_an_unmeasured_metric_has_no_heatmap():
    empty = tree(replace(TINY, missing=("politeness",)))["tiny/gratitude"].to_dataset()
    assert empty.phase7.top_heads("politeness").empty
    with pytest.raises(UserError, match="at least one measured cell"):
        empty.phase7.heatmap("politeness")


def test_heatmap_draws_on_given_axes(group):
    from matplotlib import pyplot

    _, axes = pyplot.subplots()
    assert group.phase7.heatmap("sentiment_positive", "v_only", ax=axes) is axes
    shown = axes.collections[0].get_array().reshape(3, 4)
    expected = group.net_delta.sel(mode="v_only", metric="sentiment_positive").values.T
    np.testing.assert_array_equal(shown.filled(np.nan), expected)
    assert "v_only" in axes.get_title() and [tuple(line.get_xydata()[0]) for line in axes.lines] == [
        (1, 2)
    ]


@pytest.mark.slow
def test_lazy_loading_gives_the_same_answers(made, stored):
    pytest.importorskip("dask")
    lazy = phase7.open_effects(stored, chunks={"layer": 1})
    try:
        here = lazy["tiny/gratitude"].to_dataset()
        assert here.net_delta.chunksizes["layer"] == (1, 1, 1, 1)
        expected = made.phase7.top_heads("politeness", 3)
        pd.testing.assert_frame_equal(lazy.phase7.top_heads("politeness", 3), expected)
        pd.testing.assert_frame_equal(lazy.phase7.to_dataframe(), made.phase7.to_dataframe())
    finally:
        lazy.close()
    assert phase7.open_effects(stored)["tiny/gratitude"].to_dataset().net_delta.chunks is None


def test_chunks_without_dask_is_an_error(stored, monkeypatch):
    monkeypatch.setattr(effects, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"expected dask.*pip install 'phase7\[analysis\]'"):
        phase7.open_effects(stored, chunks={})


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_exports_by_the_libraries_own_means(stored, tmp_path):
    opened = phase7.open_effects(stored)
    frame = opened.phase7.to_dataframe()
    frame.to_parquet(tmp_path / "effects.parquet")
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "effects.parquet"), frame, check_dtype=False
    )
    opened.to_zarr(tmp_path / "effects.zarr", zarr_format=2)
    again = xr.open_datatree(tmp_path / "effects.zarr", engine="zarr", chunks=None).load()
    assert set(again.groups) == set(opened.groups)
    for node in opened.subtree:
        xr.testing.assert_equal(again[node.path].to_dataset(), node.to_dataset())
    assert again["tiny/gratitude"].net_delta.attrs == opened["tiny/gratitude"].net_delta.attrs


def test_plain_plot_labels_itself(stored):
    here = phase7.open_effects(stored)["tiny/gratitude/sweep"].to_dataset()
    mesh = here.net_delta.sel(mode="result", metric="politeness").plot()
    labels = {mesh.axes.get_xlabel(), mesh.axes.get_ylabel(), mesh.colorbar.ax.get_ylabel()}
    assert {"layer", "head"} < {re.sub(r" \[1\]$", "", one) for one in labels}
    assert any("net Δ" in one for one in labels)


def test_every_variable_says_what_it_is(stored):
    for node in phase7.open_effects(stored).subtree:
        for name, variable in node.to_dataset().variables.items():
            for attribute in ("long_name", "units", "comment"):
                assert variable.attrs.get(attribute), (node.path, name, attribute)


def test_the_documentation_names_every_variable():
    page = (REPOSITORY / "docs/effects.md").read_text(encoding="utf-8")
    assert [name for name in VARIABLES if f"`{name}`" not in page] == []
    assert all(len(one) == 3 for one in (*VARIABLES.values(), *COORDINATES.values()))


def test_importing_phase7_stays_light_and_opening_registers():
    code = (
        "import sys, phase7\n"
        "assert not {'numpy', 'xarray', 'pandas'} & set(sys.modules), 'heavy import'\n"
        "phase7.open_effects\n"
        "import xarray\n"
        "print(hasattr(xarray.Dataset, 'phase7'), hasattr(xarray.DataTree, 'phase7'),\n"
        "      'torch' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True True False False\n", "")


def blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.slow
def test_the_pages_answer_in_six_lines_works(tmp_path, monkeypatch, capsys):
    """docs/analysis.md, run as it stands over a tree of two models named as there."""
    gpt2 = replace(TINY, model="gpt2", settings={"alpha": 0.05})
    made = tree(gpt2, replace(DEEP, model="pythia-160m"))
    for path in ("gpt2/gratitude", "pythia-160m/gratitude"):  # the planted head moves politeness too
        here = made[path].to_dataset()
        for one in here.data_vars.values():
            if "metric" in one.dims:
                one.loc[{"metric": "politeness"}] = one.sel(metric="sentiment_positive").values
        made[path] = xr.DataTree(here, children=made[path].children)
    monkeypatch.chdir(tmp_path)
    effects.write_effects(made, Path("store/effects/baseline.nc"))
    first, *others = blocks(REPOSITORY / "docs/analysis.md")
    lines = [line for line in first.splitlines() if line.strip()]
    assert len(lines) <= 6
    space: dict[str, object] = {}
    exec(first, space)
    printed = capsys.readouterr().out
    assert "gpt2" in printed and "pythia-160m" in printed
    assert re.search(r"1:2 .*2:1", printed)  # the head of each model, in one row
    for block in others:
        exec(block, space)


def test_a_node_answers_as_its_dataset_does(made):
    for path in ("tiny/gratitude", "tiny/gratitude/sweep", "tiny/gratitude/head_sets"):
        node = made[path]
        whole = node.to_dataset()
        metric = "sentiment_positive"
        pd.testing.assert_frame_equal(node.phase7.top_heads(metric), whole.phase7.top_heads(metric))
        pd.testing.assert_frame_equal(node.phase7.to_dataframe(), whole.phase7.to_dataframe())
    group, anger = made["tiny/gratitude"], made["tiny/anger"]
    pd.testing.assert_frame_equal(
        group.phase7.layers("politeness"), group.to_dataset().phase7.layers("politeness")
    )
    assert group.phase7.compare(anger, "politeness").identical(
        group.to_dataset().phase7.compare(anger.to_dataset(), "politeness")
    )
    assert group["sweep"].phase7.heatmap("politeness").get_xlabel() == "layer"


def test_a_tree_of_several_groups_asks_for_one_where_it_must(made):
    with pytest.raises(UserError, match=r"expected one group, got 3 \(tiny/gratitude, tiny/anger"):
        made.phase7.heatmap("politeness")
    with pytest.raises(UserError, match="a tree of effects"):
        xr.DataTree().phase7.top_heads("politeness")


def test_texts_come_in_pairs_with_the_first_difference_marked(made):
    group = made["tiny/gratitude"]
    found = group.phase7.texts("1:2")
    texts = group["texts"].to_dataset().sel(head_set="1:2", mode=found[0].mode)
    n_ran = int((texts.split != "discovery").sum()) * texts.sizes["sample"]
    assert len(found) == n_ran and found[0].baseline and found[:2].to_dataframe().shape[0] == 2
    assert found[0].patched == str(
        texts.patched_text.sel(prompt=texts.prompt[texts.split != "discovery"][0], sample=0).item()
    )
    with pytest.raises(UserError, match="expected heads with texts"):
        group.phase7.texts("0:3")
    with pytest.raises(UserError, match="a Dataset without texts"):
        group.to_dataset().phase7.texts("1:2")


def test_pairs_are_shown_side_by_side():
    pair = pairs.TextPair(
        baseline="a cup of tea", patched="a cup of <b>", prompt="p", heads="1:2", mode="result"
    )
    assert str(pair).splitlines()[0] == "p [1:2, result]"
    assert "a cup of \u25b8tea" in str(pair) and "a cup of \u25b8<b>" in str(pair)
    assert "<mark>&lt;b&gt;</mark>" in pair._repr_html_()
    same = pairs.TextPair(baseline="x", patched="x")
    assert same.first_difference is None and str(same).endswith("(equal)")


def test_a_report_and_what_a_notebook_shows(made, tmp_path, monkeypatch):
    one, drawn = made["tiny/gratitude"].phase7, []
    monkeypatch.setattr(
        "phase7.report.write.render_html", lambda tree, lang: drawn.append(tree) or f"{lang} page"
    )
    (page,) = one.report(tmp_path / "out.html")
    assert page.read_text(encoding="utf-8") == "en page"
    assert drawn[0].phase7.groups() == ["tiny/gratitude"]
    assert drawn[0].attrs == made.attrs and drawn[0]["tiny/gratitude"].identical(made["tiny/gratitude"])
    assert "deep" in made.phase7._repr_html_() and "deep" not in one._repr_html_()
    assert repr(one) == "<phase7: tiny/gratitude>"
    assert one._repr_html_().count("<tr") >= 6
