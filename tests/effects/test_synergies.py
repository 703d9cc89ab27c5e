"""Synergy of sets: q over all rows, and verdicts only where there is an effect."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from phase7.effects.inference import cell_statistics
from phase7.effects.scores import Scores
from phase7.effects.synergies import synergies
from phase7.experiment.stages import Cell
from phase7.experiment.statistics import Statistics
from phase7.vocabulary.heads import Head

METRICS = ("sentiment_positive", "politeness", "goemotions_joy", "logodds_joy")
A, B, C = Head(0, 1), Head(1, 0), Head(2, 1)
CELLS = [Cell((A,), "result"), Cell((B,), "result"), Cell((A, B), "result"), Cell((A, C), "result")]
STATS = Statistics(resamples=500)
N = 16


def scores(joint: dict[str, float], single: dict[str, float], noise: float = 0.1) -> Scores:
    """Heads that raise metrics by `single` each, and a set by `joint`; the control does nothing."""
    rng = np.random.default_rng(3)
    baseline = rng.normal(size=(len(METRICS), N))
    patched = baseline + rng.normal(0, noise, size=(len(CELLS), len(METRICS), N))
    for m, metric in enumerate(METRICS):
        patched[:2, m] += single.get(metric, 0.0)
        patched[2, m] += joint.get(metric, 0.0)
    control = np.repeat(baseline[None], len(CELLS), axis=0)
    return Scores(
        baseline=baseline, patched={"emotion": patched, "control": control}, changed={}, metrics=METRICS
    )


def found(one: Scores, sets=(2, 3)) -> dict[str, np.ndarray]:
    return synergies(CELLS, one, cell_statistics(one, STATS, 3), sets, STATS, 3)


def test_verdicts():
    """More than the sum, the sum, no effect to add up, and a head that was not tested alone."""
    made = scores(
        joint={"sentiment_positive": 2.0, "politeness": 1.0, "logodds_joy": 1.4},
        single={"sentiment_positive": 0.5, "politeness": 0.5, "logodds_joy": 0.5},
    )
    made.patched["emotion"][:, METRICS.index("goemotions_joy")] = made.baseline[2]
    made.patched["emotion"][2, METRICS.index("goemotions_joy"), :8] += np.resize([0.1, -0.1], 8)
    got = found(made)
    words = dict(zip(METRICS, got["synergy_verdict"][0], strict=True))
    assert words["sentiment_positive"] == "Yes" and words["logodds_joy"] == "Yes"
    assert words["goemotions_joy"] == "no effect" and words["politeness"] != "Yes"
    assert (got["synergy_verdict"][1] == "undetermined").all()
    assert np.isnan(got["synergy"][1]).all() and np.isnan(got["synergy_q_value"][1]).all()


def test_numbers_are_those_of_the_differences():
    made = scores(joint={"politeness": 1.0}, single={"politeness": 0.3})
    got = found(made)
    effect = made.patched["emotion"] - made.patched["control"]
    excess = effect[2] - effect[0] - effect[1]
    np.testing.assert_allclose(got["synergy"][0], excess.mean(axis=1), rtol=1e-12)
    for m in range(len(METRICS)):
        p = stats.permutation_test(
            (excess[m],), lambda x, axis: np.mean(x, axis=axis), permutation_type="samples",
            n_resamples=np.inf, vectorized=True,
        ).pvalue  # fmt: skip
        assert got["synergy_p_value"][0, m] == pytest.approx(p, abs=1e-10)
    # Texts and read-outs are families apart; every row counts, with an effect or without.
    text = got["synergy_p_value"][0, :3]
    np.testing.assert_allclose(got["synergy_q_value"][0, :3], stats.false_discovery_control(text))
    assert got["synergy_q_value"][0, 3] == got["synergy_p_value"][0, 3]
    np.testing.assert_allclose(
        got["synergy_equivalence_q"][0, :3],
        stats.false_discovery_control(got["synergy_equivalence_p"][0, :3]),
    )


def test_the_synergy_that_is_found_with_80_percent_power():
    got, rng = found(scores(joint={}, single={})), np.random.default_rng(5)
    made = scores(joint={}, single={})
    effect = made.patched["emotion"] - made.patched["control"]
    spread = (effect[2] - effect[0] - effect[1]).std(axis=1, ddof=1)
    for m, size in enumerate(got["synergy_detectable"][0]):
        drawn = rng.normal(size, spread[m], size=(4_000, N))
        power = (stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05).mean()
        assert power == pytest.approx(0.8, abs=0.03)


def test_the_gate_opens_for_a_single_head_alone():
    """A head with an effect that the set does not have: antagonism, which is judged."""
    got = found(scores(joint={}, single={"politeness": 0.8}))
    assert got["synergy_verdict"][0, METRICS.index("politeness")] == "Yes"
    assert got["synergy"][0, METRICS.index("politeness")] < 0
