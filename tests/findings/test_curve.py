"""The curve over sets and the steadiness of the choice: numbers, table, sentence and figure."""

from __future__ import annotations

from dataclasses import replace

import matplotlib
import numpy as np
import pytest
import xarray as xr

from phase7.findings.curve import steadiness, steps
from phase7.findings.figures import figures
from phase7.findings.group import groups
from phase7.plots import draw
from tests.report.synthetic import Spec, tree
from tests.report.test_answer import LOGODDS, READ
from tests.report.test_report import render, tables

matplotlib.use("Agg")

#: With more heads than are chosen.
SPEC = Spec(
    seed=3, n_layers=6, n_heads=6, planted=("1:2",), target="0:1,1:2", strongest=("1:2", "0:1"),
    readouts=READ, swept_text=False, n_discovery=9, controls=("prompting",), modes=("result",),
)  # fmt: skip
SIZES = [1, 2, 5, 36]


@pytest.fixture(scope="module")
def made() -> xr.DataTree:
    whole, rng = tree(SPEC), np.random.default_rng(4)
    metrics = whole["tiny/gratitude"].metric.values.tolist()
    dims, shape = ("n_heads", "metric"), (len(SIZES), len(metrics))
    names = (
        "net_delta",
        "net_ci_low",
        "net_ci_high",
        "net_q_value",
        "prompting_share",
        "sum_of_singles",
    )
    curve = xr.Dataset({name: (dims, rng.random(shape)) for name in names})
    curve["heads"] = ("n_heads", [",".join(f"0:{i}" for i in range(min(n, 6))) for n in SIZES])
    drawn = rng.random((len(SIZES), 20, len(metrics)))
    drawn[0] -= 5.0  # the first set lies over all of its random ones
    drawn[1] += 5.0
    drawn[3] = np.nan
    curve["random_effect"] = (("n_heads", "draw", "metric"), drawn)
    whole["tiny/gratitude/curve"] = xr.DataTree(
        curve.assign_coords(n_heads=SIZES, draw=np.arange(20), metric=metrics)
    )
    return whole


def test_every_step_is_the_stores(made):
    rows = steps(groups(made)[0])
    at = made["tiny/gratitude/curve"].to_dataset().sel(metric=LOGODDS)
    assert [row.n_heads for row in rows] == SIZES
    for row, size in zip(rows, SIZES, strict=True):
        one = at.sel(n_heads=size)
        stored = [one.net_delta, one.net_ci_low, one.net_ci_high, one.net_q_value, one.prompting_share]
        assert [row.effect, row.low, row.high, row.q, row.share] == [float(value) for value in stored]
        assert row.singles == one.sum_of_singles
        if size != 36:
            band = np.percentile(one.random_effect.values, [5, 95])
            np.testing.assert_allclose([row.random_low, row.random_high], band)
    assert [row.n_random for row in rows] == [20, 20, 20, 0]
    assert (rows[0].is_above, rows[1].is_above, rows[3].is_above) == (True, False, False)


def test_steadiness_by_drawing_prompts_again(made):
    """The same resamples, with sets of labels and a loop over heads."""
    group = groups(made)[0]
    found = steadiness(group)
    sweep = made["tiny/gratitude/sweep"].to_dataset().sel(mode="result", metric=LOGODDS)
    net = (sweep.patched - sweep.control_patched).dropna("prompt")
    effects = {
        (int(layer), int(head)): net.sel(layer=layer, head=head).values
        for layer in net["layer"] for head in net["head"]
    }  # fmt: skip
    rng = np.random.default_rng([7, 9])

    def first(prompts) -> set:
        return set(sorted(effects, key=lambda head: -effects[head][prompts].mean())[:20])

    every, overlaps = first(np.arange(9)), []
    for _ in range(500):
        again = first(rng.integers(9, size=9))
        overlaps.append(len(every & again) / len(every | again))
    assert found is not None and (found.n_top, found.n_heads, found.n_prompts) == (20, 36, 9)
    assert found.jaccard == pytest.approx(np.mean(overlaps))
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(overlaps, [5, 95])))
    assert 0.2 < found.jaccard < 0.99


@pytest.mark.slow
def test_few_heads_and_no_read_outs_have_no_steadiness(made):
    assert steadiness(groups(tree(replace(SPEC, n_layers=4, n_heads=3)))[0]) is None
    assert steadiness(groups(tree(replace(SPEC, sweep=False)))[0]) is None
    assert steps(groups(tree(SPEC))[0]) == []


def test_the_report_has_the_curve_and_its_figure_is_named(made):
    page = render(made, "en")
    (table,) = [one for one in tables(page).values() if "Sum of singles" in one.header]
    assert [row[0] for row in table.rows] == ["1", "2", "5", "36"]
    assert [row[-1] for row in table.rows] == ["yes", "no", table.rows[2][-1], "–"]
    found = steadiness(groups(made)[0])
    assert found is not None
    assert f"the first 20 of 36 heads have a mean Jaccard index of {found.jaccard:.2f}" in page
    assert "Jaccard係数は平均" in render(made, "ja")
    group = groups(made)[0]
    (figure,) = (one for one in figures([group])[0] if one.kind == "curve")
    canvas = draw(group, figure, [group])
    (nested,) = [line for line in canvas.axes[0].lines if line.get_label().startswith("first heads")]
    np.testing.assert_allclose(nested.get_ydata(), [row.effect for row in steps(group)])
    assert [tick.get_text() for tick in canvas.axes[0].get_xticklabels()] == ["1", "2", "5", "36"]
    assert "curve" not in {one.kind for one in figures(groups(tree(SPEC)))[0]}
