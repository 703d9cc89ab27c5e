"""Each statistic against SciPy or an enumeration, its edge cases, and its error rates."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from phase7 import statistics as st
from phase7.statistics import draws, paired, sign_flips
from phase7.statistics.exact_sums import linear_quantile
from tests.statistics import calibration

FloatArray = npt.NDArray[np.float64]


def close(actual: npt.ArrayLike, expected: npt.ArrayLike, *, rtol: float = 0.0) -> None:
    """Assert agreement to 1e-10, or to `rtol` where that is given."""
    atol = 0.0 if rtol else 1e-10
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=rtol, atol=atol)


def normal(*shape: int, seed: int = 0, shift: float = 0.0) -> FloatArray:
    return np.random.default_rng(seed).normal(shift, 1.0, size=shape)


def summary_of(row: FloatArray, **arguments: Any) -> dict[str, float]:
    result = st.paired_summary(row, **({"seed": 1, "n_resamples": 2_000} | arguments))
    return {name: float(value) for name, value in vars(result).items()}


# --- interval -------------------------------------------------------------------------------------


def every_flip(n: int) -> FloatArray:
    """Which of n are flipped, [flip, prompt], the empty flip first."""
    return ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).astype(np.float64)


def rejected(row: FloatArray, value: float, alpha: float) -> bool:
    """Whether the test of that value by all flips has p below alpha."""
    less, flips = row - value, every_flip(len(row))
    moved = less.sum() - 2 * (flips @ less)
    return bool(np.mean(np.abs(moved) >= abs(less.sum()) - 1e-12) < alpha)


@pytest.mark.parametrize("n", [4, 6, 9, 12, 14])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_interval_holds_what_the_test_does_not_reject(n: int, confidence: float) -> None:
    """Just inside each end p is at least alpha, and just outside it is below."""
    row, alpha = normal(n, seed=n, shift=0.3), 1 - confidence
    ours = summary_of(np.append(row, np.nan), confidence=confidence)
    if 2 / 2**n >= alpha:
        assert (ours["ci_low"], ours["ci_high"]) == (-np.inf, np.inf)
        return
    for end, outwards in ((ours["ci_low"], -1), (ours["ci_high"], 1)):
        assert not rejected(row, end - outwards * 1e-9, alpha)
        assert rejected(row, end + outwards * 1e-9, alpha)


def test_the_ends_are_means_of_subsets() -> None:
    row, flips = normal(16, seed=3), every_flip(16)[1:]
    means = np.sort(flips @ row / flips.sum(axis=1))
    ours = summary_of(row)
    # 2**16 / 20 / 2 = 1638.4 subsets on each side, the empty one among them
    close([ours["ci_low"], ours["ci_high"]], [means[1637], means[-1638]])


def test_an_interval_from_drawn_flips() -> None:
    row = normal(30, seed=4, shift=0.3)
    (signs,) = draws.random_sign_blocks(seed=1, purpose="sign-flip", n=30, n_resamples=2_000)
    flipped = (signs < 0).astype(float)
    one, other = ((which @ row) / which.sum(axis=1) for which in (flipped, 1 - flipped))
    # p of a value is (1 + b) / 2001; with b = 99 it is below 0.05, with 100 it is not.
    lower, upper = np.sort(np.minimum(one, other))[99], np.sort(np.maximum(one, other))[-100]
    ours = summary_of(row)
    close([ours["ci_low"], ours["ci_high"]], [lower, upper])


def test_the_ends_of_one_prompt_that_differs() -> None:
    """The end that is 0 is 0.0, and not what rounding leaves of a mean."""
    row = np.zeros(20)
    row[3] = 1.0
    ours = summary_of(row)
    assert ours["ci_low"] == 0.0 and ours["p_value"] == 1.0 and ours["n_nonzero"] == 1
    # Of the subsets that hold it, those of m have a mean of 1 / m: by size, until 26214 are reached.
    assert ours["ci_high"] == 1 / 7
    assert summary_of(-row)["ci_high"] == 0.0 and np.copysign(1, summary_of(-row)["ci_high"]) == 1


@pytest.mark.parametrize("n", [8, 20, 35])
@pytest.mark.parametrize("seed", range(3))
def test_interval_and_p_never_disagree(n: int, seed: int) -> None:
    """Also where most differences are 0, and where the flips are drawn."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(0.7, 1, size=(90, n)) * (rng.random((90, n)) < 0.4 + rng.random((90, 1)))
    rows[::3] = np.rint(rows[::3] * 3) / 10
    for settings in ({}, {"n_resamples": 100, "n_tail": 3_000}):
        result = st.paired_summary(rows, seed=seed, **settings)
        outside = (result.ci_low > 0) | (result.ci_high < 0)
        np.testing.assert_array_equal(outside, result.p_value < 0.05)
        assert 0.1 < outside.mean() < 1


