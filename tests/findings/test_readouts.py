"""What read-outs and positive controls say about a group, against the arrays of the tree."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from scipy.stats import nct, pearsonr, spearmanr, t

from phase7.findings.group import Group, groups
from phase7.findings.readouts import (
    Moved,
    first_sets,
    moved,
    random_like,
    sets_by_size,
    share,
    smallest_detectable,
    trust,
)
from tests.report.synthetic import Spec, tree

READ = ("logodds_gratitude", "kl_path", "logodds_gratitude_first", "kl_path_first")
SETTINGS = {"strongest_sets": ["0:1,1:2"], "random_sets": ["0:0,2:2"]}
SPEC = Spec(
    seed=3, planted=("1:2",), target="0:1,1:2", strongest=("1:2", "0:1", "2:0", "3:2"), sets=("0:0,2:2",),
    readouts=READ, swept_text=False, controls=("prompting", "shift 1"), unmoved=("politeness",),
    attributed=True, settings=SETTINGS,
)  # fmt: skip
HEADS = [(0, 1), (1, 2), (2, 0), (3, 2)]
LOGODDS, LABEL = "logodds_gratitude", "goemotions_gratitude"


_TREES: dict[str, xr.DataTree] = {}


def made(spec: Spec = SPEC) -> xr.DataTree:
    if repr(spec) not in _TREES:
        _TREES[repr(spec)] = tree(spec)
    return _TREES[repr(spec)]


def group(spec: Spec = SPEC) -> Group:
    return groups(made(spec))[0]


HALVES = ("discovery", "confirmation")


def node(name: str = "") -> xr.Dataset:
    return made()[f"tiny/gratitude/{name}".rstrip("/")].to_dataset()


def at_heads(dataset: xr.Dataset, name: str, metric: str, **where: str) -> np.ndarray:
    one = dataset[name].sel(metric=metric, mode="result", **where).transpose("layer", "head").values
    return np.array([one[head] for head in HEADS])


def test_trust_by_scipy_on_the_arrays():
    found, predicted = trust(group()), node("attribution").predicted_net_delta
    halves = [
        predicted.sel(half=half, metric=LOGODDS, mode="result").values.ravel()
        for half in ("discovery", "confirmation")
    ]
    exact = at_heads(node(), "net_delta", LOGODDS)
    assert found is not None and (found.metric, found.n_heads, found.n_patched) == (LOGODDS, 12, 4)
    assert found.split_half == pytest.approx(spearmanr(*halves).statistic)
    own = at_heads(node("attribution"), "predicted_net_delta", LOGODDS, half="confirmation")
    assert found.predicted == pytest.approx(pearsonr(exact, own).statistic)
    other = at_heads(node("attribution"), "predicted_net_delta", LOGODDS, half="discovery")
    assert found.predicted != pytest.approx(pearsonr(exact, other).statistic)
    on_text = at_heads(node(), "net_delta", LABEL)
    assert found.on_text == pytest.approx(spearmanr(exact, on_text).statistic)


def test_predictions_are_checked_on_the_drawn_heads_and_the_discovery_prompts():
    attribution = node("attribution").sel(metric=LOGODDS, mode="result")
    measured = attribution.checked_net_delta.values.ravel()
    drawn = np.isfinite(measured)
    halves = {half: attribution.predicted_net_delta.sel(half=half).values.ravel() for half in HALVES}
    found = trust(group())
    assert found is not None and found.n_checked == drawn.sum() == 6
    assert found.checked == pytest.approx(
        pearsonr(measured[drawn], halves["discovery"][drawn]).statistic
    )
    other = pearsonr(measured[drawn], halves["confirmation"][drawn]).statistic
    assert found.checked != pytest.approx(other)


def test_kept_is_the_confirmations_size_over_the_discoverys():
    held = np.abs(at_heads(node(), "net_delta", LOGODDS)).mean()
    chosen = np.abs(at_heads(node("sweep"), "net_delta", LOGODDS)).mean()
    assert trust(group()).kept == pytest.approx(held / chosen)
    assert abs(held / chosen - 1) > 1e-3


def test_the_order_of_the_halves_does_not_matter():
    turned = made().copy()
    turned["tiny/gratitude/attribution"] = xr.DataTree(node("attribution").isel(half=[1, 0]))
    assert trust(groups(turned)[0]) == trust(group())


def test_predictions_of_the_discovery_are_not_set_beside_the_confirmation():
    without = made().copy()
    whole, names = node("attribution"), ("predicted_delta", "predicted_net_delta")
    kept = whole.assign({name: whole[name].where(whole.half == "discovery") for name in names})
    without["tiny/gratitude/attribution"] = xr.DataTree(kept)
    found = trust(groups(without)[0])
    assert math.isnan(found.predicted) and math.isnan(found.split_half)


@pytest.mark.slow
def test_what_is_not_there_is_nan():
    found = trust(group(replace(SPEC, sweep=False)))
    assert math.isnan(found.split_half) and math.isnan(found.kept)
    assert math.isfinite(found.predicted)  # predicted for all prompts
    assert math.isnan(trust(group(replace(SPEC, attributed=False))).predicted)
    few = trust(group(replace(SPEC, strongest=("1:2", "0:1"))))  # two points always lie on a line
    assert few.n_patched == 2 and math.isnan(few.predicted) and math.isnan(few.on_text)
    assert math.isnan(trust(group(replace(SPEC, missing=(LABEL, "gratitude_keywords")))).on_text)
    assert trust(group(replace(SPEC, readouts=()))) is None
    assert trust(group(replace(SPEC, readouts=("kl_path",)))) is None


def test_without_a_control_the_plain_numbers_are_compared():
    plain = replace(SPEC, control=False, attributed=True)
    data = made(plain)["tiny/gratitude"].to_dataset()
    predicted = made(plain)["tiny/gratitude/attribution"].to_dataset()
    expected = pearsonr(
        at_heads(data, "delta", LOGODDS),
        at_heads(predicted, "predicted_delta", LOGODDS, half="confirmation"),
    )
    assert trust(group(plain)).predicted == pytest.approx(expected.statistic)


def test_moved_is_the_controls_node():
    found = moved(group(), [LOGODDS, "politeness"])
    assert [(one.control, one.metric) for one in found] == [
        (control, metric) for control in SPEC.controls for metric in (LOGODDS, "politeness")
    ]
    stored = node("positive_controls").sel(positive_control="prompting", metric=LOGODDS)
    assert found[0] == Moved(
        control="prompting", metric=LOGODDS, delta=float(stored.delta), low=float(stored.ci_low),
        high=float(stored.ci_high), p=float(stored.p_value), q=float(stored.q_value),
        d_z=float(stored.effect_size),
    )  # fmt: skip
    assert [one.is_moved for one in found] == [True, False, True, False]
    assert moved(group(replace(SPEC, controls=())), [LOGODDS]) == []


@pytest.mark.parametrize(
    ("low", "high", "is_moved", "is_known"),
    [
        (0.1, 0.2, True, True), (-0.2, -0.1, True, True), (-0.1, 0.2, False, True),
        (0.0, 0.2, False, True), (math.nan, math.nan, False, False),
    ],
)  # fmt: skip
def test_an_interval_that_holds_zero_moves_nothing(low, high, is_moved, is_known):
    one = Moved(control="prompting", metric=LOGODDS, delta=0.1, low=low, high=high, p=1, q=1, d_z=0)
    assert (one.is_moved, one.is_known) == (is_moved, is_known)


def test_share_is_the_cells():
    cell = group().confirmed["1:2", "result"]
    stored = node().sel(layer=1, head=2, mode="result", metric=LABEL)
    found = share(cell, LABEL)
    assert (found.value, found.low, found.high) == (
        float(stored.prompting_share), float(stored.prompting_share_low), float(stored.prompting_share_high)
    )  # fmt: skip
    assert found.low < found.value < found.high
    assert math.isnan(share(cell, "politeness").value)


def test_the_smallest_detectable_effect_by_hand():
    data = node()
    spreads = []
    for layer, head in HEADS:
        one = data.sel(layer=layer, head=head, mode="result", metric=LABEL)
        difference = (one.patched - one.control_patched).values
        spreads.append(np.std(difference[np.isfinite(difference)], ddof=1))
    found = smallest_detectable(group(), LABEL)
    shift, threshold = found / (np.median(spreads) / math.sqrt(12)), t.ppf(0.975, 11)
    assert nct.sf(threshold, 11, shift) == pytest.approx(0.8, abs=1e-6)
    assert smallest_detectable(group(), LABEL, power=0.9) > found


def test_nothing_is_detectable_where_nothing_varies():
    still = made().copy(deep=True)
    data = node().copy(deep=True)
    for name in ("patched", "control_patched"):
        data[name] = data[name].where(data.metric != LABEL, 0.0)
    still["tiny/gratitude"] = still["tiny/gratitude"].assign(
        {name: data[name] for name in ("patched", "control_patched")}
    )
    assert math.isnan(smallest_detectable(groups(still)[0], LABEL))
    assert math.isnan(smallest_detectable(group(replace(SPEC, missing=(LABEL,))), LABEL))
    assert math.isnan(smallest_detectable(group(replace(SPEC, n_confirmation=1)), LABEL))


def sized(**settings: list[str]) -> Group:
    """A group with these sets; their heads do not matter."""
    spec = Spec(target="0:0,0:1,0:2,1:0,1:1,1:2,2:0,2:1,2:2,3:0", sets=("0:0,2:2", "0:1,3:2"))
    return groups(tree(replace(spec, settings=settings)))[0]


def test_sets_are_ordered_by_size_and_each_stands_once():
    ten, two, other = "0:0,0:1,0:2,1:0,1:1,1:2,2:0,2:1,2:2,3:0", "0:0,2:2", "0:1,3:2"
    one = sized(strongest_sets=[ten, two], random_sets=[other, other])
    assert sets_by_size(one) == [two, other, ten]
    assert first_sets(one) == [two, ten]
    assert random_like(one, two) == [other] and random_like(one, ten) == []
    assert [one.short(label) for label in (ten, two, other)] == ["first 10", "first 2", "random 2"]
    absent = sized(strongest_sets=[two, "0:0,3:2"], random_sets=[])
    assert sets_by_size(absent) == [two]


def test_sets_of_one_size_are_numbered():
    one = sized(strongest_sets=[], random_sets=["0:0,2:2", "0:1,3:2"])
    assert [one.short(label) for label in ("0:0,2:2", "0:1,3:2")] == ["random 2", "random 2 (2)"]
    # The name of the larger begins with that of the smaller.
    tens = ["0:0,0:1,0:2,1:0,1:1,1:2,2:0,2:1,2:2,3:0"]
    assert sized(strongest_sets=[*tens, "1:1"]).short("1:1") == "first 1"


@pytest.mark.slow
def test_what_maps_and_tables_of_the_sweep_show():
    one = group()
    assert one.is_sweep_read and one.swept_metrics == (LOGODDS,)
    assert one.is_swept(LOGODDS) and not one.is_swept(LABEL) and not one.is_swept(None)
    both = group(replace(SPEC, swept_text=True))
    assert not both.is_sweep_read and both.swept_metrics == both.key_metrics
    assert both.is_swept(LOGODDS) and both.is_swept(LABEL) and both.is_swept(None)
    older = group(replace(SPEC, readouts=(), attributed=False, swept_text=True))
    assert not older.is_sweep_read and older.is_swept(None)
    others = group(replace(SPEC, readouts=("logodds_anger", "kl_path")))
    assert others.swept_metrics == ("logodds_anger",)
