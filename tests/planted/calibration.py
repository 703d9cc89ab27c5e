"""Calibration under the null: `python -m tests.planted.calibration`.

Donor and recipient prompts come from one distribution, so every net effect is null. The p-values of
the pipeline's effects must be uniform, and what passes q < 0.05 must be at most 5 % of experiments.
Exact and tied p-values are discrete, hence never exactly uniform; they are randomised between the
p with and without ties (`tests.statistics.calibration.randomised_p`), as a discrete test's p must be.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

from phase7.statistics import paired_summary
from tests.planted.experiment import run
from tests.statistics.calibration import ks_uniform, randomised_p

#: One metric: the metrics of one text depend on each other.
METRIC = "sentiment_neutral"


def null_p_values(n_experiments: int) -> tuple[np.ndarray, int]:
    """Randomised p of every head's net effect in mode result, and experiments with a discovery."""
    p_values, with_discovery = [], 0
    for seed in range(n_experiments):
        with tempfile.TemporaryDirectory() as folder:
            tree = run(Path(folder), 5000 + seed, share_of_markers=0.0, n_prompts=32)
        effects = tree.to_dataset()
        with_discovery += bool((effects.net_q_value < 0.05).any())
        net = (effects.patched - effects.control_patched).sel(mode="result", metric=METRIC)
        summary = paired_summary(net.values.reshape(-1, net.sizes["prompt"]), seed=seed, n_tail=0)
        p_values.append(randomised_p(summary.p_value, summary.p_strict, seed=seed))
    return np.concatenate(p_values), with_discovery


def main(n_experiments: int = 90) -> tuple[float, int, int]:
    """Print and return the Kolmogorov-Smirnov p, experiments with a discovery, and null cells."""
    torch.set_num_threads(1)
    p_values, with_discovery = null_p_values(n_experiments)
    test = ks_uniform(p_values)
    print(
        f"{test.n} null cells of {n_experiments} experiments: Kolmogorov-Smirnov"
        f" D = {test.statistic:.4f}, p = {test.p_value:.3f};"
        f" share of p < 0.05: {np.mean(p_values < 0.05):.3f};"
        f" experiments with any q < 0.05: {with_discovery} ({with_discovery / n_experiments:.1%})"
    )
    return test.p_value, with_discovery, test.n


if __name__ == "__main__":
    main()