@pytest.mark.parametrize("share_of_zeros", [0.0, 0.6])
def test_interval_covers_the_mean_as_often_as_it_says(share_of_zeros: float) -> None:
    """Of differences that are as likely as their negatives, zeros or not."""
    for n in (8, 16):
        rows = normal(600, n, seed=n)
        rows[np.random.default_rng(n).random(rows.shape) < share_of_zeros] = 0.0
        result = st.paired_summary(rows, seed=2)
        assert np.mean((result.ci_low <= 0) & (result.ci_high >= 0)) > 0.925


# --- sign-flip test ---------------------------------------------------------------------------


def scipy_sign_flip(row: FloatArray) -> float:
    result = stats.permutation_test(
        (row,), lambda x, axis: np.mean(x, axis=axis), permutation_type="samples",
        n_resamples=np.inf, vectorized=True,
    )  # fmt: skip
    return float(result.pvalue)


@pytest.mark.parametrize("n", range(2, 12))
@pytest.mark.parametrize("make", ["continuous", "tied"])
def test_exact_p_equals_scipy(n: int, make: str) -> None:
    row = normal(n, seed=n, shift=0.5)
    if make == "tied":
        row = np.rint(row * 2)
    assert summary_of(row)["p_value"] == pytest.approx(scipy_sign_flip(row), abs=1e-10)


def test_exact_and_monte_carlo_meet() -> None:
    rows = normal(200, 14, seed=3, shift=0.4)
    exact = st.paired_summary(rows, seed=1).p_value
    np.testing.assert_array_equal(st.paired_summary(rows, seed=9, max_exact=14).p_value, exact)
    other = st.paired_summary(rows, seed=1, n_resamples=20_000, max_exact=13).p_value
    assert np.any(other != exact)
    error = np.sqrt(exact * (1 - exact) / 20_000) + 1 / 20_000
    assert np.max(np.abs(other - exact) / error) < 5


@pytest.mark.parametrize("n", [12, 30, 70])
def test_zeros_tell_nothing(n: int) -> None:
    """p is that of the other differences alone, by all their flips, however many prompts there are."""
    row = np.zeros(n)
    row[:9] = normal(9, seed=2, shift=0.6)
    ours = summary_of(row)
    assert ours["p_value"] == summary_of(row[:9])["p_value"] == pytest.approx(scipy_sign_flip(row[:9]))
    assert (ours["n"], ours["n_nonzero"]) == (n, 9)


def test_monte_carlo_p_counts_the_drawn_signs() -> None:
    row = normal(30, seed=4, shift=0.3)
    (signs,) = draws.random_sign_blocks(seed=1, purpose="sign-flip", n=30, n_resamples=2_000)
    extreme = sum(abs(np.mean(s * row)) >= abs(np.mean(row)) - 1e-12 for s in signs)
    assert extreme >= sign_flips.TAIL_HITS
    assert summary_of(row)["p_value"] == pytest.approx((extreme + 1) / 2_001, abs=1e-10)


