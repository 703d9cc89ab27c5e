"""Predicted and achieved power, and errors under the null: `python -m tests.programs.measurements.power`.

Experiments are made of the differences by prompt that a finished run has stored. Each draws as many prompts
as that run had, with replacement, and flips the sign of each at random, the same in all tests: the tests
keep what they share by prompt, the tails and the zeros of the data, and nothing is there to be found. Into
the primary tests a shift is then planted that is predicted to be found with a given power. Writes
`docs/measurements/power.json`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phase7.effects.families import cell_p_values, q_values
from phase7.effects.file import open_effects
from phase7.experiment.statistics import Statistics
from phase7.statistics import (
    detectable_effect,
    detectable_shift,
    paired_summary,
    step_down_min_p,
)
from phase7.store import write_text
from phase7.vocabulary.guards import is_guard
from phase7.vocabulary.readouts import is_readout

ROOT = Path(__file__).parents[3]
OUTPUT = ROOT / "docs" / "measurements" / "power.json"
N_EXPERIMENTS, POWERS, N_FLIPS, N_PLANNED = 500, (0.5, 0.65, 0.8, 0.9), 4_096, 2_000
#: Under the null; with 500 the standard error of a rate of 5 % would be 1 %.
N_NULL = 2_000

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def stored(path: Path) -> tuple[Floats, Bools, list[str]]:
    """The differences of a run's confirmation [cell, metric, prompt], the primary tests, the metrics."""
    tree = open_effects(path)
    (group,) = [node for node in tree.subtree if "settings" in node.attrs]
    found, primary = [], []
    for data in (group.to_dataset(), group["head_sets"].to_dataset()):
        cells = [dim for dim in data.n_prompts.dims if dim != "mode"]
        flat = data.isel(mode=0).stack(cell=cells).transpose("cell", "metric", ...)
        tested = flat.n_prompts.values > 0
        found.append((flat.patched - flat.control_patched).values[tested])
        primary.append(flat.is_primary.values[tested] == 1)
    differences = np.concatenate(found)
    used = np.isfinite(differences).any(axis=(0, 1))
    metrics = [str(name) for name in group["metric"].values]
    return differences[..., used], np.concatenate(primary), metrics


def experiments(differences: Floats, n: int, seed: int) -> list[Floats]:
    """Differences drawn under the null, one array like `differences` for each experiment."""
    rng, n_prompts = np.random.default_rng(seed), differences.shape[-1]
    return [
        differences[..., rng.integers(0, n_prompts, n_prompts)] * rng.choice([-1.0, 1.0], n_prompts)
        for _ in range(n)
    ]


def under_the_null(made: list[Floats], primary: Bools, metrics: list[str]) -> dict[str, float]:
    """How often anything is found where nothing is there: in each family of tests, one by one."""
    stats, any_adjusted, any_p = Statistics(), 0, 0
    logits = np.array([is_readout(name) for name in metrics])
    guards = np.array([is_guard(name) for name in metrics])
    families = {
        "texts": ~primary & ~logits & ~guards,
        "readouts": ~primary & logits,
        "guards": ~primary & guards,
    }
    any_q = dict.fromkeys(families, 0)
    for one in made:
        (adjusted,) = step_down_min_p([one[primary]], seed=0, n_flips=N_FLIPS)
        any_adjusted += bool((adjusted < stats.alpha).any())
        found = paired_summary(one, seed=0, confidence=None)
        tests = found.p_value, found.n_nonzero, metrics, stats, primary
        q = q_values(*tests, cell_p=cell_p_values(one, *tests, seed=0))
        for name, of_family in families.items():
            any_q[name] += bool((q[of_family] < stats.alpha).any())
        any_p += bool((found.p_value[primary] < stats.alpha).any())
    counts = {"family_wise_error_of_p_adjusted": any_adjusted}
    counts |= {f"fdr_of_q_of_{name}": count for name, count in any_q.items()}
    counts["family_wise_error_of_p"] = any_p
    return {name: round(count / len(made), 3) for name, count in counts.items()}


def achieved(made: list[Floats], differences: Floats, primary: Bools) -> dict[str, Any]:
    """The share of experiments in which a planted shift is found, by rule, predicted power and test.

    The shift is that which the rule says is found with the power: by other experiments, resampled from the
    same differences, or by the formula for normal ones.
    """
    tests = differences[primary]
    # Flipped at random, a difference has a mean of 0 and this standard deviation.
    spread, n = np.sqrt((tests**2).mean(axis=-1)), tests.shape[-1]
    result: dict[str, Any] = {}
    for power in POWERS:
        by_rule = {
            "resampled": detectable_shift(tests, n, power=power, seed=1, n_experiments=N_PLANNED),
            "normal": detectable_effect(spread, n, power=power),
        }
        for rule, shift in by_rule.items():
            drawn = np.stack([one[primary] + shift[:, None] for one in made])
            found = paired_summary(drawn, seed=0, confidence=None).p_value < Statistics().alpha
            by_test = np.round(found.mean(axis=0), 3).tolist()
            result.setdefault(rule, {})[f"{power:g}"] = {
                "mean": round(float(np.mean(by_test)), 3),
                "largest_gap": round(max(abs(one - power) for one in by_test), 3),
                "by_test": by_test,
            }
    return result


def main(path: Path, n: int = N_EXPERIMENTS, n_null: int = N_NULL) -> dict[str, Any]:
    """Simulate, write, print and return the figures."""
    differences, primary, metrics = stored(path)
    made = experiments(differences, max(n, n_null), seed=0)
    result = {
        "experiments": n,
        "experiments_under_the_null": n_null,
        "prompts": int(differences.shape[-1]),
        "primary_tests": int(primary.sum()),
        "exploratory_tests": int((~primary).sum()),
        "null": under_the_null(made[:n_null], primary, metrics),
        "achieved_power": achieved(made[:n], differences, primary),
        "metrics": [metrics[m] for _, m in np.argwhere(primary)],
    }  # fmt: skip
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("effects", nargs="?", type=Path, default=ROOT / "store/effects/quickstart.nc")
    figures = main(parser.parse_args().effects)
    write_text(OUTPUT, json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
