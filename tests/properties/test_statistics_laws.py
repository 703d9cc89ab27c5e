"""Laws of the statistics, over arrays with missing prompts and constant columns."""

from __future__ import annotations

import itertools
from fractions import Fraction

import hypothesis.extra.numpy as hnp
import numpy as np
import numpy.typing as npt
from hypothesis import assume, given, settings
from hypothesis import strategies as hs
from scipy import stats

from phase7 import statistics as st
from phase7.statistics.exact_sums import row_moments, to_grid
from tests.statistics import calibration

FloatArray = npt.NDArray[np.float64]
FAST = {"n_resamples": 200, "n_tail": 1_000}

#: Differences of float32 scores, or nothing smaller than they: the square of 1e-161 is no normal number.
reals = hs.floats(-1, 1).map(lambda x: x if abs(x) > 1e-100 else 0.0) | hs.integers(-8, 8).map(
    lambda k: k / 8
)
missing = hs.just(float("nan"))


@hs.composite
def deltas(draw: hs.DrawFn, max_prompts: int = 18) -> FloatArray:
    """Draw (cell, prompt) arrays with NaN, and now and then a constant or an empty column."""
    shape = draw(hs.tuples(hs.integers(1, 6), hs.integers(1, max_prompts)))
    rows = draw(hnp.arrays(np.float64, shape, elements=reals | missing))
    for row in rows:
        kind = draw(hs.sampled_from(["as drawn", "as drawn", "constant", "zero", "empty"]))
        if kind != "as drawn":
            value = {"constant": draw(reals), "zero": 0.0, "empty": np.nan}[kind]
            row[~np.isnan(row)] = value
    return rows


def same_bits(one: object, other: object) -> bool:
    return all(
        np.asarray(value).tobytes() == np.asarray(getattr(other, name)).tobytes()
        for name, value in vars(one).items()
    )


# --- a cell's numbers do not depend on its company --------------------------------------------


@settings(max_examples=60, deadline=None)
@given(deltas(), hs.integers(0, 2**32), hs.randoms(use_true_random=False))
def test_alone_in_a_batch_in_any_order_the_bits_are_the_same(
    delta: FloatArray, seed: int, random: object
) -> None:
    batch = st.paired_summary(delta, seed=seed, **FAST)
    order = np.random.default_rng(seed).permutation(len(delta))
    moved = st.paired_summary(np.asfortranarray(delta[order])[None], seed=seed, **FAST)
    for position, cell in enumerate(order):
        alone = st.paired_summary(delta[cell].copy(), seed=seed, **FAST)
        for name, value in vars(alone).items():
            assert value.tobytes() == getattr(batch, name)[cell].tobytes(), name
            assert value.tobytes() == getattr(moved, name)[0, position].tobytes(), name


@settings(max_examples=8, deadline=None)
@given(hs.sampled_from([7, 14, 35]), hs.integers(0, 1_000))
def test_bits_are_the_same_across_tiles(n: int, seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(1_101, n))
    batch = st.paired_summary(rows, seed=seed, n_resamples=2_000, n_tail=4_000)
    for cell in (0, 1, 31, 32, 700, 1_047, 1_048, 1_100):
        alone = st.paired_summary(rows[cell], seed=seed, n_resamples=2_000, n_tail=4_000)
        for name, value in vars(alone).items():
            assert value.tobytes() == getattr(batch, name)[cell].tobytes(), name


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float64, hs.tuples(hs.integers(1, 4), hs.integers(1, 40)), elements=reals))
def test_grid_sums_are_exact_in_any_order(rows: FloatArray) -> None:
    grid = to_grid(rows)
    n = rows.shape[1]
    for row, units, exponent in zip(rows, grid.units, grid.exponent, strict=True):
        exact = sum(int(u) for u in units)
        assert float(units.sum()) == float(units[::-1] @ np.ones(n)) == exact
        assert abs(exact) <= 2**53
        restored = np.ldexp(units, exponent)
        largest = np.abs(row).max()
        assert np.abs(restored - row).max() <= 2.0 ** (int(n - 1).bit_length() - 52) * largest


