"""Axes are read by their labels: a tree with its axes in another order gives the same answers."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure

import phase7.accessor  # noqa: F401
from phase7.findings.figures import figures
from phase7.findings.group import groups
from phase7.plots import draw
from phase7.plots.compared import compared
from phase7.plots.style import STYLE
from phase7.report.html import render_html
from phase7.report.render import render_report
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.metrics import METRICS
from tests.report.synthetic import Spec, tree

pytestmark = pytest.mark.slow

SPEC = Spec(planted=("1:2",), seed=3)
DEEP = replace(
    SPEC,
    model="deep",
    n_layers=8,
    n_heads=2,
    target="2:1,6:0",
    strongest=("2:1", "5:1"),
    planted=("2:1",),
)
ORIGINAL = (SPEC, replace(SPEC, emotion="anger", seed=4), DEEP)


def rearranged(original: xr.DataTree, order) -> xr.DataTree:
    """The tree with `order(dataset, dim)` as the order of every labelled axis of every node."""
    nodes = {}
    for node in original.subtree:
        dataset = node.to_dataset()  # with what it inherits: children share the axes of their group
        nodes[node.path] = dataset.isel({dim: list(order(dataset, dim)) for dim in dataset.indexes})
    made = xr.DataTree.from_dict(nodes)
    made.attrs.update(original.attrs)
    return made


def only(*dims: str):
    """Reverse the named axes and leave the others."""

    def order(dataset, dim):
        return range(dataset.sizes[dim])[:: -1 if dim in dims else 1]

    return order


def everything(dataset, dim):
    """Some other order for every axis."""
    n = dataset.sizes[dim]
    return np.random.default_rng(n).permutation(n)


ORDERS = {
    "metric": only("metric"),
    "prompt": only("prompt"),
    "mode": only("mode"),
    "layer and head": only("layer", "head"),
    "head_set": only("head_set"),
    "length, sample, direction, rank": only("length", "sample", "direction", "rank"),
    "all": everything,
}


def transposed(original: xr.DataTree) -> xr.DataTree:
    """The tree with the dimensions of every variable the other way round."""
    nodes = {}
    for node in original.subtree:
        dataset = node.to_dataset()
        nodes[node.path] = dataset.transpose(*reversed(list(dataset.dims)))
    made = xr.DataTree.from_dict(nodes)
    made.attrs.update(original.attrs)
    return made


@pytest.fixture(scope="module")
def original() -> xr.DataTree:
    return tree(*ORIGINAL)


@pytest.fixture(scope="module", params=[*ORDERS, "transposed", "all and transposed"])
def other(request, original) -> xr.DataTree:
    if request.param == "transposed":
        return transposed(original)
    if request.param == "all and transposed":
        return transposed(rearranged(original, everything))
    return rearranged(original, ORDERS[request.param])


def test_the_trees_compared_here_do_differ(original):
    """Liveness: the orders change what a reader by position would see."""
    for name, order in ORDERS.items():
        made = rearranged(original, order)
        changed = [
            dim
            for node in original.subtree
            for dim, index in node.to_dataset().indexes.items()
            if list(index) != list(made[node.path].to_dataset().indexes[dim])
        ]
        assert set(changed) >= set(name.replace(" and ", ", ").split(", ")) - {"all"}
        assert changed
    first = transposed(original)["tiny/gratitude"].to_dataset()["delta"].dims
    assert first == ("metric", "mode", "head", "layer")


def report(one: xr.DataTree, lang: str) -> str:
    return render_report(one, lang=lang, plots_dir=None, report_path=Path("report.md"))


@pytest.fixture(scope="module")
def original_report(original) -> str:
    return report(original, "en")


def test_the_report_is_the_same(original_report, other):
    assert report(other, "en") == original_report


@pytest.fixture(scope="module")
def original_page(original) -> str:
    return render_html(original, lang="en")


#: Drawing takes seconds, and this one has every order of the others at once.
DRAWN = pytest.mark.parametrize("other", ["all and transposed"], indirect=True)


@DRAWN
def test_the_report_in_japanese_is_the_same(original, other):
    assert report(other, "ja") == report(original, "ja")


@DRAWN
def test_the_html_page_is_the_same(original_page, other):
    assert render_html(other, lang="en") == original_page


def drawn(one: xr.DataTree) -> dict[str, bytes]:
    """Every figure of the first group and the comparison of all, as SVG."""
    made: dict[str, bytes] = {}
    all_groups = groups(one)
    own = {
        figure.stem: lambda f=figure: draw(all_groups[0], f, all_groups)
        for figure in figures(all_groups)[0]
    }
    for stem, canvas in {**own, "compared": lambda: compared(all_groups)}.items():
        with matplotlib.rc_context(STYLE):
            into = io.BytesIO()
            canvas().savefig(into, format="svg", metadata={"Date": None, "Creator": None})
        made[stem] = into.getvalue()
    return made


@pytest.fixture(scope="module")
def drawn_originally(original) -> dict[str, bytes]:
    return drawn(original)


@DRAWN
def test_the_figures_are_the_same(drawn_originally, other):
    assert len(drawn_originally) >= 5
    assert drawn(other) == drawn_originally


def test_the_tables_are_the_same(original, other):
    def tables(one: xr.DataTree) -> list[pd.DataFrame]:
        group, sweep, sets = (
            one[f"tiny/gratitude{at}"].to_dataset() for at in ("", "/sweep", "/head_sets")
        )
        return [
            one.phase7.to_dataframe(),
            one.phase7.top_heads("politeness", 5),
            one.phase7.agreement("sentiment_positive"),
            sets.phase7.to_dataframe(),
            sets.phase7.top_heads("goemotions_gratitude", mode="all", by="q_value"),
            sweep.phase7.top_heads("politeness", 99, by="effect_size"),
            sweep.phase7.layers("politeness"),
            group.phase7.layers("politeness", "v_only"),
        ]

    for ours, theirs in zip(tables(other), tables(original), strict=True):
        assert len(theirs)
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


@pytest.mark.parametrize("path", ["tiny/anger", "deep/gratitude"])
def test_comparisons_are_the_same(original, other, path):
    def compare(one: xr.DataTree) -> xr.Dataset:
        return one["tiny/gratitude"].to_dataset().phase7.compare(one[path].to_dataset(), "politeness")

    xr.testing.assert_identical(compare(other), compare(original))


def test_a_metric_of_ones_own_is_the_same(original, other):
    def measured(one: xr.DataTree) -> xr.Dataset:
        return one["tiny/gratitude"].phase7.measure("n_chars", len)

    xr.testing.assert_identical(measured(other), measured(original))


def test_a_heatmap_on_axes_is_the_same(original, other):
    def colours(one: xr.DataTree):
        axes = Figure().subplots()
        one["tiny/gratitude/sweep"].to_dataset().phase7.heatmap("politeness", ax=axes)
        return axes.collections[0].get_array()

    np.testing.assert_array_equal(colours(other), colours(original))


def test_a_heatmap_of_some_layers_puts_them_where_they_are(original):
    """A part of the layers is drawn at its numbers, not moved to the left."""

    def colours(one: xr.Dataset):
        axes = Figure().subplots()
        one.phase7.heatmap("politeness", ax=axes)
        return np.ma.filled(axes.collections[0].get_array(), np.nan)

    sweep = original["tiny/gratitude/sweep"].to_dataset()
    whole, part = colours(sweep), colours(sweep.sel(layer=[2, 3]))
    assert np.isfinite(whole).all()
    np.testing.assert_array_equal(part[:, 2:], whole[:, 2:])
    assert np.isnan(part[:, :2]).all()


def without(original: xr.DataTree, dim: str, labels: list) -> xr.DataTree:
    nodes = {}
    for node in original.subtree:
        dataset = node.to_dataset()
        nodes[node.path] = dataset.drop_sel({dim: labels}) if dim in dataset.indexes else dataset
    made = xr.DataTree.from_dict(nodes)
    made.attrs.update(original.attrs)
    return made


def test_a_metric_that_the_tree_lacks_is_not_measured():
    """The same page as where its numbers are NaN."""
    gone = ["sentiment_negative", "goemotions_fear"]
    lacking = without(tree(SPEC), "metric", gone)
    empty = tree(SPEC)
    for node in empty.subtree:
        for name, variable in node.to_dataset().data_vars.items():
            if "metric" in variable.dims and variable.dtype.kind == "f":
                node[name] = variable.where(~variable["metric"].isin(gone))
    pages = [
        render_report(one, lang="en", plots_dir=None, report_path=Path("report.md"))
        for one in (lacking, empty)
    ]
    assert pages[0] == pages[1]
    assert "2 of 35 metrics were not measured" in pages[0]


def test_a_metric_that_nobody_knows_is_refused():
    made = tree(SPEC)
    names = ["charm", *METRICS[1:]]
    nodes = {}
    for node in made.subtree:
        dataset = node.to_dataset()
        nodes[node.path] = dataset.assign_coords(metric=names) if "metric" in dataset.dims else dataset
    with pytest.raises(UserError, match=r"metric.*'charm'"):
        groups(xr.DataTree.from_dict(nodes))


def test_a_label_that_stands_twice_is_refused():
    made = tree(SPEC)
    names = [METRICS[1], *METRICS[1:]]
    group = made["tiny/gratitude"].to_dataset().assign_coords(metric=names)
    with pytest.raises(UserError, match="each label of the axis 'metric' once"):
        group.phase7.top_heads("politeness")


def test_the_maps_of_one_file_share_their_colours():
    made = tree(SPEC, replace(SPEC, emotion="anger", seed=4))
    metric, largest = "sentiment_positive", []
    for emotion in ("gratitude", "anger"):
        sweep = made[f"tiny/{emotion}/sweep"].to_dataset()
        largest.append(float(abs(sweep.net_delta.sel(metric=metric, mode="result")).max()))
    assert largest[0] != largest[1]

    def end(one, **given) -> float:
        return one.phase7.heatmap(metric, ax=Figure().subplots(), **given).collections[0].norm.vmax

    nodes = [made[f"tiny/{emotion}/sweep"] for emotion in ("gratitude", "anger")]
    assert [end(one) for one in nodes] == [max(largest)] * 2
    assert [end(one.to_dataset()) for one in nodes] == largest
    assert [end(one, limit=0.5) for one in nodes] == [0.5] * 2
    for wrong in (0.0, float("nan")):
        with pytest.raises(UserError, match="heatmap: limit: expected a positive number"):
            end(nodes[0], limit=wrong)


def test_what_measure_returns_can_be_drawn(original):
    own = original["tiny/gratitude"].phase7.measure("n_chars", len)
    axes = own.phase7.heatmap("n_chars", ax=Figure().subplots())
    drawn = np.ma.filled(axes.collections[0].get_array(), np.nan)  # [head, layer]
    singles = [str(label) for label in own.head_set.values if "," not in str(label)]
    assert np.isfinite(drawn).sum() == len(singles) == 3
    for label in singles:
        layer, head = map(int, label.split(":"))
        expected = own.net_delta.sel(head_set=label, mode="result", metric="n_chars")
        assert drawn[head, layer] == float(expected)
    with pytest.raises(UserError, match="sets of several heads only"):
        own.sel(head_set=["1:2,3:0"]).phase7.heatmap("n_chars")
