"""The primary family: q over the few p that were chosen in advance, and over no others."""

from __future__ import annotations

import numpy as np
import pytest

from phase7.effects.inference import primary_metrics, primary_q_values
from phase7.vocabulary.metrics import METRICS

READ = ("logodds_joy", "kl_path", "logodds_joy_first", "kl_path_first", "logodds_anger")
NAMES = (*METRICS, *READ)
PRIMARY = ("sentiment_positive", "politeness", "goemotions_joy", "logodds_joy", "logodds_joy_first")


def test_its_metrics():
    assert {NAMES[m] for m in primary_metrics(NAMES, "joy")} == set(PRIMARY)
    # An emotion without a label of its own, and a run without read-outs.
    assert {METRICS[m] for m in primary_metrics(METRICS, "boredom")} == {
        "sentiment_positive",
        "politeness",
    }


def test_q_by_hand():
    """Two sets: ten p in order, each times 10 over its rank, with the minimum from the right."""
    p = np.full((2, len(NAMES)), 1e-9)  # every other metric is far smaller, and is not counted
    wanted = {"sentiment_positive": (0.001, 0.3), "politeness": (0.02, 0.04), "goemotions_joy": (0.03, 0.8),
              "logodds_joy": (0.004, 0.5), "logodds_joy_first": (0.01, 0.9)}  # fmt: skip
    for name, values in wanted.items():
        p[:, NAMES.index(name)] = values
    q = primary_q_values(p, NAMES, "joy")
    by_hand = {"sentiment_positive": (0.01, 0.3 * 10 / 7), "politeness": (0.05, 0.04 * 10 / 6),
               "goemotions_joy": (0.06, 0.8 * 10 / 9), "logodds_joy": (0.02, 0.5 * 10 / 8),
               "logodds_joy_first": (0.1 / 3, 0.9)}  # fmt: skip
    for name, values in by_hand.items():
        np.testing.assert_allclose(q[:, NAMES.index(name)], values, rtol=1e-12, err_msg=name)
    others = [m for m, name in enumerate(NAMES) if name not in PRIMARY]
    assert np.isnan(q[:, others]).all()


def test_what_was_not_tested_takes_no_place():
    p = np.full((1, len(NAMES)), np.nan)
    p[0, NAMES.index("logodds_joy")], p[0, NAMES.index("politeness")] = 0.01, 0.5
    q = primary_q_values(p, NAMES, "joy")
    assert q[0, NAMES.index("logodds_joy")] == pytest.approx(0.02)
    assert np.isnan(q[0, NAMES.index("goemotions_joy")])


def test_p_are_not_changed():
    p = np.full((1, len(NAMES)), 0.2)
    before = p.copy()
    primary_q_values(p, NAMES, "joy")
    np.testing.assert_array_equal(p, before)
