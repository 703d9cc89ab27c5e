"""Planning: variance taken apart, prompts for an effect, and power that is what was promised."""

from __future__ import annotations

import math

import numpy as np
import pytest

from phase7.statistics import (
    detectable_effect,
    detectable_shift,
    paired_summary,
    prompts_for,
    spread,
)
from phase7.statistics.power import power_of


def drawn(n_prompts: int, n_samples: int, between: float, within: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    means = rng.normal(0.3, between, size=(n_prompts, 1))
    return means + rng.normal(0.0, within, size=(n_prompts, n_samples))


def test_variances_are_told_apart():
    found = spread(drawn(20_000, 4, 0.5, 2.0))
    assert (found.n_prompts, found.n_samples) == (20_000, 4)
    assert found.mean == pytest.approx(0.3, abs=0.03)
    assert math.sqrt(found.between) == pytest.approx(0.5, abs=0.06)
    assert math.sqrt(found.within) == pytest.approx(2.0, abs=0.02)
    assert found.sd(16) == pytest.approx(math.sqrt(0.25 + 4 / 16), abs=0.03)


def test_at_the_pilots_own_number_the_sd_is_the_measured_one():
    values = drawn(9, 3, 1.0, 0.5)
    found = spread(values)
    assert found.between > 0
    assert found.sd(3) == pytest.approx(values.mean(axis=1).std(ddof=1), rel=1e-12)


def test_one_sample_and_no_sampling():
    values = drawn(9, 1, 1.0, 0.5)
    one, none = spread(values), spread(values, is_sampled=False)
    assert math.isnan(one.within) and none.within == 0.0
    assert one.sd(1) == one.sd(8) == none.sd(8) == pytest.approx(values.std(ddof=1), rel=1e-12)


def test_more_variance_within_than_there_can_be_leaves_none_between():
    found = spread([[1.0, -1.0], [-1.0, 1.0], [1.0, -1.0]])
    assert found.between == 0.0 and found.within == 2.0


def test_a_prompt_with_a_missing_sample_is_left_out():
    found = spread([[1.0, 2.0], [np.nan, 1.0], [0.0, 1.0]])
    assert found.n_prompts == 2
    with pytest.raises(ValueError, match="at least 2 prompts, got 1"):
        spread([[1.0, 2.0], [np.nan, 1.0]])


@pytest.mark.parametrize("d_z", [0.1, 0.5, 1.2])
def test_one_prompt_fewer_would_not_do(d_z):
    n = prompts_for(-2 * d_z, 2.0)
    assert power_of(d_z, int(n)) >= 0.8 > power_of(d_z, int(n) - 1)


def test_no_fewer_prompts_than_can_reject():
    assert prompts_for(100.0, 1.0) == prompts_for(1.0, 0.0) == 6
    for effect, sd in ((0.0, 1.0), (math.nan, 1.0), (1.0, math.nan), (1e-9, 1.0)):
        assert math.isnan(prompts_for(effect, sd))


def long_tailed(n_tests: int, n: int) -> np.ndarray:
    """Differences like those of texts: mostly 0 or small, now and then large."""
    rng = np.random.default_rng(7)
    return rng.standard_t(2, size=(n_tests, n)) * (rng.random((n_tests, n)) < 0.6)


def test_a_shift_is_found_as_often_as_promised():
    """Fresh experiments from the same differences; the formula for normal ones is off here."""
    pilot, rng, n = long_tailed(3, 20), np.random.default_rng(8), 20
    made = pilot[:, rng.integers(0, 20, (600, n))] * rng.choice([-1.0, 1.0], (600, n))
    size = np.sqrt((pilot**2).mean(axis=1))
    off = {}
    for rule, shift in (
        ("resampled", detectable_shift(pilot, n, power=0.5, seed=0, n_experiments=600)),
        ("normal", detectable_effect(size, n, power=0.5)),
    ):
        p = paired_summary(made + shift[:, None, None], seed=0, confidence=None).p_value
        off[rule] = np.abs((p < 0.05).mean(axis=1) - 0.5).max()
    assert off["resampled"] <= 0.07 < off["normal"]


def test_what_cannot_be_found():
    pilot = np.stack([np.zeros(8), np.arange(8.0) - 3])
    assert np.isnan(detectable_shift(pilot, 8, seed=0, n_experiments=50)).tolist() == [True, False]
    assert np.isnan(detectable_shift(pilot, 5, seed=0, n_experiments=50)).all()
