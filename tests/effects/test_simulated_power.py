"""The program that compares predicted with achieved power, on made-up differences."""

from __future__ import annotations

import numpy as np
import pytest

from tests.programs.measurements.power import achieved, experiments, under_the_null

METRICS = ["sentiment_positive", "politeness", "logodds_joy"]


def differences() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    made = rng.normal(0.3, 1.0, size=(6, 3, 12)) + rng.normal(size=(6, 1, 12))
    primary = np.zeros((6, 3), dtype=bool)
    primary[:2] = True
    return made, primary


def test_experiments_have_no_effect_and_keep_what_tests_share():
    made, _ = differences()
    drawn = experiments(made, 400, seed=1)
    mean = np.mean([one.mean() for one in drawn])
    assert abs(mean) < 4 * np.std([one.mean() for one in drawn]) / np.sqrt(400)
    sizes = np.sort(np.abs(made[0, 0]))
    assert all(np.isin(np.abs(one[0, 0]), sizes).all() for one in drawn[:5])
    one, other = (np.concatenate([d[0, m] for d in drawn]) for m in (0, 1))
    assert np.corrcoef(one, other)[0, 1] > 0.3  # the sign of a prompt is that of all its tests


@pytest.mark.slow
def test_errors_and_power():
    made, primary = differences()
    drawn = experiments(made, 120, seed=1)
    errors = under_the_null(drawn, primary, METRICS)
    assert errors["family_wise_error_of_p_adjusted"] < 0.12
    assert errors["fdr_of_q_of_texts"] < 0.12 and errors["fdr_of_q_of_readouts"] < 0.12
    assert errors["family_wise_error_of_p"] > errors["family_wise_error_of_p_adjusted"]
    found = achieved(drawn, made, primary)
    for of_rule in found.values():
        assert abs(of_rule["0.8"]["mean"] - 0.8) < 0.08 and abs(of_rule["0.5"]["mean"] - 0.5) < 0.12
