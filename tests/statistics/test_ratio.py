"""Ratios of means: the interval written out as a loop, against SciPy, and where there is no ratio."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from phase7.statistics import draws
from phase7.statistics.ratio import Ratio, expanded_confidence, ratio_of_means

N_RESAMPLES = 400


def ratio(top, bottom, **options) -> Ratio:
    return ratio_of_means(top, bottom, **({"seed": 3, "n_resamples": N_RESAMPLES} | options))


def samples(n: int, seed: int = 0, shift: float = 4.0):
    rng = np.random.default_rng(seed)
    bottom = rng.normal(shift, 1.0, n)
    return 0.3 * bottom + rng.normal(0.5, 0.4, n), bottom


def by_loop(top, bottom, confidence: float = 0.95) -> tuple[float, float, float]:
    """Value, low and high: prompts drawn one resample at a time, both sums over the same ones."""
    n, drawn = len(top), []
    for chosen in draws.bootstrap_indices(seed=3, n=n, n_resamples=N_RESAMPLES):
        drawn.append(sum(top[i] for i in chosen) / sum(bottom[i] for i in chosen))
    tail = (1 - expanded_confidence(n, confidence)) / 2
    return sum(top) / sum(bottom), *np.quantile(drawn, [tail, 1 - tail])


@pytest.mark.parametrize("n", [2, 3, 7, 20])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_interval_is_the_loops(n, confidence):
    top, bottom = samples(n, seed=n)
    got = ratio(top, bottom, confidence=confidence)
    expected = by_loop(top, bottom, confidence)
    np.testing.assert_allclose([got.value, got.low, got.high], expected, rtol=1e-12)
    assert got.value.shape == ()


@pytest.mark.parametrize("n", [5, 20])
def test_the_interval_is_scipys_of_paired_samples(n):
    top, bottom = samples(n, seed=n)
    theirs = stats.bootstrap(
        (top, bottom), lambda x, y, axis: x.mean(axis=axis) / y.mean(axis=axis), paired=True,
        n_resamples=N_RESAMPLES, method="percentile", rng=draws.bootstrap_generator(seed=3, n=n),
        confidence_level=expanded_confidence(n, 0.95),
    ).confidence_interval  # fmt: skip
    got = ratio(top, bottom)
    np.testing.assert_allclose([got.low, got.high], theirs, rtol=1e-12)


def test_both_are_resampled_together():
    """A constant ratio has no width, however far its parts spread; unrelated parts have one."""
    _, bottom = samples(9)
    same = ratio(0.25 * bottom, bottom)
    np.testing.assert_allclose([same.value, same.low, same.high], 0.25, rtol=1e-14)
    apart = ratio(0.25 * bottom[::-1], bottom)
    assert apart.high - apart.low > 1e-2


def test_a_prompt_that_is_missing_in_either_is_left_out_of_both():
    top, bottom = samples(8)
    shorter = ratio(top[2:], bottom[2:])
    top[0], bottom[1] = np.nan, np.nan
    got = ratio(top, bottom)
    for name in ("value", "low", "high"):
        assert getattr(got, name) == getattr(shorter, name)


def test_each_cell_is_as_if_it_were_alone():
    """Cells with other prompts missing, one of them broadcast, in one call and one by one."""
    pairs = [samples(8, seed=seed) for seed in range(6)]
    top = np.stack([one for one, _ in pairs]).reshape(2, 3, 8)
    bottom = pairs[0][1]
    top[0, 1, 3], top[1, 2, :7] = np.nan, np.nan
    got = ratio(top, bottom)
    assert got.value.shape == (2, 3)
    for place in np.ndindex(2, 3):
        alone = ratio(top[place], bottom)
        for name in ("value", "low", "high"):
            np.testing.assert_array_equal(getattr(got, name)[place], getattr(alone, name))
    assert np.isnan(got.low[1, 2]) and np.isfinite(got.low[0, 1])


@pytest.mark.parametrize(
    ("top", "bottom"),
    [
        ([1.0], [2.0]),
        ([1.0, np.nan, 2.0], [2.0, 1.0, np.nan]),
        ([np.nan, np.nan], [1.0, 2.0]),
        ([1.0, 2.0, 3.0], [1.0, -2.0, 1.0]),
        ([0.0, 0.0], [0.0, 0.0]),
    ],
    ids=["one prompt", "one in both", "none", "mean of 0", "0 of 0"],
)
def test_what_has_no_ratio_is_missing_whole(top, bottom):
    got = ratio(np.array(top), np.array(bottom))
    assert np.isnan([got.value, got.low, got.high]).all()


def test_an_effect_of_nothing_is_a_share_of_0():
    got = ratio(np.zeros(5), samples(5)[1])
    assert (got.value, got.low, got.high) == (0, 0, 0)


def test_the_sign_is_that_of_the_ratio():
    top, bottom = samples(12)
    plain, turned = ratio(top, bottom), ratio(-top, bottom)
    assert turned.value == -plain.value < 0
    np.testing.assert_allclose([turned.low, turned.high], [-plain.high, -plain.low], rtol=1e-12)
    assert plain.low < plain.value < plain.high


def test_the_interval_covers_the_ratio_as_often_as_it_says():
    rng = np.random.default_rng(5)
    bottom = rng.normal(4.0, 1.0, (1_500, 15))
    top = 0.3 * bottom + rng.normal(0.0, 0.5, bottom.shape)
    got = ratio(top, bottom)
    assert 0.925 < np.mean((got.low <= 0.3) & (got.high >= 0.3)) < 0.975


@pytest.mark.parametrize("n", [4, 5, 10, 70])
def test_expanded_confidence_matches_the_t_interval(n: int) -> None:
    tail = (1 - expanded_confidence(n, 0.95)) / 2
    # A normal interval with the sd that resampling sees has the half-width of the t interval.
    half_width = stats.norm.isf(tail) * np.sqrt((n - 1) / n)
    expected = stats.t.isf(0.025, n - 1)
    np.testing.assert_allclose(half_width, expected, rtol=1e-6)


def test_documented_expanded_levels() -> None:
    levels = [round(expanded_confidence(n, 0.95), 4) for n in (5, 70)]
    assert levels == [0.9981, 0.9555]
    assert expanded_confidence(2, 0.95) == 1