@settings(max_examples=60, deadline=None)
@given(deltas(), hs.integers(0, 5))
def test_a_missing_prompt_changes_nothing(delta: FloatArray, seed: int) -> None:
    padded = np.insert(delta, delta.shape[1] // 2, np.nan, axis=1)
    assert same_bits(
        st.paired_summary(delta, seed=seed, **FAST), st.paired_summary(padded, seed=seed, **FAST)
    )


@settings(max_examples=60, deadline=None)
@given(deltas(), hs.integers(-30, 30))
def test_a_change_of_unit_changes_the_unit_alone(delta: FloatArray, power: int) -> None:
    one = st.paired_summary(delta, seed=0, **FAST)
    other = st.paired_summary(delta * 2.0**power, seed=0, **FAST)
    for name in ("n", "p_value", "p_strict"):
        np.testing.assert_array_equal(getattr(other, name), getattr(one, name))
    for name in ("mean", "ci_low", "ci_high"):
        np.testing.assert_allclose(
            getattr(other, name), getattr(one, name) * 2.0**power, rtol=1e-10, atol=1e-12 * 2**power
        )


@settings(max_examples=60, deadline=None)
@given(deltas())
def test_a_change_of_sign_changes_the_sign_alone(delta: FloatArray) -> None:
    one, other = (st.paired_summary(x, seed=0, **FAST) for x in (delta, -delta))
    np.testing.assert_array_equal(other.p_value, one.p_value)
    np.testing.assert_array_equal(other.effect_size, -one.effect_size)
    np.testing.assert_allclose(other.ci_low, -one.ci_high, rtol=0, atol=1e-12)


# --- agreement with SciPy and with enumerations -----------------------------------------------


@settings(max_examples=60, deadline=None)
@given(deltas(), hs.integers(0, 99))
def test_mean_and_effect_size_are_what_they_say(delta: FloatArray, seed: int) -> None:
    result = st.paired_summary(delta, seed=seed, **FAST)
    for cell, row in enumerate(delta):
        row = row[~np.isnan(row)]
        assert result.n[cell] == len(row)
        if len(row) < 2:
            assert np.isnan(result.mean[cell]) and np.isnan(result.p_value[cell])
            continue
        np.testing.assert_allclose(result.mean[cell], np.mean(row), rtol=0, atol=1e-10)
        if np.ptp(row) > 1e-10 * np.abs(row).max():
            d_z = np.mean(row) / np.std(row, ddof=1)
            np.testing.assert_allclose(result.effect_size[cell], d_z, rtol=1e-10, atol=1e-10)
        elif np.ptp(row) == 0:
            expected = np.inf * np.sign(row[0]) if row[0] else 0.0
            assert result.effect_size[cell] == expected


@settings(max_examples=60, deadline=None)
@given(deltas(max_prompts=11))
def test_interval_ends_are_order_statistics_of_all_subsets(delta: FloatArray) -> None:
    """Ties, zeros and missing prompts included; the subsets of each row are listed."""
    result = st.paired_summary(delta, seed=0, **FAST)
    for cell, row in enumerate(delta):
        row = row[~np.isnan(row)]
        rank = int(np.ceil(0.05 * 2 ** (len(row) - 1))) - 1
        if len(row) < 2 or rank < 1:
            assert not np.isfinite(result.ci_low[cell]) and not np.isfinite(result.ci_high[cell])
            continue
        flips = ((np.arange(1, 2 ** len(row))[:, None] >> np.arange(len(row))) & 1).astype(float)
        means = np.sort(flips @ row / flips.sum(axis=1))
        ends = (result.ci_low[cell], result.ci_high[cell])
        np.testing.assert_allclose(ends, [means[rank - 1], means[-rank]], rtol=0, atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(deltas(max_prompts=30), hs.integers(0, 9), hs.sampled_from([8, 20]))
def test_zero_is_outside_exactly_where_p_is_below_alpha(
    delta: FloatArray, seed: int, max_exact: int
) -> None:
    result = st.paired_summary(delta, seed=seed, max_exact=max_exact, **FAST)
    outside = (result.ci_low > 0) | (result.ci_high < 0)
    np.testing.assert_array_equal(outside, result.p_value < 0.05)
    tested = result.n >= 2
    assert np.all(result.ci_low[tested] <= result.mean[tested])
    assert np.all(result.ci_high[tested] >= result.mean[tested])
    ends = np.stack([result.ci_low, result.ci_high])
    largest = np.nanmax(np.abs(delta), initial=0.0)
    assert np.all((ends == 0) | ~(np.abs(ends) < 1e-15 * largest) | (result.p_value < 0.05))


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.int64, hs.integers(2, 9), elements=hs.integers(-20, 20)))
def test_exact_p_equals_scipy_with_ties(numbers: npt.NDArray[np.int64]) -> None:
    row = numbers / 16
    theirs = stats.permutation_test(
        (row,),
        lambda x, axis: np.mean(x, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    ).pvalue
    assert abs(st.paired_summary(row, seed=0, **FAST).p_value - theirs) <= 1e-10


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float64, hs.integers(2, 7), elements=reals))
def test_exact_p_equals_an_enumeration_in_fractions(row: FloatArray) -> None:
    exact = [Fraction(float(x)) for x in row]
    sums = [
        abs(sum((s * x for s, x in zip(signs, exact, strict=True)), Fraction(0)))
        for signs in itertools.product((-1, 1), repeat=len(row))
    ]
    observed = abs(sum(exact, Fraction(0)))
    slack = Fraction(1e-13) * max(map(abs, exact)) * len(row)
    # Sums closer than the tolerance but not equal could fall either way.
    assume(all(s == observed or abs(s - observed) > slack for s in sums))
    result = st.paired_summary(row, seed=0, **FAST)
    assert result.p_value == sum(s >= observed for s in sums) / len(sums)
    assert result.p_strict == sum(s > observed for s in sums) / len(sums)


