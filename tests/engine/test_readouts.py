"""Read-outs of one distribution, where rounding could spoil them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, logsumexp

from phase7.engine.decode.readouts import Reading

N_VOCAB = 12
logits_of_a_row = st.lists(st.floats(-200, 200, width=32), min_size=N_VOCAB, max_size=N_VOCAB).map(
    np.array
)


def read(rows, token=0, ids=(1, 4)):
    reading = Reading(len(rows), [token], {"words": ids})
    for arm, logits in enumerate(rows):
        reading.note(arm, 0, logits)
    return reading


@given(rows=st.lists(logits_of_a_row, min_size=2, max_size=2), token=st.integers(0, N_VOCAB - 1))
def test_they_are_what_their_definitions_say(rows, token):
    got = read(rows, token).readouts
    log_b = log_softmax(rows[0])
    inside = np.isin(np.arange(N_VOCAB), (1, 4))
    for arm, logits in enumerate(rows):
        log_p = log_softmax(logits)
        odds = logsumexp(log_p[inside]) - logsumexp(log_p[~inside])
        kl = (np.exp(log_b) * (log_b - log_p)).sum()
        assert got.log_likelihood[arm, 0] == pytest.approx(log_p[token], abs=1e-11)
        assert got.log_odds["words"][arm, 0] == pytest.approx(odds, abs=1e-11)
        assert got.kl[arm, 0] == pytest.approx(max(kl, 0), abs=1e-11)


def test_log_odds_of_a_near_certain_set_do_not_cancel():
    """1 - P is 4e-44 here: subtracted from 1, nothing of it would be left."""
    logits = np.zeros(N_VOCAB)
    logits[1] = 100.0
    expected = 100.0 + np.log1p(np.exp(-100.0)) - np.log(N_VOCAB - 2)
    assert read([logits]).readouts.log_odds["words"][0, 0] == pytest.approx(expected, rel=1e-14)
    assert read([-logits], ids=(1,)).readouts.log_odds["words"][0, 0] == pytest.approx(
        -100.0 - np.log(N_VOCAB - 1), rel=1e-14
    )


def test_small_divergences_are_resolved():
    """A hundredth of a millionth of a nat, against its series."""
    baseline = np.linspace(-2, 2, N_VOCAB)
    change = 1e-4 * np.sin(np.arange(N_VOCAB))
    p = np.exp(log_softmax(baseline))
    variance = (p * change**2).sum() - (p * change).sum() ** 2
    kl = read([baseline, baseline + change]).readouts.kl
    assert kl[0, 0] == 0.0
    assert kl[1, 0] == pytest.approx(variance / 2, rel=1e-3)


def test_a_constant_added_to_logits_changes_nothing_but_rounding():
    baseline = np.linspace(-2, 2, N_VOCAB)
    readouts = read([baseline, baseline + 30.0]).readouts
    assert readouts.kl[1, 0] == pytest.approx(0.0, abs=1e-13)
    assert readouts.log_odds["words"][1, 0] == pytest.approx(readouts.log_odds["words"][0, 0])


def test_the_gap_is_the_largest_difference_of_logits():
    reading = read([np.zeros(N_VOCAB)])
    assert reading.gap(np.zeros(N_VOCAB)) == 0.0
    assert reading.gap(-np.arange(N_VOCAB) / 8) == 11 / 8
    assert np.isnan(reading.gap(np.full(N_VOCAB, np.nan)))


def test_what_has_not_been_noted_is_missing():
    assert np.isnan(Reading(2, [0, 1], {}).readouts.kl).all()
