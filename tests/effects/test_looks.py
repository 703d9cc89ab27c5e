"""Looks at a confirmation: what they do to every number, and where a run stops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phase7.effects.inference import CONFIDENCE, cell_statistics
from phase7.effects.looks import is_settled, last_look
from phase7.effects.scores import Scores
from phase7.experiment.statistics import AtLook, Statistics
from phase7.statistics import level_shares, paired_summary
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.metrics import METRICS
from tests.programs.measurements import adaptive

N, N_CELLS, METRIC_NAMES = 12, 3, METRICS[:4]
STATS = Statistics(looks=(6, 9), spending="pocock", resamples=200)


def scores(shift: float = 0.0, seed: int = 0, n: int = N) -> Scores:
    rng = np.random.default_rng(seed)
    shape = (N_CELLS, len(METRIC_NAMES), n)
    baseline = rng.standard_normal(shape[1:])
    control = baseline + rng.standard_normal(shape)
    return Scores(
        baseline=baseline,
        patched={"emotion": control + 0.5 * rng.standard_normal(shape) + shift, "control": control},
        changed={},
        metrics=METRIC_NAMES,
    )


PRIMARY = np.zeros((N_CELLS, len(METRIC_NAMES)), dtype=bool)
PRIMARY[:2, :2] = True


def first(of: Scores, n: int) -> Scores:
    return replace(
        of, baseline=of.baseline[:, :n], patched={r: v[..., :n] for r, v in of.patched.items()}
    )


# --- numbers -----------------------------------------------------------------------------------------


def test_p_and_q_are_divided_by_the_looks_share_and_the_rest_is_not():
    look = STATS.at_look(9, N)
    assert 0.1 < look.share < 0.5
    of = scores(0.4)
    plain = cell_statistics(of, STATS.at_once(), 1, PRIMARY, confidence=None)
    found = cell_statistics(of, look, 1, PRIMARY, confidence=None)
    scaled = [name for name in plain.values if name.endswith(("p_value", "q_value", "p_adjusted"))]
    assert len(scaled) == 6
    for name, values in plain.values.items():
        expected = np.minimum(values / look.share, 1) if name in scaled else values
        np.testing.assert_allclose(found.column(name), expected, rtol=1e-12, err_msg=name)
    for prefix, kinds in plain.cell_p.items():
        for kind, p in kinds.items():
            expected = np.minimum(p / look.share, 1)
            np.testing.assert_allclose(found.cell_p[prefix][kind], expected, rtol=1e-12)
    assert (found.column("net_p_value") != plain.column("net_p_value")).any()


def test_intervals_have_the_confidence_that_is_left_and_agree_with_p():
    look, of = STATS.at_look(9, N), scores(0.4)
    found = cell_statistics(of, look, 1, PRIMARY)
    net = of.patched["emotion"] - of.patched["control"]
    level = 1 - 0.05 * look.share
    expected = paired_summary(net, seed=1, n_resamples=200, confidence=level)
    np.testing.assert_array_equal(found.column("net_ci_low"), expected.ci_low)
    np.testing.assert_array_equal(found.column("net_ci_high"), expected.ci_high)
    outside = (found.column("net_ci_low") > 0) | (found.column("net_ci_high") < 0)
    rejected = found.column("net_p_value") < 1 - CONFIDENCE
    np.testing.assert_array_equal(outside, rejected)
    assert rejected.any() and not rejected.all()


def test_tests_that_cannot_reject_at_the_looks_share_are_in_no_family():
    """Six prompts reach 2 / 2^6: below 0.05, and not below a third of it."""
    of, look = scores(n=6), AtLook(part=1 / 3)
    there = cell_statistics(of, Statistics(), 1, PRIMARY, confidence=None).column("net_q_value")
    assert np.isfinite(there).all()
    left = cell_statistics(of, look, 1, PRIMARY, confidence=None).column("net_q_value")
    np.testing.assert_array_equal(np.isfinite(left), PRIMARY)


def test_the_shares_are_those_of_the_spending_function():
    ends = STATS.ends(N)
    assert ends == (6, 9, 12) == STATS.ends(12) and STATS.ends(9) == (6, 9) and STATS.ends(5) == (5,)
    shares = level_shares(ends, alpha=STATS.alpha, spending="pocock")
    np.testing.assert_array_equal([STATS.at_look(n, N).share for n in ends], shares)
    assert STATS.share == STATS.at_look(5, 5).share == STATS.at_look(6, N).at_once().share == 1
    with pytest.raises(ValueError, match="not in tuple"):
        STATS.at_look(7, N)


# --- where a run stops -------------------------------------------------------------------------------


def stopped(of: Scores, stats: Statistics = STATS, primary=PRIMARY) -> tuple[int, Statistics, list[int]]:
    asked: list[int] = []

    def scores_of(n: int) -> Scores:
        asked.append(n)
        return first(of, n)

    n, look = last_look(scores_of, N, primary, stats, 1)
    return n, look, asked


def test_a_run_stops_where_every_primary_metric_is_significant_and_asks_for_no_more():
    n, look, asked = stopped(scores(3.0))
    assert n == 9 and asked == [6, 9]  # six prompts cannot reach their share
    assert look == STATS.at_look(9, N)
    assert is_settled(first(scores(3.0), 9), PRIMARY, look, 1)


def test_without_an_effect_all_prompts_are_run_and_tested_at_what_is_left():
    n, look, asked = stopped(scores())
    assert (n, asked) == (N, [6, 9]) and look == STATS.at_look(N, N) and look.share < 1


def test_one_metric_that_does_not_move_keeps_it_running():
    of = scores(3.0)
    still = replace(of, patched={**of.patched, "emotion": of.patched["emotion"].copy()})
    still.patched["emotion"][:, 1] = of.patched["control"][:, 1]
    assert stopped(still)[0] == N and stopped(of)[0] < N
    one_cell = replace(of, patched={**of.patched, "emotion": of.patched["emotion"].copy()})
    one_cell.patched["emotion"][0] = of.patched["control"][0]
    assert stopped(one_cell)[0] < N  # one primary cell is enough


def test_what_is_not_primary_decides_nothing():
    of = scores()
    moved = replace(of, patched={**of.patched, "emotion": of.patched["emotion"].copy()})
    moved.patched["emotion"][2] += 3
    moved.patched["emotion"][:, 2:] += 3
    assert stopped(moved)[0] == N
    assert stopped(of, primary=np.zeros_like(PRIMARY)) == (N, STATS, [])


def test_without_looks_nothing_is_asked_before_the_end():
    assert stopped(scores(3.0), Statistics()) == (N, Statistics(), [])


@pytest.mark.parametrize("looks", [(1,), (5, 5), (7, 6), (0, 3)])
def test_looks_that_do_not_ascend_are_refused(looks):
    with pytest.raises(UserError, match="looks: expected ascending numbers of prompts of at least 2"):
        Statistics(looks=looks)


def test_the_study_of_null_runs_tells_care_from_carelessness():
    """Few runs of `tests/programs/measurements/adaptive.py`, which has the figures."""
    found = adaptive.looks_study(10, "pocock")
    assert max(found["false_positives"].values()) <= 0.1
    assert sum(found["shares"].values()) == pytest.approx(1, abs=1e-3)
    assert found["with_an_effect"]["mean_prompts"] <= adaptive.N_CONFIRMED