def test_rare_cells_take_their_p_from_the_second_stage() -> None:
    row = normal(20, seed=5, shift=1.0)
    truth = summary_of(row)["p_value"]
    assert truth < 1e-3
    assert summary_of(row, n_tail=0, max_exact=19)["p_value"] >= 1 / 2_001
    refined = summary_of(row, n_tail=400_000, max_exact=19)["p_value"]
    assert abs(refined - truth) < 5 * np.sqrt(truth / 400_000) + 1 / 400_000
    signs = np.concatenate(
        list(draws.random_sign_blocks(seed=1, purpose="sign-flip tail", n=20, n_resamples=400_000))
    )
    extreme = np.count_nonzero(np.abs(signs @ row) >= abs(row.sum()) - 1e-12)
    assert refined == pytest.approx((extreme + 1) / 400_001, abs=1e-10)


def test_ties_that_differ_by_rounding_are_ties() -> None:
    # 0.1 + 0.2 - 0.3 is 2.8e-17 in doubles, and other flips give exactly 0.
    assert summary_of(np.array([0.1, 0.2, -0.3]))["p_value"] == 1.0
    # Four differences that are all 0.4 but for rounding: only +++ + and ---- reach the mean.
    nearly = np.array([0.7 - 0.3, 0.9 - 0.5, 0.4, 0.5 - 0.1])
    assert len(set(nearly.tolist())) > 1
    assert summary_of(nearly)["p_value"] == 2 / 2**4


def test_a_unit_that_doubles_cannot_hold_keeps_the_ties() -> None:
    counts = np.random.default_rng(8).integers(-9, 10, size=(400, 9)).astype(np.float64)
    whole = st.paired_summary(counts, seed=0, n_resamples=50)
    for unit in (0.1, 1 / 3, 1e-9):
        scaled = st.paired_summary(counts * unit, seed=0, n_resamples=50)
        np.testing.assert_array_equal(scaled.p_value, whole.p_value)
        np.testing.assert_array_equal(scaled.p_strict, whole.p_strict)


def test_strict_p_leaves_ties_out() -> None:
    row = np.array([1.0, 1.0, 1.0, -1.0, 2.0])
    sums = [abs(np.dot(s, row)) for s in itertools.product((-1, 1), repeat=5)]
    result = summary_of(row)
    assert result["p_value"] == np.mean([s >= 4 for s in sums])
    assert result["p_strict"] == np.mean([s > 4 for s in sums])


# --- effect size, missing data, refusals ------------------------------------------------------


@pytest.mark.parametrize("n", [2, 7, 70])
def test_effect_size_is_t_over_root_n(n: int) -> None:
    row = normal(n, seed=n)
    t = stats.ttest_1samp(row, 0).statistic
    result = summary_of(row)
    assert result["effect_size"] == pytest.approx(t / np.sqrt(n), abs=1e-10)
    assert result["mean"] == pytest.approx(np.mean(row), abs=1e-10)


@pytest.mark.parametrize("n", [2, 9, 40])
def test_a_column_of_zeros_is_a_measured_nothing(n: int) -> None:
    result = summary_of(np.zeros(n))
    end = 0.0 if n >= 6 else np.inf
    expected = {"n": n, "mean": 0, "sd": 0, "ci_low": -end, "ci_high": end, "p_value": 1, "p_strict": 0}
    assert result == expected | {"effect_size": 0, "n_nonzero": 0}


@pytest.mark.parametrize("n", [7, 9, 14, 40])
@pytest.mark.parametrize("value", [0.1, -0.7, 1 / 3, 0.3])
def test_a_constant_column_has_no_width_and_infinite_effect(n: int, value: float) -> None:
    result = summary_of(np.full(n, value))
    assert result["mean"] == result["ci_low"] == result["ci_high"] == value
    assert result["effect_size"] == np.copysign(np.inf, value)
    assert result["p_value"] == pytest.approx(
        2 / 2**n if n <= 20 else 1 / (paired.N_TAIL + 1), abs=1e-12
    )


