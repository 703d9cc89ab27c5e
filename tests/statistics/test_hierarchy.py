"""Correction in two steps, beside the procedure written out, all flips listed, and what it promises."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import false_discovery_control

from phase7.statistics import benjamini_hochberg, global_p, hierarchical_q
from phase7.statistics.hierarchy import N_TAIL

LAW = settings(max_examples=150, deadline=None, derandomize=True)
SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=5)


def rejected(p, cell_p, level: float) -> np.ndarray:
    """The procedure of Benjamini & Bogomolov at one level, with SciPy's step-up."""
    is_cell = np.isfinite(cell_p) & np.isfinite(p).any(axis=1)
    found = np.zeros(p.shape, dtype=bool)
    if not is_cell.any():
        return found
    selected = np.zeros(len(p), dtype=bool)
    selected[is_cell] = false_discovery_control(cell_p[is_cell]) <= level
    share = selected.sum() / is_cell.sum()
    for cell in np.flatnonzero(selected):
        tested = np.isfinite(p[cell])
        found[cell, tested] = false_discovery_control(p[cell, tested]) <= level * share
    return found


@LAW
@given(
    data=st.data(),
    shape=SHAPES,
    level=st.floats(0.001, 0.999),
)
def test_a_q_is_the_smallest_level_that_rejects(data, shape, level):
    numbers = st.one_of(st.sampled_from([0.001, 0.01, 0.05, 0.2, 1.0, np.nan]), st.floats(1e-6, 1.0))
    p = data.draw(hnp.arrays(np.float64, shape, elements=numbers))
    cell_p = data.draw(hnp.arrays(np.float64, shape[0], elements=numbers))
    q = hierarchical_q(p, cell_p)
    # Where rounding could decide, either answer is right.
    clear = ~(np.abs(q - level) < 1e-9)
    np.testing.assert_array_equal((q <= level)[clear], rejected(p, cell_p, level)[clear])
    known = np.isfinite(q)
    assert (known == (np.isfinite(p) & np.isfinite(cell_p)[:, None])).all()
    assert (q[known] >= p[known]).all() and (q[known] <= 1).all()


def test_one_cell_that_surely_passes_is_plain_benjamini_hochberg():
    p = np.array([[0.001, 0.04, 0.03, np.nan, 0.5]])
    np.testing.assert_allclose(hierarchical_q(p, [0.0001]), benjamini_hochberg(p), rtol=1e-12)


def test_empty_cells_cost_little():
    """Liveness: the same test among nine cells of nothing, corrected flat and in two steps."""
    p = np.ones((10, 20))
    p[0, :10] = 1e-3
    flat, stepped = benjamini_hochberg(p)[0, 0], hierarchical_q(p, [1e-4, *[1.0] * 9])[0, 0]
    assert stepped == pytest.approx(0.02) and flat == pytest.approx(0.02)
    p[0, 1:10] = 1.0
    assert benjamini_hochberg(p)[0, 0] == pytest.approx(0.2)
    assert hierarchical_q(p, [1e-3, *[1.0] * 9])[0, 0] == pytest.approx(0.2)
    # Ten cells with an effect: each pays for its own tests alone.
    p[:, 0] = 1e-3
    assert hierarchical_q(p, [1e-3] * 10)[0, 0] == pytest.approx(0.02)


@pytest.mark.parametrize("wrong", [-0.1, 1.1])
def test_a_p_outside_its_range_is_refused(wrong):
    with pytest.raises(ValueError, match="expected numbers in"):
        hierarchical_q([[0.5]], [wrong])
    with pytest.raises(ValueError, match="expected numbers in"):
        hierarchical_q([[wrong]], [0.5])


# --- the test of a cell -----------------------------------------------------------------------------


def enumerated(tests: np.ndarray) -> float:
    """All flips listed, one by one."""
    tests = np.nan_to_num(tests)
    tests = tests[np.abs(tests).max(axis=1) > 0]
    size = np.sqrt((tests**2).sum(axis=1))
    statistics = [
        np.max(np.abs(tests @ np.array(signs)) / size)
        for signs in itertools.product((-1, 1), repeat=tests.shape[1])
    ]
    observed = np.max(np.abs(tests.sum(axis=1)) / size)
    return float(np.mean([one >= observed * (1 - 1e-9) for one in statistics]))


@LAW
@given(
    data=st.data(),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(2, 7)),
)
def test_it_is_the_share_of_all_flips(data, shape):
    elements = st.one_of(st.sampled_from([0.0, 1.0, -1.0, 2.0, np.nan]), st.floats(-1e3, 1e3, width=16))
    differences = data.draw(hnp.arrays(np.float64, shape, elements=elements))
    found = global_p(differences, seed=0)
    for p, tests in zip(found, differences, strict=True):
        if (np.nan_to_num(tests) == 0).all():
            assert np.isnan(p)
        else:
            assert p == pytest.approx(enumerated(tests), abs=1e-10)


def test_a_cell_does_not_depend_on_the_others():
    rng = np.random.default_rng(0)
    differences = rng.normal(0.4, 1.0, size=(5, 4, 24))
    whole = global_p(differences, seed=3)
    for cell in range(5):
        assert global_p(differences[cell : cell + 1], seed=3)[0] == whole[cell]
    assert (global_p(differences, seed=4) != whole).any()


def test_drawn_flips_agree_with_all():
    differences = np.random.default_rng(1).normal(0.5, 1.0, size=(6, 5, 14))
    exact = global_p(differences, seed=0, n_resamples=2**13)
    drawn = global_p(differences, seed=0, n_resamples=2**13 - 1)
    np.testing.assert_allclose(drawn, exact, atol=4 * np.sqrt(exact.max() / 2**13))
    assert (drawn != exact).any()


def test_the_smallest_p_of_drawn_flips():
    far = np.full((1, 2, 40), 1.0)
    assert global_p(far, seed=0)[0] == 1 / (N_TAIL + 1)


def test_under_the_null_it_rejects_no_more_than_the_level():
    rng = np.random.default_rng(2)
    common = rng.standard_t(2, size=(1_000, 1, 9))
    differences = common + rng.standard_t(2, size=(1_000, 6, 9))
    p = global_p(differences, seed=0)
    for level in (0.01, 0.05, 0.2):
        assert (p <= level).mean() <= level + 3 * np.sqrt(level / 1_000)
    assert (global_p(differences + 3.0, seed=0) <= 0.05).mean() > 0.5  # liveness


def test_an_infinite_difference_is_refused():
    with pytest.raises(ValueError, match="an infinity"):
        global_p([[[1.0, np.inf]]], seed=0)
