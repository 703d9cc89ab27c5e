"""Net effects over donor pairs as well as over recipients: p, interval and calibration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import kstest

from phase7.effects.families import q_values
from phase7.effects.inference import cell_statistics
from phase7.effects.scores import Scores
from phase7.experiment.statistics import Statistics
from phase7.statistics import global_p, paired_summary

METRICS = ("politeness", "logodds_words", "kl_path", "logodds_words_first", "kl_path_first")
DIRECTED, TEXT, KL = [1, 3], 0, [2, 4]
STATS = Statistics(resamples=500)
N_CELLS, N_PROMPTS, N_PAIRS = 4, 8, 6


def scores(shares=None, seed: int = 0, n_prompts: int = N_PROMPTS) -> Scores:
    """Random scores with a clear net effect, and some shares of pairs."""
    rng = np.random.default_rng(seed)
    shape = (N_CELLS, len(METRICS), n_prompts)
    return Scores(
        baseline=rng.normal(size=shape[1:]),
        patched={"emotion": rng.normal(0.8, 1.0, shape), "control": rng.normal(0.0, 0.3, shape)},
        changed={},
        metrics=METRICS,
        donor_shares=shares,
    )


def shares_of(seed: int = 1, shift: float = 0.5) -> np.ndarray:
    """Random shares of the read-outs that have a direction; NaN for the rest."""
    shares = np.full((N_CELLS, len(METRICS), N_PAIRS), np.nan)
    shares[:, DIRECTED] = np.random.default_rng(seed).normal(shift, 0.6, (N_CELLS, 2, N_PAIRS))
    return shares


def net_of(one: Scores) -> np.ndarray:
    return one.patched["emotion"] - one.patched["control"]


def by_enumeration(shares: np.ndarray) -> float:
    """The part of all 2^pairs choices of signs whose mean is as far from 0."""
    own, n_reached = abs(sum(shares)), 0
    for signs in itertools.product((-1, 1), repeat=len(shares)):
        n_reached += abs(sum(s * x for s, x in zip(signs, shares, strict=True))) >= own - 1e-12
    return n_reached / 2 ** len(shares)


def test_the_p_over_donor_pairs_is_by_all_flips_of_the_pairs():
    """Also where the prediction has the other sign than what was measured: then it is 1."""
    one, shares = scores(), shares_of(shift=0.2)
    found = cell_statistics(Scores(**{**vars(one), "donor_shares": shares}), STATS, 3)
    net, n_disagree = net_of(one).mean(axis=-1), 0
    for c, m in itertools.product(range(N_CELLS), DIRECTED):
        agree = net[c, m] * shares[c, m].mean() > 0
        expected = by_enumeration(shares[c, m]) if agree else 1.0
        assert found.column("net_donor_p_value")[c, m] == pytest.approx(expected, abs=1e-12)
        n_disagree += not agree
    assert 0 < n_disagree < 2 * N_CELLS


def test_net_p_is_the_larger_of_both():
    shares = shares_of(shift=0.6)
    plain, both = (cell_statistics(scores(given), STATS, 3) for given in (None, shares))
    over_recipients, over_donors = plain.column("net_p_value"), both.column("net_donor_p_value")
    got = both.column("net_p_value")[:, DIRECTED]
    expected = np.maximum(over_recipients, over_donors)[:, DIRECTED]
    np.testing.assert_array_equal(got, expected)
    larger = over_donors[:, DIRECTED] > over_recipients[:, DIRECTED]
    assert larger.any() and not larger.all()  # liveness: each of the two decides somewhere


def test_q_is_made_of_that_p():
    found = cell_statistics(scores(shares_of()), STATS, 3)
    tests = found.column("net_p_value"), found.column("net_n_nonzero"), METRICS, STATS
    expected = q_values(*tests, cell_p=found.cell_p["net_"])
    np.testing.assert_array_equal(found.column("net_q_value"), expected)
    assert (expected != q_values(*tests)).any()  # liveness: in two steps it is another number


def test_the_p_of_a_cell_is_the_larger_of_both_too():
    shares = shares_of(shift=0.6)
    plain, both = (cell_statistics(scores(given), STATS, 3) for given in (None, shares))
    over_pairs = global_p(shares[:, DIRECTED], seed=3)
    over_recipients = plain.cell_p["net_"]["logits"]
    np.testing.assert_array_equal(both.cell_p["net_"]["logits"], np.maximum(over_recipients, over_pairs))
    assert (over_pairs > over_recipients).any()
    np.testing.assert_array_equal(both.cell_p[""]["logits"], plain.cell_p[""]["logits"])


def test_the_smaller_number_of_prompts_or_pairs_that_differ_counts():
    """It decides how small the larger p can get."""
    shares = shares_of()
    shares[0, DIRECTED[0], :2] = 0.0
    found = cell_statistics(scores(shares), STATS, 3)
    assert found.column("net_n_nonzero")[0, DIRECTED[0]] == N_PAIRS - 2
    assert (found.column("net_n_nonzero")[1:, DIRECTED] == N_PAIRS).all()
    assert (found.column("net_n_nonzero")[:, TEXT] == N_PROMPTS).all()
    assert np.isnan(found.column("net_q_value")[0, DIRECTED[0]])  # of 4 no signs reach p below 0.05
    assert np.isfinite(found.column("net_q_value")[1:, DIRECTED]).all()


def test_the_interval_is_the_union_of_both():
    """That of the pairs is by their own flips, to the size of the measured effect."""
    shares = shares_of(shift=0.6)
    plain, both = (cell_statistics(scores(given), STATS, 3) for given in (None, shares))
    net, wider = plain.column("net_delta"), 0
    for c, m in itertools.product(range(N_CELLS), DIRECTED):
        pairs = paired_summary(shares[c, m], seed=3, n_resamples=500)
        assert net[c, m] * pairs.mean > 0
        scale = net[c, m] / pairs.mean
        own = [plain.column(f"net_ci_{end}")[c, m] for end in ("low", "high")]
        union = min(own[0], scale * pairs.ci_low), max(own[1], scale * pairs.ci_high)
        got = [both.column(f"net_ci_{end}")[c, m] for end in ("low", "high")]
        np.testing.assert_allclose(got, union, rtol=1e-12)
        assert got[0] <= net[c, m] <= got[1]
        wider += got != own
    assert wider


@pytest.mark.parametrize("sign", [1, -1])
def test_a_prediction_of_the_other_sign_supports_nothing(sign):
    """However sure the pairs are among themselves, and whatever the sign of the measured effect."""
    one = scores()
    one.patched["emotion"] = one.baseline + sign * np.abs(one.patched["emotion"] - one.baseline) + sign
    shares = np.full((N_CELLS, len(METRICS), N_PAIRS), np.nan)
    shares[:, DIRECTED] = -sign * np.linspace(0.9, 1.1, N_PAIRS)
    against = cell_statistics(Scores(**{**vars(one), "donor_shares": shares}), STATS, 3)
    agreeing = cell_statistics(Scores(**{**vars(one), "donor_shares": -shares}), STATS, 3)
    plain = cell_statistics(one, STATS, 3)
    assert (against.column("net_p_value")[:, DIRECTED] == 1).all()
    assert (agreeing.column("net_p_value")[:, DIRECTED] < 0.1).all()
    low, high = (against.column(f"net_ci_{end}")[:, DIRECTED] for end in ("low", "high"))
    np.testing.assert_array_equal(low, np.minimum(plain.column("net_ci_low"), 0.0)[:, DIRECTED])
    np.testing.assert_array_equal(high, np.maximum(plain.column("net_ci_high"), 0.0)[:, DIRECTED])
    excluded = plain.column("net_ci_low") * plain.column("net_ci_high") > 0
    assert excluded[:, DIRECTED].any()  # without the pairs, the interval would not hold 0


def test_a_prediction_of_nothing_supports_nothing():
    shares = shares_of()
    shares[:, DIRECTED] = 0.0
    found = cell_statistics(scores(shares), STATS, 3)
    assert (found.column("net_p_value")[:, DIRECTED] == 1).all()


def test_what_has_no_shares_stays_as_it_was():
    """Metrics of text to the bit, and every statistic but those of net Δ."""
    plain, both = (cell_statistics(scores(given), STATS, 3) for given in (None, shares_of()))
    assert np.isnan(plain.column("net_donor_p_value")).all()
    assert np.isnan(both.column("net_donor_p_value")[:, [TEXT, *KL]]).all()
    for name, column in plain.values.items():
        np.testing.assert_array_equal(both.column(name)[:, [TEXT, *KL]], column[:, [TEXT, *KL]])
        if not name.startswith("net_"):
            np.testing.assert_array_equal(both.column(name), column)
    assert np.isfinite(plain.column("net_p_value")[:, TEXT]).all()


@pytest.mark.parametrize("given", [None, shares_of()], ids=["no shares", "shares"])
def test_a_divergence_is_not_tested(given):
    found = cell_statistics(scores(given), STATS, 3)
    for name in ("p_value", "q_value", "net_p_value", "net_q_value"):
        assert np.isnan(found.column(name)[:, KL]).all()
        assert np.isfinite(found.column(name)[:, DIRECTED]).all()
    assert np.isfinite(found.column("delta")[:, KL]).all()


def test_a_single_recipient_is_not_tested_by_the_donors_alone():
    found = cell_statistics(scores(shares_of(), n_prompts=1), STATS, 3)
    for name in ("net_p_value", "net_q_value", "net_ci_low", "net_ci_high"):
        assert np.isnan(found.column(name)).all()


def test_a_pair_without_a_share_is_left_out():
    shares = shares_of()
    fewer = shares[..., 1:]
    shares[..., 0] = np.nan
    one, two = (cell_statistics(scores(given), STATS, 3) for given in (shares, fewer))
    for name in ("net_donor_p_value", "net_p_value", "net_ci_low"):
        np.testing.assert_array_equal(one.column(name), two.column(name))


# --- calibration ---------------------------------------------------------------------------------


def simulated(n_cells: int, effect: float, seed: int) -> Scores:
    """Heads with fixed gradients, 12 pairs of donors and 12 recipients.

    What a pair adds through a head is `effect` and a normal deviate; without an effect, its two prompts
    can be exchanged. A recipient responds to the mean of the donors by nearly the same gradient as any
    other, so recipients agree even where the donors differ by chance alone.
    """
    rng, n_pairs, n_recipients = np.random.default_rng(seed), 12, 12
    shares = effect + rng.normal(size=(n_cells, 1, n_pairs))
    gradient = 1 + 0.1 * rng.normal(size=(n_cells, 1, n_recipients))
    net = gradient * shares.mean(axis=-1, keepdims=True)
    return Scores(
        baseline=np.zeros((1, n_recipients)),
        patched={"emotion": net, "control": np.zeros_like(net)},
        changed={},
        metrics=("logodds_words",),
        donor_shares=shares,
    )


def net_p(one: Scores) -> np.ndarray:
    return cell_statistics(one, Statistics(resamples=100), 3).column("net_p_value")[:, 0]


def test_donors_that_differ_by_chance_are_not_found():
    made = simulated(400, 0.0, seed=8)
    p = net_p(made)
    assert kstest(p, "uniform", alternative="greater").pvalue > 0.01
    assert 0.02 < (p <= 0.05).mean() < 0.09
    recipients_alone = net_p(Scores(**{**vars(made), "donor_shares": None}))
    assert (recipients_alone <= 0.001).mean() > 0.9  # what the pairs protect from


def test_donors_that_differ_in_truth_are_found():
    """Liveness: an effect of a standard deviation, with 12 pairs."""
    assert (net_p(simulated(200, 1.0, seed=9)) <= 0.05).mean() > 0.8
