"""How the level is shared out among looks."""

from __future__ import annotations

import math
import typing

import numpy as np
import pytest
from scipy.stats import norm

from phase7.experiment.statistics import Statistics
from phase7.statistics import level_shares
from phase7.statistics.spending import _SPENT, Spending, spent


@pytest.mark.parametrize(
    ("fraction", "expected"),
    # Two-sided 0.05, each side 0.025: twice the one-sided values that textbooks list.
    [(0.25, 2 * 0.0000074), (0.5, 2 * 0.00152532), (0.75, 2 * 0.00965), (1.0, 0.05)],
)
def test_obrien_fleming_spends_what_is_known_of_it(fraction, expected):
    found = spent(fraction, alpha=0.05, spending="obrien_fleming")
    assert found == pytest.approx(expected, rel=0.02)
    by_side = 2 * (1 - norm.cdf(norm.ppf(1 - 0.025 / 2) / math.sqrt(fraction)))
    assert found == pytest.approx(2 * by_side, rel=1e-9)


def test_pocock_spends_by_its_formula():
    for fraction in (0.2, 0.5, 1.0):
        assert spent(fraction, alpha=0.1, spending="pocock") == pytest.approx(
            0.1 * math.log(1 + (math.e - 1) * fraction)
        )


@pytest.mark.parametrize("spending", typing.get_args(Spending))
@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.5])
def test_shares_add_up_and_none_is_negative(spending, alpha):
    for ends in ([7], [5, 10], [3, 4, 20, 21]):
        shares = level_shares(ends, alpha=alpha, spending=spending)
        assert len(shares) == len(ends) and (shares > 0).all() and shares.sum() == pytest.approx(1)
        used = np.cumsum(shares) * alpha
        told = [spent(end / ends[-1], alpha=alpha, spending=spending) for end in ends]
        np.testing.assert_allclose(used, told, rtol=1e-9, atol=1e-15)


def test_obrien_fleming_keeps_the_level_for_the_end_and_pocock_does_not():
    late, even = (
        level_shares([10, 20, 30], alpha=0.05, spending=one) for one in typing.get_args(Spending)
    )
    assert late[0] < 0.01 and late[-1] > 0.7
    assert even.max() < 2 * even.min()


@pytest.mark.parametrize("ends", [[], [0, 4], [4, 4], [5, 3]])
def test_ends_that_do_not_ascend_are_refused(ends):
    with pytest.raises(ValueError, match="ascending numbers of prompts"):
        level_shares(ends, alpha=0.05, spending="pocock")


@pytest.mark.parametrize("fraction", [0.0, -1.0, 1.01, math.nan])
def test_a_fraction_of_nothing_is_refused(fraction):
    with pytest.raises(ValueError, match="fraction"):
        spent(fraction, alpha=0.05, spending="pocock")


def test_a_profile_knows_the_same_functions():
    assert set(typing.get_args(Spending)) == set(_SPENT)
    assert {Statistics(spending=name).spending for name in _SPENT} == set(_SPENT)
