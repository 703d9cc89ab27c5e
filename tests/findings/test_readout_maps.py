"""Read-outs by name: in the accessors and in heatmaps, with their unit, and where no text was swept."""

from __future__ import annotations

from dataclasses import replace

import matplotlib
import numpy as np
import pytest
import xarray as xr
from scipy.stats import spearmanr

import phase7.accessor  # noqa: F401  (registers the accessors)
from phase7.findings.across_groups import measured_roles, pairs
from phase7.findings.figures import figures, largest_value
from phase7.findings.group import groups
from phase7.plots import draw
from phase7.vocabulary.errors import UserError
from tests.findings.test_readouts import LABEL, LOGODDS, SPEC, made

matplotlib.use("Agg")

STEMS = ["logodds_gratitude", "sentiment_positive", "politeness", LABEL, "kl_first_token"]


@pytest.fixture(scope="module")
def swept() -> xr.Dataset:
    return made()["tiny/gratitude/sweep"].to_dataset()


def heatmaps_of(one: xr.DataTree) -> list[str]:
    prefix = "tiny_gratitude_heatmap_"
    return [f.stem.removeprefix(prefix) for f in figures(groups(one))[0] if f.kind in ("heatmap", "kl")]


def test_a_read_outs_heatmap_comes_first_and_text_is_left_out_where_none_was_swept():
    assert heatmaps_of(made()) == STEMS[:1]
    assert heatmaps_of(made(replace(SPEC, swept_text=True))) == STEMS
    without = replace(SPEC, readouts=(), attributed=False, swept_text=True)
    assert heatmaps_of(made(without)) == STEMS[1:]


def test_the_heatmap_is_the_sweeps_with_its_unit(swept):
    group = groups(made())[0]
    figure = figures([group])[0][0]
    canvas = draw(group, figure, [group])
    panel, bar = canvas.axes[0], canvas.axes[-1]
    grid = swept.net_delta.sel(mode="result", metric=LOGODDS).transpose("head", "layer").values
    drawn = np.asarray(panel.collections[0].get_array()).reshape(grid.shape)
    np.testing.assert_allclose(drawn, grid)
    assert bar.get_ylabel() == "net Δ logodds_gratitude (nats)"
    assert largest_value([group], LOGODDS) == pytest.approx(np.abs(grid).max())
    title = canvas.get_suptitle()
    assert "8 discovery prompts" in title and "predicted" not in title
    by_attribution = replace(SPEC, settings={"sweep_readouts": "attribution"})
    predicted = groups(made(by_attribution))[0]
    title_of_it = draw(predicted, figure, [predicted]).get_suptitle()
    assert f"{LOGODDS} predicted to first order, 8 discovery prompts" in title_of_it
    q = swept.net_q_value.sel(mode="result", metric=LOGODDS)
    assert f"{int((q < 0.05).sum())} of {int(q.notnull().sum())} cells with q < 0.05" in title


def test_a_text_heatmap_of_confirmed_heads_does_not_claim_the_discovery():
    """With ten heads confirmed and no text swept, the text's map is the confirmation's."""
    heads = ("0:0", "0:1", "0:2", "1:0", "1:1", "1:2", "2:0", "2:1", "2:2", "3:0")
    group = groups(made(replace(SPEC, strongest=heads)))[0]
    found = {figure.metric: figure for figure in figures([group])[0] if figure.kind == "heatmap"}
    assert list(found) == [LOGODDS, "sentiment_positive", "politeness", LABEL]
    assert "12 prompts" in draw(group, found[LABEL], [group]).get_suptitle()
    assert draw(group, found[LABEL], [group]).axes[-1].get_ylabel() == f"net Δ {LABEL}"


def test_the_intervals_begin_with_the_read_out_in_nats():
    group = groups(made())[0]
    (figure,) = (one for one in figures([group])[0] if one.kind == "intervals")
    canvas = draw(group, figure, [group])
    panels = {axis.get_title(): axis for axis in canvas.axes}
    assert list(panels) == [LOGODDS, "sentiment_positive", "politeness", LABEL]
    assert panels[LOGODDS].get_xlabel() == "change in nats"
    assert panels[LABEL].get_xlabel() == "change of the mean score"
    ends = [tuple(line.get_xdata()) for line in panels[LOGODDS].lines if len(line.get_xdata()) == 2]
    head = made()["tiny/gratitude"].to_dataset().sel(layer=1, head=2, mode="result", metric=LOGODDS)
    assert (head.net_ci_low.item(), head.net_ci_high.item()) in [tuple(map(float, one)) for one in ends]