def test_the_mean_of_a_constant_column_is_its_value() -> None:
    values = np.random.default_rng(9).random(200)
    rows = np.repeat(values[:, None], 49, axis=1)
    assert np.any(rows.mean(axis=1) != values)
    result = st.paired_summary(rows, seed=0, n_resamples=100, n_tail=0)
    for ours in (result.mean, result.ci_low, result.ci_high):
        np.testing.assert_array_equal(ours, values)


def test_quantiles_equal_numpy_and_survive_infinities() -> None:
    values = normal(5, 101)
    for level in (0.0, 0.025, 0.5, 0.975, 1.0):
        close(linear_quantile(values.copy(), level), np.quantile(values, level, axis=1))
    ends = np.array([1.0, np.inf, np.inf])
    assert [float(linear_quantile(ends.copy(), level)) for level in (0, 0.2, 0.5, 0.9)] == (
        [1.0] + [np.inf] * 3
    )


def test_too_few_prompts_are_nan_and_not_zero() -> None:
    delta = np.array([[np.nan] * 3, [1.0, np.nan, np.nan], [1.0, np.nan, 2.0]])
    result = st.paired_summary(delta, seed=0)
    assert result.n.tolist() == [0, 1, 2]
    for name, value in vars(result).items():
        if name != "n":
            assert np.isnan(value[:2]).all() and not np.isnan(value[2]), name


def test_shapes_follow_the_leading_axes() -> None:
    assert st.paired_summary(np.zeros((3, 0, 2, 5)), seed=0).mean.shape == (3, 0, 2)
    assert st.paired_summary(np.zeros((3, 2, 0)), seed=0).mean.shape == (3, 2)
    assert st.paired_summary([1.0, 2.0], seed=0).p_value.shape == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"delta": [1.0, np.inf]}, "infinity"),
        ({"delta": 1.0}, "prompt on its last axis"),
        ({"n_resamples": 0}, "n_resamples: expected at least 1, got 0"),
        ({"n_tail": -1}, "n_tail: expected 0"),
        ({"confidence": 1.0}, "confidence: expected a number between 0 and 1, got 1.0"),
        ({"max_exact": 21}, "max_exact: expected 1 to 20, got 21"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    defaults: dict[str, Any] = {"delta": [1.0, 2.0], "seed": 0}
    with pytest.raises(ValueError, match=message):
        st.paired_summary(**(defaults | arguments))


def test_the_seed_is_used_and_is_enough() -> None:
    row = normal(30)
    assert summary_of(row, seed=1) == summary_of(row, seed=1)
    assert summary_of(row, seed=1)["ci_low"] != summary_of(row, seed=2)["ci_low"]
    assert summary_of(row, seed=1)["p_value"] != summary_of(row, seed=2)["p_value"]


def test_draws_are_pinned() -> None:
    # Stored results are only comparable while these stay: raise DRAW_VERSION to change them.
    assert draws.bootstrap_indices(seed=7, n=5, n_resamples=2).tolist() == PINNED_INDICES
    (signs,) = draws.random_sign_blocks(seed=7, purpose="sign-flip", n=6, n_resamples=1)
    assert signs.tolist() == PINNED_SIGNS


PINNED_INDICES = [[2, 4, 0, 3, 4], [0, 3, 2, 2, 4]]
PINNED_SIGNS = [[-1.0, -1.0, 1.0, 1.0, -1.0, 1.0]]


# --- error rates and liveness -----------------------------------------------------------------


@pytest.mark.parametrize("n", [6, 10, 35])
@pytest.mark.parametrize("noise", ["normal", "laplace", "sparse"])
def test_false_positive_rate_under_the_null(n: int, noise: str) -> None:
    rng = np.random.default_rng(n)
    draw: dict[str, Callable[[], FloatArray]] = {
        "normal": lambda: rng.normal(size=(2_000, n)),
        "laplace": lambda: rng.laplace(size=(2_000, n)),
        "sparse": lambda: np.rint(rng.normal(0, 0.5, size=(2_000, n))),
    }
    result = st.paired_summary(draw[noise](), seed=4, n_resamples=1_000, n_tail=20_000)
    for level in (0.01, 0.05, 0.2):
        allowed = level + 4 * np.sqrt(level * (1 - level) / 2_000)
        assert np.mean(result.p_value <= level) <= allowed, level
    if noise != "sparse":
        assert np.mean(result.p_value <= 0.2) > 0.15
    uniform = calibration.randomised_p(result.p_value, result.p_strict, seed=5)
    assert calibration.ks_uniform(uniform).p_value > 1e-3


def test_discoveries_under_the_null_stay_within_alpha() -> None:
    families = normal(400, 40, 10, seed=11)
    p = st.paired_summary(families, seed=4, n_resamples=1_000, n_tail=20_000).p_value
    q = st.benjamini_hochberg(p, axis=1)
    # With every hypothesis true, the false discovery rate is the share of families with any.
    share = np.mean((q < 0.05).any(axis=1))
    assert share <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 400)


