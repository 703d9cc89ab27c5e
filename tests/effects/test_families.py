"""Families of tests: which are primary, what q and the adjusted p are of, and who is left out."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from phase7.effects.families import (
    adjusted_p,
    can_reject,
    cell_p_values,
    families_rule,
    primary_metrics,
    primary_tests,
    q_values,
)
from phase7.experiment.profile import Confirm, Profile, Readouts
from phase7.experiment.prompts import PromptSet
from phase7.experiment.statistics import Statistics
from phase7.experiment.tested import confirm_stage
from phase7.statistics import global_p, hierarchical_q, paired_summary, step_down_min_p
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import Head
from phase7.vocabulary.metrics import METRICS
from tests.effects.test_datasets import FILES

READ = ("logodds_joy", "kl_path", "logodds_joy_first", "kl_path_first", "logodds_anger")
NAMES = (*METRICS, *READ)
PRIMARY = ("sentiment_positive", "politeness", "goemotions_joy", "logodds_joy", "logodds_joy_first")
STATS = Statistics()
ENOUGH = 12.0


def stage(confirm: Confirm, stats: Statistics = STATS, joint=()):
    """The confirmation of a profile, planned and not run."""
    profile = Profile(
        name="made", models=("tiny",), emotions=("joy",), confirm=confirm, statistics=stats,
        readouts=Readouts(emotions=("joy", "anger")),
    )  # fmt: skip
    neutral, emotion = (
        PromptSet(name=name, path="", prompts=tuple(f"{name} {i}" for i in range(9)))
        for name in ("neutral", "joy")
    )
    return confirm_stage(profile, FILES, neutral, emotion, (), joint)


def declared(one) -> set[tuple[str, str, str]]:
    chosen = primary_tests(one, NAMES)
    return {(one.cells[c].label, one.cells[c].mode, NAMES[m]) for c, m in np.argwhere(chosen)}


def test_the_default_metrics():
    assert set(primary_metrics(NAMES, "joy", STATS)) == set(PRIMARY)
    # An emotion without a label of its own, and a run without read-outs.
    assert set(primary_metrics(METRICS, "boredom", STATS)) == {"sentiment_positive", "politeness"}


def test_the_metrics_that_a_profile_declares():
    stats = Statistics(primary_metrics=("logodds_{emotion}", "politeness"))
    assert primary_metrics(NAMES, "joy", stats) == ("politeness", "logodds_joy")
    assert primary_metrics(NAMES, "anger", stats) == ("politeness", "logodds_anger")


def test_the_primary_family_is_of_the_sets_in_the_primary_mode():
    confirm = Confirm(target_heads="0:1,2:0", modes=("result", "v_only"), lengths=())
    found = declared(stage(confirm, joint=[(Head(1, 0), Head(1, 1))]))
    sets = ("0:1,2:0", "1:0,1:1")
    assert found == {(label, "result", metric) for label in sets for metric in PRIMARY}
    other = declared(stage(confirm, Statistics(primary_modes=("result", "v_only"))))
    assert {mode for _, mode, _ in other} == {"result", "v_only"}


def test_a_single_target_is_declared_and_other_heads_are_not():
    confirm = Confirm(target_heads="0:1", head_sets=("1:0,1:1",), modes=("result",), lengths=())
    assert {label for label, _, _ in declared(stage(confirm))} == {"0:1", "1:0,1:1"}


def test_the_rule_says_what_is_declared():
    confirm = Confirm(target_heads="0:1,2:0", modes=("result", "v_only"), lengths=())
    rule = families_rule(stage(confirm, Statistics(primary_metrics=("politeness",))))
    assert "primary: politeness x the declared sets of heads x result (" in rule


# --- q ------------------------------------------------------------------------------------------


def test_each_family_is_corrected_by_itself():
    rng = np.random.default_rng(0)
    p, k = rng.random((3, len(NAMES))) ** 2, np.full((3, len(NAMES)), ENOUGH)
    primary = np.zeros(p.shape, dtype=bool)
    primary[0, [NAMES.index(name) for name in PRIMARY]] = True
    q = q_values(p, k, NAMES, STATS, primary)
    logits = np.broadcast_to([name in READ for name in NAMES], p.shape)
    for family in (primary, ~primary & logits, ~primary & ~logits):
        np.testing.assert_allclose(q[family], false_discovery_control(p[family]), rtol=1e-12)


def test_exploratory_q_are_of_two_steps():
    """Which cells, by all their tests that are not primary together, and then which tests."""
    rng = np.random.default_rng(3)
    differences = rng.normal(0.0, 1.0, size=(4, len(NAMES), 8))
    differences[1] += 1.5
    summary = paired_summary(differences, seed=0)
    primary = np.zeros(summary.p_value.shape, dtype=bool)
    primary[:, [NAMES.index(name) for name in PRIMARY]] = True
    tests = summary.p_value, summary.n_nonzero, NAMES, STATS, primary
    cell_p = cell_p_values(differences, *tests, seed=0)
    q, flat = q_values(*tests, cell_p=cell_p), q_values(*tests)
    np.testing.assert_array_equal(q[primary], flat[primary])
    assert (q[~primary] != flat[~primary]).any()
    logits = np.array([name in READ for name in NAMES])
    for kind, of_kind in (("text", ~logits), ("logits", logits)):
        family = ~primary & of_kind
        here = np.where(family[..., None], differences, np.nan)
        np.testing.assert_array_equal(cell_p[kind], global_p(here, seed=0))
        expected = hierarchical_q(np.where(family, summary.p_value, np.nan), cell_p[kind])
        np.testing.assert_array_equal(q[family], expected[family])
    assert (q[1] < 0.05).any() and cell_p["text"][1] == cell_p["text"].min()


def test_a_cells_p_is_of_the_tests_that_can_reject():
    differences = np.random.default_rng(4).normal(2.0, 1.0, size=(1, len(METRICS), 8))
    differences[0, 3:, 5:] = 0.0
    summary = paired_summary(differences, seed=0)
    found = cell_p_values(differences, summary.p_value, summary.n_nonzero, METRICS, STATS, seed=0)
    np.testing.assert_array_equal(found["text"], global_p(differences[:, :3], seed=0))
    assert np.isnan(found["logits"]).all()


def test_tests_that_cannot_reject_take_no_place():
    """With 5 differences other than 0 p is at least 1/16; whatever their p says."""
    p = np.full((2, len(METRICS)), 0.5)
    p[0, 0], k = 0.001, np.full(p.shape, 5.0)
    k[0, :4] = 6.0
    q = q_values(p, k, METRICS, STATS)
    assert q[0, 0] == pytest.approx(0.004)
    assert np.isfinite(q).sum() == 4 and np.isnan(q[k == 5]).all()
    whole = q_values(p, np.full(p.shape, 6.0), METRICS, STATS)
    assert whole[0, 0] == pytest.approx(0.07)
    # A primary test is declared, and stays in its family.
    primary = np.zeros(p.shape, dtype=bool)
    primary[1, 0] = True
    assert q_values(p, k, METRICS, STATS, primary)[1, 0] == 0.5


def test_the_rule_does_not_look_at_the_effect():
    rows = np.random.default_rng(1).normal(size=(40, 8)) * (np.arange(8) < np.arange(40)[:, None] % 9)
    one, other = paired_summary(rows, seed=0), paired_summary(np.abs(rows), seed=0)
    np.testing.assert_array_equal(can_reject(one.n_nonzero, STATS), can_reject(other.n_nonzero, STATS))
    assert not can_reject(np.array([np.nan, 0.0, 5.0]), STATS).any()
    np.testing.assert_array_equal(other.p_value < 0.05, can_reject(other.n_nonzero, STATS))


def test_what_was_not_tested_takes_no_place():
    p = np.full((1, len(NAMES)), np.nan)
    p[0, NAMES.index("logodds_joy")], p[0, NAMES.index("politeness")] = 0.01, 0.5
    q = q_values(p, np.full(p.shape, ENOUGH), NAMES, STATS, np.ones(p.shape, dtype=bool))
    assert q[0, NAMES.index("logodds_joy")] == pytest.approx(0.02)
    assert np.isnan(q[0, NAMES.index("goemotions_joy")])


# --- the adjusted p ---------------------------------------------------------------------------------


def made(n_pairs: int | None, seed: int = 0):
    """Two cells and three metrics, of which the last two have shares of donor pairs."""
    rng = np.random.default_rng(seed)
    net = rng.normal(0.9, 1.0, size=(2, 3, 9))
    p = paired_summary(net, seed=0).p_value
    shares = None if n_pairs is None else rng.normal(0.9, 1.0, size=(2, 3, n_pairs))
    donor_p = np.full(p.shape, np.nan)
    if shares is not None:
        shares[:, 0] = np.nan
        donor_p = paired_summary(shares, seed=0).p_value
    return net, p, shares, donor_p


def test_adjusted_over_recipients():
    net, p, _, donor_p = made(None)
    primary = np.ones(p.shape, dtype=bool)
    primary[1, 2] = False
    found = adjusted_p(net, p, primary, shares=None, donor_p=donor_p, seed=0)
    (expected,) = step_down_min_p([net[primary]], seed=0)
    np.testing.assert_allclose(found[primary], expected, rtol=1e-12)
    assert np.isnan(found[1, 2]) and (found[primary] > p[primary]).any()


def test_adjusted_over_recipients_and_donor_pairs():
    """Ten hypotheses in one family; a read-out has two, and gets the larger adjusted p."""
    net, p, shares, donor_p = made(7)
    primary = np.ones(p.shape, dtype=bool)
    both = np.fmax(p, donor_p)
    found = adjusted_p(net, both, primary, shares=shares, donor_p=donor_p, seed=0)
    over_recipients, over_pairs = step_down_min_p(
        [net.reshape(6, 9), shares[:, 1:].reshape(4, 7)], seed=0
    )
    expected = over_recipients.reshape(2, 3)
    expected[:, 1:] = np.maximum(expected[:, 1:], over_pairs.reshape(2, 2))
    np.testing.assert_allclose(found, np.maximum(expected, both), rtol=1e-12)
    alone = adjusted_p(net, p, primary, shares=None, donor_p=np.full(p.shape, np.nan), seed=0)
    assert (found > alone).any()


def test_a_prediction_of_the_other_sign_is_not_rescued():
    net, p, shares, donor_p = made(7)
    donor_p[0, 1] = 1.0
    found = adjusted_p(net, np.fmax(p, donor_p), np.ones(p.shape, dtype=bool), shares=shares,
                       donor_p=donor_p, seed=0)  # fmt: skip
    assert found[0, 1] == 1.0 and found[0, 2] < 1.0


def test_no_family_no_adjusted_p():
    net, p, shares, donor_p = made(7)
    nothing = np.zeros(p.shape, dtype=bool)
    for given in (None, shares):
        found = adjusted_p(net, p, nothing, shares=given, donor_p=donor_p, seed=0)
        assert np.isnan(found).all()


def test_adjusted_is_never_below_p():
    for seed in range(20):
        net, p, shares, donor_p = made(7, seed)
        found = adjusted_p(net, np.fmax(p, donor_p), np.ones(p.shape, dtype=bool), shares=shares,
                           donor_p=donor_p, seed=0)  # fmt: skip
        assert (found >= p).all() and (found <= 1).all()


# --- refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"primary_metrics": ("joyfulness",)}, "primary_metrics: expected names of metrics"),
        ({"primary_metrics": ("kl_path",)}, "metrics with a direction, which are tested, got 'kl_path'"),
        ({"primary_modes": ("result", "result")}, "primary_modes: expected some of"),
    ],
)
def test_what_cannot_be_declared(values, message):
    with pytest.raises(UserError, match=message):
        Statistics(**values)


def test_what_the_profile_does_not_measure_cannot_be_declared():
    confirm = Confirm(target_heads="0:1,2:0", modes=("result",), lengths=())
    for stats, message in (
        (Statistics(primary_modes=("v_only",)), r"primary_modes: expected modes of \[confirm\]"),
        (Statistics(primary_metrics=("logodds_apology",)), "primary_metrics: expected read-outs"),
        (Statistics(primary_metrics=("goemotions_{emotion}y",)), "primary_metrics: expected read-outs"),
    ):
        with pytest.raises(UserError, match=message):
            stage(confirm, stats)


def test_the_declaration_is_in_the_record():
    profile = dataclasses.asdict(Statistics(primary_metrics=("politeness",)))
    assert profile["primary_metrics"] == ("politeness",)
    assert set(itertools.chain(profile)) >= {"primary_modes", "alpha"}
