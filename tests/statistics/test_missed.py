"""Bounds on what a screen missed, against enumeration, SciPy and simulated screens."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import hypergeom, spearmanr

from phase7.statistics.missed import (
    largest_missed,
    n_larger,
    n_splits,
    random_signs,
    rank_correlation,
    recall,
)


@pytest.mark.parametrize(("n", "drawn"), [(250, 20), (30, 29), (30, 5), (12, 1), (7, 7), (5, 0)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_number_of_larger_ones_is_that_of_the_hypergeometric_distribution(n, drawn, confidence):
    found = n_larger(n, drawn, confidence=confidence)
    none = [hypergeom.pmf(0, n, k, drawn) for k in range(n - drawn + 1)]
    if found < n - drawn:
        assert none[found + 1] <= 1 - confidence
    assert none[found] > 1 - confidence


def test_as_many_are_larger_as_was_said_in_nearly_all_of_all_samples():
    """By going through all samples of 4 of 12 units: the claim fails in at most one of twenty."""
    samples = list(itertools.combinations(range(12), 4))
    larger = [sum(unit > max(sample) for unit in range(12)) for sample in samples]
    allowed = n_larger(12, 4)
    assert np.mean(np.array(larger) > allowed) <= 0.05
    assert np.mean(np.array(larger) > allowed - 1) > 0.05


@pytest.mark.parametrize(("confidence", "m"), [(0.5, 1), (0.75, 2), (0.9, 4), (0.95, 5), (0.99, 7)])
def test_as_many_splits_as_the_confidence_takes(confidence, m):
    assert n_splits(confidence) == m
    assert 1 - 2.0**-m >= confidence > 1 - 2.0 ** (1 - m)


def test_signs_are_fair_coins_of_the_seed():
    signs = random_signs(400, 50, seed=3)
    assert signs.shape == (50, 400) and set(np.unique(signs)) == {-1, 1}
    assert abs(signs.mean()) < 4 / math.sqrt(signs.size)
    np.testing.assert_array_equal(signs, random_signs(400, 50, seed=3))
    assert (signs != random_signs(400, 50, seed=4)).any()


def test_the_bound_is_worked_out_by_hand():
    predicted, signs = [[1.0, -2.0, 0.5]], [[1, 1, -1], [-1, 1, 1]]
    differences = [[4.0, -2.0]]  # predicted: -1.5 and -2.5
    np.testing.assert_allclose(largest_missed(predicted, signs, differences), [2.0 + 5.5])


@pytest.mark.parametrize("n_units", [1, 2, 3, 6])
@pytest.mark.parametrize("seed", range(3))
def test_every_split_reaches_every_unit_with_at_least_one_half(n_units, seed):
    """Over all coins, with effects that add up; and with interactions, for the effect in company."""
    draws = np.random.default_rng(seed)
    effects = draws.standard_cauchy(n_units)
    coins = np.array(list(itertools.product((1, -1), repeat=n_units)))
    for unit in range(n_units):
        assert np.mean(np.abs(coins @ effects) >= abs(effects[unit]) - 1e-12) >= 0.5
    between = np.triu(draws.standard_normal((n_units, n_units)), 1)

    def joint(inside: np.ndarray) -> float:
        return float(inside @ effects + inside @ between @ inside)

    sides = (coins + 1) // 2
    differences = np.array([joint(side) - joint(1 - side) for side in sides])
    for unit in range(n_units):
        in_company = []
        for side in sides:
            without = [np.where(np.arange(n_units) == unit, 0, s) for s in (side, 1 - side)]
            added = [np.where(np.arange(n_units) == unit, 1, s) for s in without]
            gains = [joint(a) - joint(w) for a, w in zip(added, without, strict=True)]
            in_company.append(np.mean(gains))
        assert np.mean(np.abs(differences) >= np.abs(in_company) - 1e-12) >= 0.5


def test_the_bound_covers_the_largest_as_often_as_it_says():
    """1,000 screens: heavy tails, and predictions that miss the largest effect altogether."""
    m, covered, sizes = n_splits(0.95), [], []
    for seed in range(1_000):
        draws = np.random.default_rng([seed, 5])
        effects = draws.standard_t(2, size=60)
        predicted = effects + 0.05 * draws.standard_normal(60)
        largest = int(np.abs(effects).argmax())
        predicted[largest] = 0.0
        signs = random_signs(60, m, seed=seed)
        bound = largest_missed(predicted, signs, signs @ effects)
        covered.append(bound >= abs(effects[largest]))
        sizes.append(bound / abs(effects[largest]))
    assert np.mean(covered) >= 0.95
    assert np.median(sizes) < 2.5  # it says something
    few = [
        largest_missed(np.zeros(60), s := random_signs(60, 1, seed=k), s @ np.eye(60)[0]) >= 1 + 1e-9
        for k in range(20)
    ]
    assert not any(few)  # liveness: a bound can be met exactly, and does not grow by itself


def test_nothing_measured_bounds_nothing():
    assert largest_missed(np.zeros(3), np.zeros((0, 3)), np.zeros(0)) == np.inf
    assert largest_missed(np.zeros(0), np.zeros((2, 0)), np.zeros(2)) == 0
    assert math.isnan(largest_missed([1.0, 2.0], [[1, -1]], [np.nan]))
    with pytest.raises(ValueError, match="expected signs"):
        largest_missed(np.zeros(3), np.ones((2, 4)), np.zeros(2))
    with pytest.raises(ValueError, match="n_drawn: expected 0 to 3, got 4"):
        n_larger(3, 4)
    for bad in (0.0, 1.0):
        with pytest.raises(ValueError, match="confidence"):
            n_splits(bad)
        with pytest.raises(ValueError, match="confidence"):
            n_larger(3, 2, confidence=bad)


def test_recall_and_rank_correlation():
    scores, effects = [3.0, -5.0, 0.1, 2.0], [-9.0, 1.0, 0.2, 8.0]
    assert recall(scores, effects, 2) == 0.5
    assert recall(scores, effects, 4) == 1.0
    assert math.isnan(recall(scores, effects, 0)) and math.isnan(recall(scores, effects, 5))
    draws = np.random.default_rng(0)
    one, other = draws.integers(9, size=(2, 40)).astype(float)
    other[3] = np.nan
    kept = np.isfinite(other)
    expected = spearmanr(one[kept], other[kept]).statistic
    assert rank_correlation(one, other) == pytest.approx(expected, abs=1e-12)
    assert math.isnan(rank_correlation([1, 2], [3, 4])) and math.isnan(
        rank_correlation([1] * 4, [1, 2, 3, 4])
    )
