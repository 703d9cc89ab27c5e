"""Step-down minP against a direct enumeration, its edge cases, and its error rate."""

from __future__ import annotations

import itertools

import hypothesis.extra.numpy as hnp
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from phase7 import statistics as st
from phase7.statistics.step_down import step_down_min_p

FloatArray = npt.NDArray[np.float64]


def by_enumeration(blocks: list[FloatArray]) -> FloatArray:
    """Westfall and Young's definition, flip by flip, with whole numbers as data."""
    joint = list(itertools.product(*(itertools.product((1, -1), repeat=b.shape[1]) for b in blocks)))
    sizes = np.array(
        [
            [abs(sum(s * x for s, x in zip(signs, row, strict=True) if x == x)) for signs in own]
            for block, own in zip(blocks, zip(*joint, strict=True), strict=True)
            for row in block
            if (~np.isnan(row)).sum() > 1
        ]
    )
    p = np.array([[np.mean(row >= one) for one in row] for row in sizes])  # [test, flip]
    order = sorted(range(len(p)), key=lambda j: p[j, 0])
    adjusted, so_far = np.empty(len(p)), 0.0
    for place, j in enumerate(order):
        smallest = p[order[place:]].min(axis=0)
        so_far = max(so_far, np.mean(smallest <= p[j, 0] + 1e-12))
        adjusted[j] = so_far
    return adjusted


whole = hs.integers(-4, 4).map(float) | hs.just(0.0) | hs.just(float("nan"))


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.float64, hs.tuples(hs.integers(1, 4), hs.integers(1, 6)), elements=whole),
    hnp.arrays(np.float64, hs.tuples(hs.integers(0, 2), hs.just(3)), elements=whole),
)
def test_equals_an_enumeration(one: FloatArray, other: FloatArray) -> None:
    """One block and two, with ties, zeros and missing numbers."""
    for blocks in ([one], [one, other]):
        found = step_down_min_p([block / 10 for block in blocks], seed=0)
        measured = [(~np.isnan(block)).sum(axis=1) > 1 for block in blocks]
        for values, tested in zip(found, measured, strict=True):
            assert np.isnan(values[~tested]).all()
        if any(tested.any() for tested in measured):
            got = np.concatenate([v[t] for v, t in zip(found, measured, strict=True)])
            np.testing.assert_allclose(got, by_enumeration(blocks), rtol=0, atol=1e-10)


def test_a_test_alone_keeps_its_p() -> None:
    row = np.random.default_rng(1).normal(0.5, 1, size=(1, 12))
    (found,) = step_down_min_p([row], seed=0)
    np.testing.assert_allclose(found, st.paired_summary(row, seed=0).p_value, rtol=1e-12)


def test_ties_that_differ_by_rounding_are_ties() -> None:
    """Tenths are no doubles: sums that are equal in whole numbers differ by rounding in tenths."""
    whole = np.array([[-2.0, 7, 1, -9, 5, 4], [7, -6, -8, 7, -9, 1]])
    (found,) = step_down_min_p([whole / 10], seed=0)
    np.testing.assert_allclose(found, by_enumeration([whole]), rtol=1e-12)
    np.testing.assert_array_equal(found, [0.9375, 0.9375])


def test_copies_of_a_test_cost_nothing_and_others_do() -> None:
    rng = np.random.default_rng(2)
    row = rng.normal(0.8, 1, size=(1, 12))
    p = st.paired_summary(row, seed=0).p_value[0]
    (copies,) = step_down_min_p([np.repeat(row, 9, axis=0)], seed=0)
    np.testing.assert_allclose(copies, p, rtol=1e-12)
    (others,) = step_down_min_p([np.concatenate([row, rng.normal(size=(8, 12))])], seed=0)
    assert 2 * p < others[0] <= 9 * p


def test_tests_that_cannot_reject_cost_nothing() -> None:
    row = np.random.default_rng(3).normal(0.8, 1, size=(1, 12))
    few = np.zeros((30, 12))
    few[:, :3] = 1.0
    (found,) = step_down_min_p([np.concatenate([row, few])], seed=0)
    np.testing.assert_allclose(found[0], st.paired_summary(row, seed=0).p_value[0], rtol=1e-12)
    assert (found[1:] >= 0.25).all()


def test_drawn_flips_come_near_all_of_them() -> None:
    rows = np.random.default_rng(4).normal(0.5, 1, size=(6, 16))
    (exact,) = step_down_min_p([rows], seed=0)
    (drawn,) = step_down_min_p([rows], seed=0, n_flips=30_000)
    assert np.any(drawn != exact)
    assert np.max(np.abs(drawn - exact)) < 8 * np.sqrt(0.25 / 30_000)


@pytest.mark.parametrize("shift", [0.0, 1.6])
def test_family_wise_error_and_liveness(shift: float) -> None:
    """Correlated tests without an effect, beside one with an effect of `shift`."""
    rng, n_false, n_found = np.random.default_rng(5), 0, 0
    for _ in range(300):
        shared = rng.normal(size=(1, 11))
        rows = 0.7 * shared + rng.normal(size=(8, 11))
        rows[0] += shift
        (p,) = step_down_min_p([rows], seed=0)
        n_false += bool((p[1:] < 0.05).any())
        n_found += bool(p[0] < 0.05)
    assert n_false <= 300 * 0.05 + 4 * np.sqrt(300 * 0.05 * 0.95)
    assert (n_found > 150) == (shift > 0)


def test_nothing_to_adjust_and_refusals() -> None:
    assert step_down_min_p([np.empty((0, 5))], seed=0)[0].shape == (0,)
    assert np.isnan(step_down_min_p([np.full((2, 5), np.nan)], seed=0)[0]).all()
    with pytest.raises(ValueError, match="infinity"):
        step_down_min_p([np.full((2, 5), np.inf)], seed=0)
    with pytest.raises(ValueError, match="n_flips: expected at least 2, got 1"):
        step_down_min_p([np.ones((2, 5))], seed=0, n_flips=1)
