"""The smallest detectable effect: by the noncentral t distribution, and by drawing data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import nct, t

from phase7.statistics import paired_summary
from phase7.statistics.power import detectable_effect


def power_of(effect: float, sd: float, n: int, alpha: float) -> float:
    """Chance that |t| passes its two-sided threshold, both tails by their definition."""
    shift, threshold = effect / (sd / math.sqrt(n)), t.ppf(1 - alpha / 2, n - 1)
    other_tail = nct.cdf(-threshold, n - 1, shift)
    return float(nct.sf(threshold, n - 1, shift) + np.nan_to_num(other_tail))


@pytest.mark.parametrize("n", [2, 5, 20, 200])
@pytest.mark.parametrize(("alpha", "power"), [(0.05, 0.8), (0.01, 0.8), (0.05, 0.5)])
def test_it_has_that_power_by_the_noncentral_t(n, alpha, power):
    found = detectable_effect(0.3, n, alpha=alpha, power=power)
    assert power_of(found, 0.3, n, alpha) == pytest.approx(power, abs=1e-6)


def test_the_textbooks_number():
    """G*Power 3.1, paired t test: d_z = 0.5 is found with a power of 80 % from 34 prompts on."""
    assert detectable_effect(1.0, 34) < 0.5 < detectable_effect(1.0, 33)


def test_it_grows_with_the_spread_alone():
    assert detectable_effect(0.6, 12) == pytest.approx(2 * detectable_effect(0.3, 12))
    assert detectable_effect(0.0, 12) == 0.0
    assert math.isnan(detectable_effect(0.3, 1))
    assert math.isnan(detectable_effect(math.nan, 12))


def test_the_sign_flip_test_finds_it_that_often():
    n, n_drawn = 12, 4_000  # few enough for the exact test
    effect = detectable_effect(0.3, n)
    drawn = np.random.default_rng(11).normal(effect, 0.3, (n_drawn, n))
    found = paired_summary(drawn, seed=1, n_tail=0).p_value < 0.05
    # 2 points are about 3 standard errors of the simulation.
    assert found.mean() == pytest.approx(0.8, abs=0.02)