def test_groups_are_compared_by_their_read_outs_first():
    own = [name.replace("gratitude", "anger") for name in SPEC.readouts]
    trees = {
        "gratitude": made(),
        "anger": made(replace(SPEC, emotion="anger", readouts=tuple(own), seed=SPEC.seed + 1)),
    }
    nodes = {f"tiny/{emotion}": one[f"tiny/{emotion}"] for emotion, one in trees.items()}
    both = xr.DataTree.from_dict(nodes)
    (pair,) = pairs(groups(both))
    swept = {emotion: one[f"tiny/{emotion}/sweep"].net_delta for emotion, one in trees.items()}
    sizes = [
        np.abs(deltas.sel(mode="result", metric=f"logodds_{emotion}")).values.ravel()
        for emotion, deltas in swept.items()
    ]
    assert pair.agreement["readout"].rho == pytest.approx(spearmanr(*sizes).statistic)
    assert measured_roles(groups(both))[0] == "readout"
    top = [{*np.argsort(-size)[: pair.shared.n_top]} for size in sizes]
    assert pair.shared.n_shared == len(top[0] & top[1])


def test_the_accessors_heatmap_names_the_unit(swept):
    axes = swept.phase7.heatmap(LOGODDS)
    assert axes.figure.axes[-1].get_ylabel() == "net Δ logodds_gratitude (nats)"
    text = made()["tiny/gratitude"].to_dataset().phase7.heatmap("politeness")
    assert text.figure.axes[-1].get_ylabel() == "net Δ politeness"
    with pytest.raises(UserError, match="at least one measured cell"):
        swept.phase7.heatmap("politeness")
    matplotlib.pyplot.close("all")


def test_tables_take_a_read_outs_name(swept):
    top = swept.phase7.top_heads(LOGODDS, 3)
    stored = swept.net_delta.sel(mode="result", metric=LOGODDS)
    order = np.argsort(-np.abs(stored.values).ravel(), kind="stable")[:3]
    assert list(zip(top["layer"], top["head"], strict=True)) == [divmod(int(i), 3) for i in order]
    np.testing.assert_allclose(top["effect"], stored.values.ravel()[order])
    assert len(swept.phase7.top_heads("politeness")) == 0
    frame = swept.phase7.to_dataframe()
    assert set(frame["metric"]) == set(SPEC.readouts) and len(frame) == 12 * 4
    sets = made()["tiny/gratitude/head_sets"].to_dataset().phase7.to_dataframe()
    mine = sets[(sets["head_set"] == "0:1,1:2") & (sets["mode"] == "result")].set_index("metric")
    assert mine.loc[LOGODDS, "p_adjusted"] < 0.05
    assert np.isnan(mine.loc["kl_path", "p_adjusted"])


def test_groups_are_compared_on_a_read_out_by_their_sweeps_and_on_text_by_what_was_confirmed():
    other = replace(SPEC, emotion="anger", seed=8, readouts=(LOGODDS, "kl_path"))
    both = xr.DataTree.from_dict(
        {
            f"/tiny/{spec.emotion}/{name}".rstrip("/"): dataset
            for spec in (SPEC, other)
            for name, dataset in {
                "": made(spec)[f"tiny/{spec.emotion}"].to_dataset(),
                "sweep": made(spec)[f"tiny/{spec.emotion}/sweep"].to_dataset(),
            }.items()
        }
    )
    one, two = (both[f"tiny/{name}/sweep"].to_dataset() for name in ("gratitude", "anger"))
    beside = one.phase7.compare(two, LOGODDS)
    np.testing.assert_allclose(beside.effect, one.net_delta.sel(mode="result", metric=LOGODDS))
    assert beside.attrs["metric"] == LOGODDS
    assert both.phase7.agreement(LOGODDS)["n_compared"].tolist() == [12]
    assert both.phase7.agreement("politeness")["n_compared"].tolist() == [4]
    with pytest.raises(UserError, match="a metric of the effects store"):
        both.phase7.agreement("cheerfulness")
