"""The effects tree of made-up texts: what its control columns hold, and what its labels call the donors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.stats import false_discovery_control

from phase7.effects.datasets import GroupBuilder
from phase7.effects.scores import StageTexts, score_stage
from phase7.experiment.profile import Confirm, Patching, Profile, Sampling
from phase7.experiment.prompts import PromptSet
from phase7.experiment.tested import confirm_stage
from phase7.models.files import ModelFiles
from phase7.statistics import global_p, hierarchical_q, paired_summary, step_down_min_p
from phase7.vocabulary.donors import CONTROL_KINDS, DONOR_KINDS, donor_words
from phase7.vocabulary.heads import Head
from tests import stages

FILES = ModelFiles(
    name="tiny", folder=Path("tiny"), source="made up", revision=None, fingerprint="ab" * 32,
    n_layers=3, n_heads=2, has_chat_template=False,
)  # fmt: skip
PROFILE = Profile(
    name="made",
    models=("tiny",),
    emotions=("gratitude",),
    sampling=Sampling(samples=1, max_new_tokens=8, seed=5),
    confirm=Confirm(target_heads="0:1,2:0", modes=("result", "v_only"), lengths=()),
)


def datasets(patching: Patching, joint: Sequence[tuple[Head, ...]] = ()) -> dict[str, xr.Dataset]:
    """Of texts that are all different, with random scores; `joint`: sets tested as a whole alone."""
    neutral, emotion = (
        PromptSet(name=name, path="", prompts=tuple(f"{name} {i}" for i in range(9)))
        for name in ("neutral", "gratitude")
    )
    stage = confirm_stage(replace(PROFILE, patching=patching), FILES, neutral, emotion, (), joint)
    names = {
        (role, cell, prompt): f"{role} {cell.label} {cell.mode} {prompt}"
        for role in stage.roles
        for cell in stage.cells
        for prompt in stage.recipients
    }
    texts = StageTexts(
        stage=stage,
        baseline={8: {prompt: [f"baseline {prompt}"] for prompt in stage.recipients}},
        patched={
            (role, 8): {(c, p): [text] for (r, c, p), text in names.items() if r == role}
            for role in stage.roles
        },
        changed={(role, 8): {(c, p): [True] for r, c, p in names if r == role} for role in stage.roles},
        kl_first_token_nats={
            role: {(c, p): 0.1 for r, c, p in names if r == role} for role in stage.roles
        },
    )
    scores = score_stage(texts, stages.Numbers())
    return GroupBuilder(scores, None, PROFILE.statistics).datasets(texts, None)


@pytest.fixture(scope="module")
def plain() -> dict[str, xr.Dataset]:
    return datasets(Patching())


@pytest.mark.parametrize(
    ("name", "place"), [("", {"layer": 0, "head": 1}), ("head_sets", {"head_set": "0:1,2:0"})]
)
def test_the_interval_of_the_control_is_by_the_same_test(plain, name, place):
    cell = plain[name].sel(place | {"mode": "v_only"})
    difference = (cell["control_patched"] - cell["baseline"]).transpose("metric", "prompt").values
    summary = paired_summary(difference, seed=PROFILE.sampling.seed)
    np.testing.assert_array_equal(cell["control_ci_low"], summary.ci_low)
    np.testing.assert_array_equal(cell["control_ci_high"], summary.ci_high)
    assert (cell["control_ci_low"] < cell["control_delta"]).all()
    assert (cell["control_delta"] < cell["control_ci_high"]).all()


def test_cells_that_were_not_tested_have_no_interval(plain):
    tested = plain[""]["n_prompts"] > 0
    assert 0 < int(tested.sum()) < tested.size
    finite = np.isfinite(plain[""]["control_ci_low"]).all("metric")
    xr.testing.assert_equal(finite.drop_attrs(), tested.drop_attrs())


def test_without_a_control_its_interval_is_missing():
    made = datasets(Patching(control="none"))
    for name in ("control_delta", "control_ci_low", "control_ci_high"):
        assert made[""][name].isnull().all()
    assert np.isfinite(made[""]["ci_low"]).any()


def test_a_set_whose_heads_were_not_tested_alone_has_no_synergy(plain):
    """Heads 0:1 and 2:0 are: neither an unknown head nor one of a known and an unknown will do."""
    made = datasets(Patching(), [(Head(1, 0), Head(1, 1)), (Head(0, 1), Head(1, 0))])["head_sets"]
    tested = made.sel(mode=["result", "v_only"])
    numbers = [
        str(name) for name in made if str(name).startswith("synergy") and "verdict" not in str(name)
    ]
    assert len(numbers) == 9
    for label in ("1:0,1:1", "0:1,1:0"):
        one = tested.sel(head_set=label)
        for name in numbers:
            assert one[name].isnull().all()
        assert (one.synergy_verdict == "undetermined").all()
        assert one.net_delta.notnull().all() and one.net_p_value.notnull().all()
    # The family of the other sets' q has not grown by these.
    known = tested.sel(head_set="0:1,2:0")
    for name in [*numbers, "synergy_verdict"]:
        before = plain["head_sets"][name].sel(head_set="0:1,2:0", mode=["result", "v_only"])
        np.testing.assert_array_equal(known[name], before)
    differs = known.synergy_n_nonzero >= 6
    np.testing.assert_array_equal(known.synergy_q_value.notnull(), differs)
    assert differs.any()


def words(made: dict[str, xr.Dataset]) -> dict[str, str]:
    """Everything the labels say, by variable."""
    return {
        str(name): f"{variable.attrs['long_name']}; {variable.attrs['comment']}"
        for dataset in made.values()
        for name, variable in dataset.variables.items()
    }


def test_every_kind_of_donor_and_control_has_its_words():
    for kinds in (CONTROL_KINDS, DONOR_KINDS):
        assert len({donor_words(kind) for kind in kinds}) == len(kinds)


@pytest.mark.parametrize("kind", CONTROL_KINDS)
def test_the_labels_name_the_control_that_ran(kind):
    said = words(datasets(Patching(control=kind)))
    named = [name for name, text in said.items() if donor_words(kind) in text]
    assert {"control_delta", "control_patched", "control_kl_first_token", "control_text"} <= set(named)
    assert {"control_changed_share"} <= set(named)
    for other in set(CONTROL_KINDS) - {kind}:
        assert [name for name, text in said.items() if donor_words(other) in text] == []
    assert not any("{" in text for text in said.values())


@pytest.mark.parametrize("kind", ["mean", "paired", "zero"])
def test_the_labels_name_the_donor_that_ran(kind):
    said = words(datasets(Patching(donor=kind)))
    for name in ("delta", "patched", "patched_text", "changed_share"):
        assert donor_words(kind) in said[name]
    assert ("emotion donor" in said["delta"]) == (kind != "zero")


def test_the_primary_family_is_in_the_datasets():
    """Of the sets in the primary mode: q in a family of their own, and the adjusted p beside it."""
    made = datasets(Patching(), [(Head(1, 0), Head(1, 1)), (Head(0, 1), Head(1, 0))])
    sets = made["head_sets"]
    names = ["sentiment_positive", "politeness", "goemotions_gratitude"]
    expected = sets.metric.isin(names) & (sets["mode"] == "result")
    np.testing.assert_array_equal(sets.is_primary, expected.broadcast_like(sets.is_primary))
    here = sets.sel(mode="result", metric=names)
    q = false_discovery_control(here["net_p_value"].values.ravel())
    np.testing.assert_allclose(here["net_q_value"].values.ravel(), q)
    net = (here.patched - here.control_patched).transpose(..., "prompt").values.reshape(9, -1)
    (adjusted,) = step_down_min_p([net], seed=PROFILE.sampling.seed)
    order = here["p_adjusted"].transpose(*here.patched.transpose(..., "prompt").dims[:-1])
    np.testing.assert_allclose(order.values.ravel(), adjusted)
    assert sets["p_adjusted"].where(~sets.is_primary).isnull().all()
    assert not made[""].is_primary.any() and made[""].p_adjusted.isnull().all()
    p, q, net = (
        np.concatenate(of_all) for of_all in zip(*map(_explored, (made[""], sets)), strict=True)
    )
    expected = hierarchical_q(p, global_p(net, seed=PROFILE.sampling.seed))
    assert np.isfinite(expected).any()
    np.testing.assert_allclose(q, expected)


def _explored(data):
    """p and q [cell, metric] and net differences [cell, metric, prompt] of a Dataset's exploratory tests."""
    dims = [dim for dim in data.net_p_value.dims if dim != "metric"]
    in_order = data.stack(cell=dims).transpose("cell", "metric", ...)
    here = in_order.where(~in_order.is_primary & in_order.net_q_value.notnull())
    return here.net_p_value.values, here.net_q_value.values, (here.patched - here.control_patched).values


def test_the_number_of_prompts_that_differ_is_beside_every_test(plain):
    for name in ("", "head_sets"):
        one = plain[name]
        net = (one.patched - one.control_patched).transpose(*one.net_p_value.dims, "prompt")
        expected = (net != 0).where(net.notnull()).sum("prompt")
        tested = one.net_p_value.notnull()
        assert tested.any()
        np.testing.assert_array_equal(one.net_n_nonzero.where(tested), expected.where(tested))
    assert {"n_nonzero", "net_n_nonzero"} <= set(plain["lengths"])