def test_planted_effects_are_found_among_thousands() -> None:
    delta = normal(2_000, 35, seed=12)
    planted = np.arange(0, 2_000, 200)
    delta[planted] += 1.5
    result = st.paired_summary(delta, seed=4)
    found = np.flatnonzero(st.benjamini_hochberg(result.p_value) < 0.05)
    assert set(planted) <= set(found) and len(found) <= len(planted) + 3
    lone = np.delete(result.p_value, planted[1:])
    assert st.benjamini_hochberg(lone)[0] < 0.05


def test_a_lone_effect_is_lost_without_the_second_stage() -> None:
    delta = normal(2_000, 35, seed=12)
    delta[0] += 1.5
    p = st.paired_summary(delta, seed=4, n_tail=0).p_value
    assert st.benjamini_hochberg(p)[0] > 0.05


# --- Benjamini-Hochberg -----------------------------------------------------------------------


def test_q_equals_scipy_with_missing_left_out() -> None:
    p = np.random.default_rng(0).random((4, 6, 3)) ** 3
    p[1, 2], p[3, :, 0] = np.nan, np.nan
    tested = ~np.isnan(p)
    q = st.benjamini_hochberg(p)
    close(q[tested], stats.false_discovery_control(p[tested]))
    assert np.isnan(q[~tested]).all()


@pytest.mark.parametrize("axis", [0, -1, (0, 1), (2, 0)])
def test_families_extend_over_the_axes_named(axis: int | tuple[int, ...]) -> None:
    p = np.random.default_rng(1).random((4, 5, 3)) ** 2
    q = st.benjamini_hochberg(p, axis=axis)
    axes = {a % 3 for a in ((axis,) if isinstance(axis, int) else axis)}
    families = np.moveaxis(p, tuple(axes), tuple(range(len(axes)))).reshape(
        -1, *[p.shape[a] for a in range(3) if a not in axes]
    )
    corrected = np.moveaxis(q, tuple(axes), tuple(range(len(axes)))).reshape(families.shape)
    for index in np.ndindex(families.shape[1:]):
        expected = stats.false_discovery_control(families[(slice(None), *index)])
        close(corrected[(slice(None), *index)], expected)


def test_where_takes_tests_out_of_the_family() -> None:
    p = np.array([[0.01, 0.04], [0.03, 0.5]])
    q = st.benjamini_hochberg(p, where=[[True], [False]])
    close(q[0], stats.false_discovery_control(p[0]))
    assert np.isnan(q[1]).all()


def test_q_of_nothing() -> None:
    assert np.isnan(st.benjamini_hochberg(np.full((2, 3), np.nan))).all()
    assert st.benjamini_hochberg(np.empty((0, 3))).shape == (0, 3)
    assert st.benjamini_hochberg(0.03) == 0.03
    with pytest.raises(ValueError, match=r"expected numbers in \[0, 1\] or NaN"):
        st.benjamini_hochberg([0.5, 1.5])


