"""Rank agreement: against SciPy, by depth between shapes that differ, and on pure noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from phase7.statistics import (
    agreement_by_depth,
    agreement_by_head,
    depth_profile,
    relative_depth,
    scaled_ranks,
    shared_heads,
)


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.mark.parametrize("shape", [(2, 3), (6, 4), (12, 12)])
def test_by_head_is_spearmans_rho(rng, shape):
    one, other = rng.random(shape), rng.integers(0, 4, shape).astype(float)  # with ties
    other[0, 0] = np.nan
    found = agreement_by_head(one, other)
    both = np.isfinite(other)
    expected = spearmanr(one[both], other[both])
    assert found.rho == pytest.approx(expected.statistic, abs=1e-12)
    assert found.n_places == one.size - 1
    if one.size > 20:
        assert found.p_value == pytest.approx(expected.pvalue, abs=0.05)


def test_depth_is_the_middle_of_the_layer():
    np.testing.assert_allclose(relative_depth(4), [0.125, 0.375, 0.625, 0.875])


def test_a_profile_is_the_mean_rank_of_the_bins_heads():
    strength = np.array([[1.0, 2.0], [3.0, np.nan], [8.0, 9.0], [np.nan, np.nan]])
    np.testing.assert_allclose(scaled_ranks(strength)[0], [0.1, 0.3])
    np.testing.assert_allclose(depth_profile(strength, 2), [(0.1 + 0.3 + 0.5) / 3, 0.8])
    assert np.isnan(depth_profile(strength, 4)[3])


def test_models_of_other_shapes_agree_where_strength_follows_depth(rng):
    shallow = np.linspace(0, 1, 6)[:, None] + 0.05 * rng.random((6, 4))
    deep = np.linspace(0, 1, 15)[:, None] + 0.05 * rng.random((15, 3))
    same, opposite = agreement_by_depth(shallow, deep), agreement_by_depth(shallow, -deep)
    assert (same.rho, opposite.rho) == (1.0, -1.0)
    assert same.n_places == 6 and same.p_value < 0.01
    assert agreement_by_depth(deep, shallow).rho == 1.0


def test_noise_agrees_no_more_than_its_level(rng):
    """Pairing sorted heads would agree here too; mean ranks must not."""
    found = [agreement_by_depth(rng.random((8, 6)), rng.random((13, 5)), seed=i) for i in range(200)]
    assert abs(np.mean([one.rho for one in found])) < 0.1
    assert 0.02 <= np.mean([one.p_value <= 0.1 for one in found]) <= 0.18


def test_the_same_seed_gives_the_same_p(rng):
    one, other = rng.random((6, 4)), rng.random((6, 4))
    assert agreement_by_head(one, other, seed=3) == agreement_by_head(one, other, seed=3)
    assert agreement_by_head(one, other, seed=3) != agreement_by_head(one, other, seed=4)


@pytest.mark.parametrize(
    "other",
    [np.zeros((2, 3)), np.full((2, 3), np.nan), np.where(np.arange(6) < 3, 1.0, np.nan).reshape(2, 3)],
)
def test_too_little_to_compare_is_nan(rng, other):
    found = agreement_by_head(rng.random((2, 3)), other)
    assert np.isnan(found.rho) and np.isnan(found.p_value)


def test_heads_of_other_shapes_are_not_paired(rng):
    with pytest.raises(ValueError, match="compare by depth"):
        agreement_by_head(rng.random((2, 3)), rng.random((3, 2)))
    with pytest.raises(ValueError, match="cannot be paired"):
        shared_heads(rng.random((2, 3)), rng.random((3, 2)), 2)


def test_shared_heads_count_those_tested_in_both():
    one = np.array([[9.0, 8.0, 1.0], [2.0, 3.0, 7.0]])
    other = np.array([[9.0, 1.0, 2.0], [3.0, 4.0, np.nan]])
    found = shared_heads(one, other, 2)  # 0:0 and 0:1 against 0:0 and 1:1
    assert (found.n_shared, found.n_top, found.expected) == (1, 2, 4 / 5)
    assert shared_heads(one, one, 3).n_shared == 3
    assert np.isnan(shared_heads(one, np.full((2, 3), np.nan), 3).expected)
