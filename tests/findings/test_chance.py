"""Median effect sizes under random signs, against one flip after the other by numpy."""

import numpy as np

from phase7.findings.chance import median_sizes
from phase7.statistics.draws import random_sign_blocks


def by_hand(differences, signs):
    sizes = []
    for row in differences:
        flipped = (row * signs)[np.isfinite(row)]
        mean, sd = flipped.mean(), flipped.std(ddof=1)
        if np.ptp(flipped) == 0:
            sd = 0.0
        sizes.append(abs(mean) / sd if sd else (0.0 if mean == 0 else np.inf))
    return np.median(sizes)


def test_every_flip_is_that_of_a_loop_with_missing_prompts_zeros_and_no_spread():
    rng = np.random.default_rng(3)
    differences = rng.normal(size=(9, 7)).round(1)
    differences[0] = 0
    differences[1, 2:] = np.nan
    differences[2] = 0.3
    differences[3, :4] = 0
    (signs,) = random_sign_blocks(seed=5, purpose="median size", n=7, n_resamples=200)
    expected = [by_hand(differences, flip) for flip in signs]
    np.testing.assert_allclose(median_sizes(differences, seed=5, n_flips=200), expected, rtol=1e-10)
    assert np.ptp(expected) > 0


def test_equal_differences_have_no_spread_where_all_their_signs_agree():
    found = median_sizes(np.full((1, 3), 0.1), seed=5, n_flips=200)
    assert 0.1 < np.isinf(found).mean() < 0.4  # 2 of 8 sign vectors