# --- synergy ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 12, 50])
def test_equivalence_p_is_two_one_sided_t_tests(n: int) -> None:
    joint, singles = normal(6, n, seed=1), normal(2, 6, n, seed=2) / 2
    result = st.synergy(joint, singles, seed=0, margin=0.4, n_resamples=200)
    for cell in range(6):
        excess = joint[cell] - singles[0, cell] - singles[1, cell]
        margin = 0.4 * np.std(joint[cell], ddof=1)
        lower = stats.ttest_1samp(excess, -margin, alternative="greater").pvalue
        upper = stats.ttest_1samp(excess, margin, alternative="less").pvalue
        assert result.equivalence_p[cell] == pytest.approx(max(lower, upper), abs=1e-10)
        assert result.equivalence_margin[cell] == pytest.approx(margin, abs=1e-10)
        assert result.mean[cell] == pytest.approx(excess.mean(), abs=1e-10)


def verdict_of(result: st.SynergySummary, has_effect: bool = True) -> npt.NDArray[np.str_]:
    """The verdict of each synergy as if it were the only one."""
    return st.synergy_verdict(
        n=result.n, p_value=result.p_value, q_value=result.p_value,
        equivalence_q=result.equivalence_p, has_effect=has_effect,
    )  # fmt: skip


def test_synergy_verdicts_on_planted_cases() -> None:
    rng = np.random.default_rng(3)
    singles = rng.normal(0.5, 1, size=(2, 3, 60))
    together = singles.sum(axis=0)
    joint = np.stack(
        [
            together[0] + rng.normal(1.0, 0.5, size=60),  # does more
            together[1] + rng.normal(0.0, 0.3, size=60),  # adds up
            together[2] + rng.normal(0.0, 3.0, size=60),  # too noisy for its few prompts
        ]
    )
    joint[2, 10:] = np.nan
    result = st.synergy(joint, singles, seed=0)
    assert verdict_of(result).tolist() == ["Yes", "No", "undetermined"]
    assert verdict_of(result, has_effect=False).tolist() == ["no effect"] * 3


def test_additive_heads_leave_no_rounding_behind() -> None:
    singles = np.random.default_rng(4).integers(0, 9, size=(2, 20)) / 3
    joint = (singles[0] * 3 + singles[1] * 3) / 3
    assert np.any(joint - singles[0] - singles[1] != 0)
    result = st.synergy(joint, singles, seed=0)
    assert result.mean == 0 and result.p_value == 1 and result.equivalence_p == 0
    assert verdict_of(result) == "No"


def test_synergy_drops_a_prompt_missing_anywhere() -> None:
    joint, singles = normal(3, 9, seed=5), normal(2, 3, 9, seed=6)
    joint[0, 0], singles[1, 0, 4], singles[:, 1] = np.nan, np.nan, np.nan
    result = st.synergy(joint, singles, seed=0)
    kept = [1, 2, 3, 5, 6, 7, 8]
    alone = st.synergy(joint[0, kept], singles[:, 0, kept], seed=0)
    assert result.n.tolist() == [7, 0, 9]
    for name, value in vars(alone).items():
        assert getattr(result, name)[0] == value, name
    assert verdict_of(result)[1] == "undetermined" and np.isnan(result.equivalence_p[1])


def test_too_few_prompts_leave_synergy_undetermined() -> None:
    for n in (1, 2, 5):
        ones, zeros = np.ones(n), np.zeros((2, n))
        assert verdict_of(st.synergy(ones, zeros, seed=0)) == "undetermined"
        varied = np.arange(n) * 1.0
        result = st.synergy(varied, np.stack([varied, varied * 0]), seed=0)
        assert verdict_of(result) == "undetermined"
    assert verdict_of(st.synergy(np.ones(6), np.zeros((2, 6)), seed=0)) == "Yes"
    varied = np.arange(6.0)
    assert verdict_of(st.synergy(varied, np.stack([varied, varied * 0]), seed=0)) == "No"


