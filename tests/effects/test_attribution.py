"""Attributions as arrays, each against a loop over entries that say whose they are."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from phase7.effects.attribution import (
    StageAttribution,
    as_readouts,
    attribution_dataset,
    gather_attribution,
)
from phase7.experiment.attribution import AttributionPlan
from phase7.experiment.declared import Readouts
from phase7.experiment.readouts import ReadoutPlan, WordSet
from phase7.experiment.stages import Cell, Stage
from phase7.vocabulary.heads import Head
from phase7.vocabulary.metrics import METRICS
from phase7.vocabulary.modes import MODES
from tests import stages
from tests.stages import FILES, changed

PROFILE = replace(stages.PROFILE, readouts=Readouts(emotions=("joy",), words=("the",)))
PROFILE = changed("confirm", PROFILE, modes=("pattern_v", "result"))
SETS = (
    WordSet(name="joy", words=("joy",), is_strict=False),
    WordSet(name="words", words=("the",), is_strict=True),
)
ALL_HEADS = [Head(i, j) for i in range(FILES.n_layers) for j in range(FILES.n_heads)]
N_METRICS = 4


def plan_of(stage: Stage) -> AttributionPlan:
    return AttributionPlan(readouts=ReadoutPlan(stage=stage, sets=SETS))


def entry(plan: AttributionPlan, index: int) -> dict[str, Any]:
    """Numbers of one recipient's own."""
    rng = np.random.default_rng(index)
    shape = (len(plan.modes), N_METRICS, FILES.n_layers, FILES.n_heads)
    made: dict[str, Any] = {
        "baseline": rng.normal(size=N_METRICS),
        "effects": {role: rng.normal(size=shape) for role in plan.stage.roles},
    }
    return made | ({"pairs": rng.normal(size=(*shape, len(plan.pairs)))} if plan.pairs else {})


def gathered(stage: Stage, order: int = 1) -> StageAttribution:
    plan = plan_of(stage)
    return gather_attribution(plan, [(i, entry(plan, i)) for i in stage.recipients[::order]])


STAGES = {"sweep": stages.sweep(PROFILE), "confirm": stages.confirm(PROFILE)}


@pytest.fixture(params=STAGES)
def found(request) -> StageAttribution:
    return gathered(STAGES[request.param])


def test_every_effect_is_in_its_place(found):
    plan = plan_of(found.stage)
    for p, index in enumerate(plan.stage.recipients):
        own = entry(plan, index)
        np.testing.assert_array_equal(found.baseline[:, p], own["baseline"])
        for role in ("emotion", "control"):
            np.testing.assert_array_equal(found.heads[role][..., p], own["effects"][role])


def test_a_recipient_has_no_part_in_the_share_of_its_own_pair(found):
    """A loop over pairs and recipients; neutral prompt j is of pair j."""
    plan, n_left_out = plan_of(found.stage), 0
    assert plan.pairs == (0, 1, 2, 3)
    for j in plan.pairs:
        parts = []
        for index in plan.stage.recipients:
            if index == j:
                n_left_out += 1
            else:
                parts.append(entry(plan, index)["pairs"][..., j])
        np.testing.assert_allclose(found.pairs[..., j], sum(parts) / len(parts), rtol=1e-12)
    assert n_left_out == 2  # of pairs 0 and 2, or 1 and 3


def test_a_recipient_has_no_part_in_the_share_of_a_pair_that_holds_its_text():
    """Emotion prompt 2 is neutral prompt 3: that recipient is left out of the shares of pairs 2 and 3."""
    prompts = ("gratitude 0", "gratitude 1", "neutral 3", "gratitude 3")
    found = gathered(stages.confirm(PROFILE, emotion=replace(stages.GRATITUDE, prompts=prompts)))
    assert found.stage.recipients == (1, 3, 5)
    for pair, recipients in {0: (1, 3, 5), 1: (3, 5), 2: (1, 5), 3: (1, 5)}.items():
        expected = np.mean(
            [entry(plan_of(found.stage), i)["pairs"][..., pair] for i in recipients], axis=0
        )
        np.testing.assert_allclose(found.pairs[..., pair], expected)


def test_the_order_of_the_recipients_does_not_matter(found):
    turned = gathered(found.stage, order=-1)
    np.testing.assert_array_equal(turned.baseline, found.baseline)
    np.testing.assert_allclose(turned.pairs, found.pairs, rtol=1e-12)
    for role in found.heads:
        np.testing.assert_array_equal(turned.heads[role], found.heads[role])


def test_a_pair_whose_only_recipient_is_its_own_has_no_share():
    one = gathered(stages.confirm(changed("confirm", PROFILE, n_prompts=1)))
    assert one.stage.recipients == (1,)
    assert np.isnan(one.pairs[..., 1]).all()
    assert np.isfinite(one.pairs[..., [0, 2, 3]]).all()