@settings(max_examples=60, deadline=None)
@given(deltas(max_prompts=30))
def test_p_stays_within_its_bounds(delta: FloatArray) -> None:
    result = st.paired_summary(delta, seed=0, **FAST)
    tested = result.n >= 2
    p, strict = result.p_value[tested], result.p_strict[tested]
    assert np.all((p >= st.minimum_p(result.n_nonzero[tested], **FAST) * (1 - 1e-12)) & (p <= 1))
    nonzero = (delta[tested] != 0) & ~np.isnan(delta[tested])
    assert np.all(result.n_nonzero[tested] <= nonzero.sum(axis=1))
    assert np.all((strict >= 0) & (strict < p))
    assert np.all(result.ci_low[tested] <= result.ci_high[tested])


probabilities = hs.floats(0, 1) | hs.sampled_from([0.0, 1.0, 0.05, 1e-6])
p_arrays = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=1, max_dims=3, max_side=6),
    elements=probabilities | missing,
)


@settings(max_examples=60, deadline=None)
@given(p_arrays, hs.data())
def test_q_equals_scipy_on_the_tested(p: FloatArray, data: hs.DataObject) -> None:
    where = data.draw(hnp.arrays(np.bool_, p.shape))
    q = st.benjamini_hochberg(p, where=where)
    tested = where & ~np.isnan(p)
    assert np.isnan(q[~tested]).all()
    if tested.any():
        expected = stats.false_discovery_control(p[tested])
        np.testing.assert_allclose(q[tested], expected, rtol=0, atol=1e-10)
        assert np.all(q[tested] >= p[tested] * (1 - 1e-12))
    axis = data.draw(hs.integers(0, p.ndim - 1))
    lanes = np.moveaxis(p, axis, -1).reshape(-1, p.shape[axis])
    by_lane = np.array([st.benjamini_hochberg(lane) for lane in lanes])
    moved = np.moveaxis(st.benjamini_hochberg(p, axis=axis), axis, -1)
    np.testing.assert_array_equal(moved.reshape(by_lane.shape), by_lane)


# --- synergy and the net effect ---------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(deltas(), hs.integers(1, 3), hs.integers(0, 99))
def test_heads_that_add_up_have_no_synergy(delta: FloatArray, n_heads: int, seed: int) -> None:
    weights = np.random.default_rng(seed).random(n_heads)
    singles = weights[:, None, None] * delta
    joint = np.sum(singles[::-1], axis=0)
    result = st.synergy(joint, singles, seed=seed, **FAST)
    tested = result.n >= 2
    assert np.all(result.mean[tested] == 0) and np.all(result.p_value[tested] == 1)
    # The same heads with an excess that is larger than their spread are seen to exceed.
    live = st.synergy(joint + 3.0, singles, seed=seed, **FAST)
    np.testing.assert_array_equal(live.p_value < 0.05, result.n >= 6)


@settings(max_examples=60, deadline=None)
@given(deltas(), hs.integers(0, 99))
def test_synergy_alone_and_in_a_batch_has_the_same_bits(delta: FloatArray, seed: int) -> None:
    singles = np.random.default_rng(seed).normal(size=(2, *delta.shape))
    batch = st.synergy(delta, singles, seed=seed, **FAST)
    for cell in range(len(delta)):
        alone = st.synergy(delta[cell], singles[:, cell], seed=seed, **FAST)
        for name, value in vars(alone).items():
            same = np.array_equal(value, getattr(batch, name)[cell], equal_nan=True)
            assert same, name


@settings(max_examples=60, deadline=None)
@given(deltas(max_prompts=12), hs.integers(0, 99))
def test_variance_ratio_of_a_scaled_difference_is_the_scale_squared(
    delta: FloatArray, seed: int
) -> None:
    result = calibration.variance_ratio(delta, -2 * delta, seed=seed, n_resamples=100)
    spread = np.array([n >= 2 and row_moments(row[~np.isnan(row)][None]).sd[0] > 1e-6
                       for n, row in zip(result.n, delta, strict=True)])  # fmt: skip
    for values in (result.ratio, result.ci_low, result.ci_high):
        np.testing.assert_allclose(values[spread], 4, rtol=1e-9)
    few = result.n < 2
    assert np.isnan(result.ratio[few]).all()
    for cell in range(len(delta)):
        alone = calibration.variance_ratio(delta[cell], -2 * delta[cell], seed=seed, n_resamples=100)
        np.testing.assert_array_equal(alone.ci_low, result.ci_low[cell])


@settings(max_examples=60, deadline=None)
@given(hs.floats(-3, 3) | missing, hs.floats(0, 1) | missing)
def test_ratings_never_call_the_unmeasured_small(d: float, q: float) -> None:
    rating = st.size_of_effect(d, q).item()
    assert (rating == "not measured") == bool(np.isnan(d) or np.isnan(q))
    assert (rating in ("negligible", "small", "medium", "large")) == (q < 0.05 and not np.isnan(d))
    assert st.size_of_effect(-d, q).item() == rating
