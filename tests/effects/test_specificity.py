"""Specific effects by SciPy and by hand, and every verdict."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import false_discovery_control, permutation_test

from phase7.effects.inference import CellStatistics, cell_statistics
from phase7.effects.scores import Scores
from phase7.effects.specificity import Against, specificity, verdicts
from phase7.experiment.statistics import Statistics
from phase7.vocabulary.verdicts import ANY_EMOTION, NO_EFFECT, SPECIFIC, UNDETERMINED

METRICS = ("logodds_gratitude", "kl_path", "politeness")
N_CELLS, N_OTHERS, N_PROMPTS = 3, 2, 8
RNG = np.random.default_rng(5)
BASELINE = RNG.normal(size=(3, N_PROMPTS))
ARMS = {
    role: RNG.normal(0.5 * (role == "emotion"), 1, (N_CELLS, 3, N_PROMPTS))
    for role in ("emotion", "control")
}
PATCHED = RNG.normal(0.2, 1, (N_OTHERS, N_CELLS, 3, N_PROMPTS))
STATS = Statistics()


def scores(shares=None, arms=ARMS) -> Scores:
    return Scores(baseline=BASELINE, patched=arms, changed={}, metrics=METRICS, donor_shares=shares)


def against(shares=None) -> Against:
    return Against(names=("anger", "apology"), patched=PATCHED, donor_shares=shares)


def by_scipy(differences) -> float:
    test = permutation_test(
        (differences,), lambda x, axis: x.mean(axis=axis), permutation_type="samples", n_resamples=np.inf
    )
    return float(test.pvalue)


def test_specific_effects_are_paired_differences_of_the_two_emotions():
    found = specificity(scores(), against(), STATS, seed=1)
    differences = ARMS["emotion"] - PATCHED
    np.testing.assert_allclose(found["specific_delta"], differences.mean(axis=-1), atol=1e-12)
    others = PATCHED - ARMS["control"]
    np.testing.assert_allclose(found["other_delta"], others.mean(axis=-1), atol=1e-12)
    for metric, family in ((0, [0]), (2, [2])):
        p = np.array(
            [[by_scipy(differences[a, c, metric]) for c in range(N_CELLS)] for a in range(N_OTHERS)]
        )
        np.testing.assert_allclose(found["specific_p_value"][..., metric], p, atol=1e-10)
        # Read-outs and text are families of their own, over all cells and other emotions.
        q = false_discovery_control(p.ravel()).reshape(p.shape)
        np.testing.assert_allclose(found["specific_q_value"][..., family[0]], q, atol=1e-10)
        assert len(np.unique(p)) > 3
    assert np.isnan(found["specific_p_value"][..., 1]).all()  # a divergence has no direction


def test_without_a_control_the_others_are_compared_with_the_baseline():
    arms = {"emotion": ARMS["emotion"]}
    found = specificity(scores(arms=arms), against(), STATS, seed=1)
    np.testing.assert_allclose(found["other_delta"], (PATCHED - BASELINE).mean(axis=-1), atol=1e-12)


def test_the_p_holds_over_pairs_of_both_emotions_prompts():
    """The share of pair j in the specific effect is the difference of its shares in both net effects."""
    own = RNG.normal(1.0, 0.3, (N_CELLS, 3, 7))
    other = RNG.normal(0.8, 0.3, (N_OTHERS, N_CELLS, 3, 7))
    found = specificity(scores(own), against(other), STATS, seed=1)
    alone = specificity(scores(), against(), STATS, seed=1)
    n_larger = 0
    for a in range(N_OTHERS):
        for c in range(N_CELLS):
            shares = (own - other[a])[c, 0]
            agrees = shares.mean() * found["specific_delta"][a, c, 0] > 0
            p = by_scipy(shares) if agrees else 1.0
            expected = max(p, alone["specific_p_value"][a, c, 0])
            assert found["specific_p_value"][a, c, 0] == pytest.approx(expected, abs=1e-10)
            n_larger += expected > alone["specific_p_value"][a, c, 0]
    assert n_larger > 0
    # Where one of both has no shares there is nothing to flip.
    one_sided = specificity(scores(own), against(), STATS, seed=1)
    np.testing.assert_array_equal(one_sided["specific_p_value"], alone["specific_p_value"])


#: net Δ and q; then specific Δ, q, the other's own Δ, q for each of two other emotions; the verdict.
CASES = [
    (1.0, 0.01, [(0.5, 0.01, 0.4, 0.01), (0.9, 0.01, 0.0, 0.9)], SPECIFIC),
    (-1.0, 0.01, [(-0.5, 0.01, -0.4, 0.01), (-0.9, 0.01, 0.0, 0.9)], SPECIFIC),
    (1.0, 0.01, [(0.5, 0.01, 0.4, 0.01), (-0.9, 0.01, 2.0, 0.01)], UNDETERMINED),
    (1.0, 0.01, [(0.5, 0.06, 0.4, 0.01), (0.9, 0.01, 0.0, 0.9)], UNDETERMINED),
    (1.0, 0.01, [(0.1, 0.5, 0.9, 0.01), (0.0, 0.9, 1.0, 0.01)], ANY_EMOTION),
    (1.0, 0.01, [(-0.9, 0.01, 1.9, 0.01), (0.0, 0.9, 1.0, 0.01)], ANY_EMOTION),
    (1.0, 0.01, [(0.1, 0.5, 0.9, 0.01), (0.0, 0.9, 1.0, 0.06)], UNDETERMINED),
    (1.0, 0.01, [(0.1, 0.5, 0.9, 0.01), (2.0, 0.5, -1.0, 0.01)], UNDETERMINED),
    (1.0, 0.06, [(0.5, 0.01, 0.4, 0.01), (0.9, 0.01, 0.0, 0.9)], NO_EFFECT),
    (np.nan, np.nan, [(0.5, 0.01, 0.4, 0.01), (0.9, 0.01, 0.0, 0.9)], NO_EFFECT),
]


def test_every_verdict():
    own = CellStatistics(
        values={
            "net_delta": np.array([[case[0]] for case in CASES]),
            "net_q_value": np.array([[case[1]] for case in CASES]),
            "delta": np.full((len(CASES), 1), -5.0),
            "q_value": np.ones((len(CASES), 1)),
        }
    )
    names = ("specific_delta", "specific_q_value", "other_delta", "other_q_value")
    found = {
        name: np.array([[[case[2][a][i]] for case in CASES] for a in range(2)])
        for i, name in enumerate(names)
    }
    words = verdicts(own, found, has_control=True, alpha=0.05)
    assert words[:, 0].tolist() == [case[3] for case in CASES]
    assert set(verdicts(own, found, has_control=False, alpha=0.05)[:, 0]) == {NO_EFFECT}


def test_the_emotions_own_tests_are_those_without_others():
    found = cell_statistics(scores(), STATS, 1)
    assert specificity(scores(), against(), STATS, seed=1).keys() & found.values.keys() == set()