@pytest.mark.parametrize(
    ("patching", "roles"),
    [({"control": "none"}, ["emotion"]), ({"donor": "paired"}, ["emotion", "control"])],
)
def test_without_pairs_there_are_no_shares(patching, roles):
    one = gathered(stages.sweep(changed("patching", PROFILE, **patching)))
    assert one.pairs.shape[-1] == 0 and list(one.heads) == roles


SET = Cell((Head(0, 1), Head(0, 3), Head(2, 3)), "result")
CELLS = (SET, replace(SET, mode="pattern_v"), Cell((Head(1, 2),), "pattern_v"))


def test_a_sets_prediction_is_the_sum_over_its_heads_in_its_mode():
    """In the vocabulary's order of modes, whatever the profile's."""
    found = gathered(stages.confirm(PROFILE))
    assert found.modes == ("result", "pattern_v")
    for role in ("emotion", "control"):
        got = found.of_cells(CELLS, role)
        assert got.shape == (3, N_METRICS, 3)
        for (c, cell), m, (p, index) in itertools.product(
            enumerate(CELLS), range(N_METRICS), enumerate(found.stage.recipients)
        ):
            mode = {"result": 0, "pattern_v": 1}[cell.mode]
            effects = entry(plan_of(found.stage), index)["effects"][role][mode, m]
            expected = sum(effects[head.layer, head.head] for head in cell.heads)
            assert got[c, m, p] == pytest.approx(expected, rel=1e-12)


def test_a_sets_shares_are_the_sums_over_its_heads():
    found = gathered(stages.confirm(PROFILE))
    got = found.shares(CELLS)
    assert got.shape == (3, N_METRICS, 4)
    for c, cell in enumerate(CELLS):
        mode = {"result": 0, "pattern_v": 1}[cell.mode]
        expected = sum(found.pairs[mode, :, head.layer, head.head] for head in cell.heads)
        np.testing.assert_allclose(got[c], expected, rtol=1e-12)


def test_predictions_stand_in_the_place_of_readouts(found):
    """Baseline plus what is predicted; divergences are not predicted."""
    stage, names = found.stage, plan_of(found.stage).readouts.metrics
    readouts = as_readouts(found, names)
    assert readouts.metrics == names
    assert names[2] == "kl_path" and names[5] == "kl_path_first"
    directed = [0, 1, 3, 4]
    np.testing.assert_array_equal(readouts.baseline[directed], found.baseline)
    assert np.isnan(readouts.baseline[[2, 5]]).all()
    for role in ("emotion", "control"):
        patched = readouts.patched[role]
        assert patched.shape == (len(stage.cells), 6, len(stage.recipients))
        assert np.isnan(patched[:, [2, 5]]).all()
        for c, cell in enumerate(stage.cells):
            expected = found.baseline + found.of_cells([cell], role)[0]
            np.testing.assert_array_equal(patched[c, directed], expected)
    assert (readouts.n_self_rows, readouts.max_self_logit_gap) == (0, 0.0)


def test_the_dataset_has_everything_in_its_place():
    """Both halves, with modes of their own, on a metric axis that holds texts as well."""
    halves = {"discovery": gathered(STAGES["sweep"]), "confirmation": gathered(STAGES["confirm"])}
    metrics = (*METRICS, *plan_of(STAGES["sweep"]).readouts.metrics)
    made = attribution_dataset(halves, metrics)
    assert made.predicted_delta.dims == ("half", "layer", "head", "mode", "metric")
    n_filled = 0
    for half, one in halves.items():
        entries = [entry(plan_of(one.stage), index)["effects"] for index in one.stage.recipients]
        for (m, mode), (k, metric), head in itertools.product(
            enumerate(one.modes), enumerate(one.metrics), ALL_HEADS
        ):
            emotion, control = (
                np.mean([e[role][m, k, head.layer, head.head] for e in entries])
                for role in ("emotion", "control")
            )
            place = (head.layer, head.head, MODES.index(mode), metrics.index(metric))
            got = made.sel(half=half).predicted_delta.values[place]
            net = made.sel(half=half).predicted_net_delta.values[place]
            np.testing.assert_allclose([got, net], [emotion, emotion - control], rtol=1e-10)
            n_filled += 1
    for values in made.data_vars.values():
        assert np.isfinite(values).sum() == n_filled == 2 * 12 * 2 * N_METRICS


def test_without_a_control_there_is_no_net_prediction():
    one = gathered(stages.sweep(changed("patching", PROFILE, control="none")))
    made = attribution_dataset({"discovery": one}, one.metrics)
    assert np.isfinite(made.predicted_delta.sel(half="discovery")).any()
    assert np.isnan(made.predicted_net_delta).all()
