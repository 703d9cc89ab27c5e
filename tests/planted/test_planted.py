"""The pipeline finds what was planted, and reports the jointly acting pair as synergy.

In which modes, and why: all heads of the planted model attend uniformly, so the recipient's attention,
the donor's attention and the donor's output agree on how much of each value is moved, and the markers
are in the donor's values. All three modes must therefore find the carrier and the pair.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from phase7.vocabulary.heads import format_heads
from phase7.vocabulary.modes import MODES
from tests.planted import model
from tests.planted.experiment import run

METRIC = "gratitude_keywords"
#: Of the two runs of one seed; the twenty seeds take as many as the experiment does.
N_PROMPTS = 24


def check(tree) -> tuple[int, int]:
    """Assert what must be found; return (discoveries, false discoveries) among single heads."""
    found = (tree.to_dataset().net_q_value < 0.05) & (tree.to_dataset().net_delta.notnull())
    carrier = found.sel(layer=model.CARRIER.layer, head=model.CARRIER.head)
    for mode in MODES:
        assert carrier.sel(mode=mode, metric=METRIC), mode
    swept = tree["sweep"].to_dataset().net_delta.sel(mode="result", metric=METRIC).values
    assert np.unravel_index(np.abs(swept).argmax(), swept.shape) == tuple(model.CARRIER)
    pair = tree["head_sets"].to_dataset().sel(head_set=format_heads(model.PAIR), metric=METRIC)
    assert pair.synergy_verdict.values.tolist() == ["Yes"] * 3
    assert (pair.synergy > 0).all()
    return int(found.sum()), int(found.sum()) - int(carrier.sum())


def test_the_planted_head_and_pair_are_found(tmp_path):
    tree = run(tmp_path, seed=0, n_prompts=N_PROMPTS)
    check(tree)
    text = tree["texts"].to_dataset().sel(head_set=str(model.CARRIER), mode="result")
    changed = " ".join(text.patched_text.values.ravel())
    assert sum(changed.count(word) for word in model.GRATITUDE_WORDS) > 20


@pytest.mark.slow
def test_without_emotion_in_the_donor_nothing_is_found(tmp_path):
    """Liveness of the test above: the same pipeline on prompts without markers."""
    tree = run(tmp_path, seed=0, share_of_markers=0.0, n_prompts=N_PROMPTS)
    assert not (tree.to_dataset().net_q_value < 0.05).any()
    pair = tree["head_sets"].to_dataset().sel(head_set=format_heads(model.PAIR), metric=METRIC)
    assert "Yes" not in pair.synergy_verdict.values


@pytest.mark.slow
def test_over_twenty_seeds_false_discoveries_are_not_more_than_five_percent(tmp_path):
    """q controls the expected share of a run: its mean over runs is held against 5 %, with its error.

    The modes of a head go together, so that false ones come in twos and threes.
    """
    counts = np.array([check(run(tmp_path / str(seed), seed)) for seed in range(20)])
    shares, (discoveries, false) = counts[:, 1] / counts[:, 0], counts.sum(axis=0)
    print(
        f"\nplanted head found in 20 of 20 seeds; {discoveries} discoveries, {false} false;"
        f" mean share of a run {shares.mean():.3f}"
    )
    assert ttest_1samp(shares, 0.05, alternative="greater").pvalue > 0.01