@pytest.mark.parametrize(
    ("p", "q", "equivalence", "has_effect", "expected"),
    [
        (0.01, 0.04, 0.9, True, "Yes"),
        (0.01, 0.04, 0.01, True, "Yes"),
        (0.01, 0.04, 0.01, False, "no effect"),
        (0.01, 0.06, 0.01, True, "undetermined"),
        (0.5, 0.5, 0.01, True, "No"),
        (0.5, 0.5, 0.01, False, "no effect"),
        (0.5, np.nan, 0.01, True, "No"),
        (0.5, 0.5, 0.05, True, "undetermined"),
        (np.nan, np.nan, np.nan, True, "undetermined"),
        (np.nan, np.nan, np.nan, False, "undetermined"),
    ],
)
def test_verdict_table(p: float, q: float, equivalence: float, has_effect: bool, expected: str) -> None:
    given = {"p_value": p, "q_value": q, "equivalence_q": equivalence, "has_effect": has_effect}
    assert st.synergy_verdict(n=20, **given) == expected


def test_synergy_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"single_deltas: expected shape \(n_heads, \*\(4,\)\)"):
        st.synergy(np.zeros(4), np.zeros((2, 5)), seed=0)
    with pytest.raises(ValueError, match="margin: expected a positive number, got 0"):
        st.synergy(np.zeros(4), np.zeros((2, 4)), seed=0, margin=0)


# --- ratings and power ------------------------------------------------------------------------


def test_sizes_change_at_the_stated_thresholds() -> None:
    d = [0.0, 0.19, -0.2, 0.49, 0.5, -0.8, np.inf, 3.0, np.nan, 1.0]
    q = [0.01] * 7 + [0.05, 0.01, np.nan]
    assert st.size_of_effect(d, q).tolist() == [
        "negligible", "negligible", "small", "small", "medium", "large", "large",
        "n.s.", "not measured", "not measured",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("d", "q", "expected"),
    [
        ([0.9, 0.9, 0.1], [0.2, 0.05, 0.9], "none"),
        ([0.4, 0.9, 0.1], [0.01, 0.2, 0.9], "weak"),
        ([0.5, 0.9, 0.1], [0.01, 0.2, 0.9], "moderate"),
        ([-2.0, 0.9, 0.1], [0.01, 0.2, 0.9], "moderate"),
        ([-0.8, 0.3, 0.1], [0.01, 0.02, 0.9], "strong"),
        ([0.7, 0.7, 0.7], [0.01, 0.01, 0.01], "moderate"),
        ([np.nan, 0.9, 0.9], [0.01, np.nan, 0.2], "none"),
        ([np.nan, np.nan, 0.9], [0.01, 0.01, np.nan], "not measured"),
    ],
)
def test_overall_rating(d: list[float], q: list[float], expected: str) -> None:
    assert st.overall_rating(d, q) == expected
    assert st.overall_rating([d, d], [q, q]).tolist() == [expected] * 2


@pytest.mark.parametrize("n", [2, 4, 14, 20, 21, 70])
def test_minimum_p_is_what_a_constant_column_gets(n: int) -> None:
    settings: dict[str, Any] = {"n_resamples": 500, "n_tail": 3_000}
    reached = summary_of(np.ones(n), **settings)["p_value"]
    assert st.minimum_p(n, **settings) == pytest.approx(reached, abs=1e-12)


def test_what_a_level_asks_for() -> None:
    np.testing.assert_array_equal(st.minimum_p([0, 1, 4, np.nan]), [1, 1, 0.125, np.nan])
    assert [st.prompts_needed(p) for p in (1.0, 0.126, 0.125, 0.05)] == [2, 4, 5, 6]
    with pytest.raises(ValueError, match=r"p: expected a number in \(0, 1\], got 0"):
        st.prompts_needed(0)


