"""Read-outs find the planted carrier first, in every mode, and nothing where there is nothing.

The head is searched by attribution on discovery prompts and measured exactly on confirmation prompts;
both must put the carrier first.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

from phase7.vocabulary.modes import MODES
from tests.planted import model
from tests.planted.experiment import run

METRICS = ["logodds_gratitude", "logodds_gratitude_first"]
#: Prompts of the null: 16 donor pairs for every test, and as many recipients.
N_NULL = 32


def first_heads(effects, mode: str, metric: str) -> tuple[int, int]:
    """The head with the largest net effect."""
    net = effects.net_delta.sel(mode=mode, metric=metric).values
    layer, head = np.unravel_index(np.nanargmax(net), net.shape)
    return int(layer), int(head)


def check(tree) -> None:
    confirmed, swept = tree.to_dataset(), tree["sweep"].to_dataset()
    for mode in MODES:
        for metric in METRICS:
            for effects in (confirmed, swept):
                assert first_heads(effects, mode, metric) == tuple(model.CARRIER), (mode, metric)
            at = dict(layer=model.CARRIER.layer, head=model.CARRIER.head, mode=mode, metric=metric)
            assert confirmed.net_q_value.sel(at) < 0.05
            assert confirmed.net_donor_p_value.sel(at) < 0.05


@pytest.mark.slow
def test_the_carrier_is_first_by_readout_in_every_mode(tmp_path):
    check(run(tmp_path, seed=0, n_prompts=24, by_readouts=True))


@pytest.mark.slow
def test_the_carrier_is_first_in_twenty_of_twenty_seeds(tmp_path):
    for seed in range(20):
        check(run(tmp_path / str(seed), seed, n_prompts=24, by_readouts=True))


@pytest.mark.slow
def test_without_emotion_in_the_donor_readouts_find_nothing(tmp_path):
    """p of net effects are not smaller than uniform, and few runs have a discovery."""
    p_values, n_runs, with_discovery = [], 20, 0
    for seed in range(n_runs):
        tree = run(
            tmp_path / str(seed), 7000 + seed, share_of_markers=0.0, n_prompts=N_NULL, by_readouts=True
        )
        effects = tree.to_dataset().sel(metric=METRICS)
        with_discovery += bool((effects.net_q_value < 0.05).any())
        # One cell of each run: the heads of a model share their prompts.
        p_values += effects.net_p_value.sel(layer=2, mode="result").values[seed % 4].tolist()[:1]
    test = kstest(p_values, "uniform", alternative="greater")
    print(
        f"\n{n_runs} null runs: Kolmogorov-Smirnov p = {test.pvalue:.3f}; {with_discovery} discoveries"
    )
    assert test.pvalue > 0.01
    assert with_discovery <= 0.05 * n_runs