# --- calibration ------------------------------------------------------------------------------


def test_ks_equals_scipy_and_sees_what_is_not_uniform() -> None:
    p = np.random.default_rng(0).random(1_500)
    expected = stats.kstest(p, "uniform")
    result = calibration.ks_uniform(np.append(p, np.nan).reshape(19, 79))
    assert (result.statistic, result.p_value) == (expected.statistic, expected.pvalue)
    assert result.n == 1_500 and result.p_value > 0.01
    assert calibration.ks_uniform(p**1.3).p_value < 0.01
    with pytest.raises(ValueError, match="at least one number"):
        calibration.ks_uniform([np.nan])


def test_discrete_p_fails_ks_and_randomised_p_does_not() -> None:
    null = np.rint(normal(2_000, 7, seed=6))
    result = st.paired_summary(null, seed=0, n_tail=0)
    assert calibration.ks_uniform(result.p_value).p_value < 1e-6
    uniform = calibration.randomised_p(result.p_value, result.p_strict, seed=1)
    assert calibration.ks_uniform(uniform).p_value > 0.01
    shifted = st.paired_summary(null + 0.3, seed=0, n_tail=0)
    live = calibration.randomised_p(shifted.p_value, shifted.p_strict, seed=1)
    assert calibration.ks_uniform(live).p_value < 1e-6
    with pytest.raises(ValueError, match="p_strict: expected shape"):
        calibration.randomised_p([0.1, 0.2], [0.1], seed=0)


def test_variance_ratio_equals_scipy_bootstrap() -> None:
    shared, independent = normal(25, seed=1), normal(25, seed=2) * 2

    def ratio(a: FloatArray, b: FloatArray, axis: int) -> FloatArray:
        return np.asarray(np.var(b, axis=axis, ddof=1) / np.var(a, axis=axis, ddof=1))

    result = calibration.variance_ratio(
        np.append(shared, [1.0, np.nan]), np.append(independent, [np.nan, 1.0]),
        seed=3, n_resamples=800,
    )  # fmt: skip
    # SciPy draws two index matrices for paired data unless both ride on one index.
    theirs = stats.bootstrap(
        (np.arange(25),),
        lambda i, axis: ratio(shared[i], independent[i], axis),
        n_resamples=800,
        vectorized=True,
        method="percentile",
        rng=draws.keyed_generator(seed=3, purpose="variance ratio", n=25),
    ).confidence_interval
    assert result.n == 25
    close(result.ratio, ratio(shared, independent, 0))
    close([result.ci_low, result.ci_high], theirs)
    close(result.variance_shared, np.var(shared, ddof=1))
    close(result.variance_independent, np.var(independent, ddof=1))


def test_variance_ratio_finds_a_planted_saving() -> None:
    rng = np.random.default_rng(5)
    result = calibration.variance_ratio(rng.normal(size=(20, 70)), rng.normal(0, 2, (20, 70)), seed=0)
    covered = (result.ci_low <= 4) & (result.ci_high >= 4)
    assert covered.mean() >= 0.7 and np.all(result.ci_low > 1)


def test_variance_ratio_where_a_variance_is_zero() -> None:
    flat, varied = np.full(8, 0.1), normal(8)
    a, b = np.stack([flat, varied, flat]), np.stack([varied, flat, flat])
    result = calibration.variance_ratio(a, b, seed=0)
    assert result.ratio.tolist()[:2] == [np.inf, 0.0] and np.isnan(result.ratio[2])
    assert result.ci_low[0] == np.inf and result.ci_high[1] == 0 and np.isnan(result.ci_low[2])
    assert np.isnan(calibration.variance_ratio([1.0], [2.0], seed=0).ratio)
    with pytest.raises(ValueError, match=r"independent: expected shape \(2,\), got \(3,\)"):
        calibration.variance_ratio([1.0, 2.0], [1.0, 2.0, 3.0], seed=0)
