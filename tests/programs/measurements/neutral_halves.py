"""Read-outs under a null on a real model: `python -m tests.programs.measurements.neutral_halves`.

The neutral prompts of SmolLM2 are halved at random, twenty times; one half is called the emotion and set
against the other. Nothing is there to be found, so net effects on read-outs must not have p smaller than
uniform ones, and at most one halving in twenty may have a discovery. The p over recipients alone, which
hold the choice of donors fixed, stand beside them. Writes `docs/measurements/neutral_halves.json`.
"""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kstest

from phase7.effects.families import q_values
from phase7.effects.inference import cell_statistics
from phase7.experiment.profile import Profile, load_profile
from phase7.experiment.prompts import PromptSet, load_prompts
from phase7.experiment.tested import sweep_stage
from phase7.models.files import find_model
from phase7.run.executor import Executor, one_thread
from phase7.run.measuring import Measured, Measuring
from phase7.statistics import paired_summary
from phase7.store import Store, write_text
from phase7.vocabulary.readouts import has_direction, is_readout

ROOT = Path(__file__).parents[3]
OUTPUT = ROOT / "docs" / "measurements" / "neutral_halves.json"
N_HALVINGS, N_RECIPIENTS = 20, 12


def halves(prompts: tuple[str, ...], number: int) -> tuple[PromptSet, PromptSet]:
    """The half that is called the emotion, and the other."""
    order = random.Random(f"halves {number}").sample(prompts, len(prompts))
    middle = len(prompts) // 2
    return (
        PromptSet(name="gratitude", path="first half", prompts=tuple(order[:middle])),
        PromptSet(name="neutral", path="second half", prompts=tuple(order[middle : 2 * middle])),
    )


def tested(measured: Measured, profile: Profile) -> dict[str, np.ndarray]:
    """p of all heads' net effects [head, read-out], by the test."""
    scores, seed = measured.scores.full, profile.sampling.seed
    columns = [m for m, n in enumerate(scores.metrics) if is_readout(n) and has_direction(n)]
    result = cell_statistics(scores, profile.statistics, seed)
    net = (scores.patched["emotion"] - scores.patched["control"])[:, columns]
    names = [scores.metrics[m] for m in columns]
    alone = paired_summary(net, seed=seed, confidence=None)
    return {
        "both": result.column("net_p_value")[:, columns],
        "donors": result.column("net_donor_p_value")[:, columns],
        "recipients": alone.p_value,
        "q": result.column("net_q_value")[:, columns],
        "q_recipients": q_values(alone.p_value, alone.n_nonzero, names, profile.statistics),
    }


def main(n_halvings: int = N_HALVINGS) -> dict[str, Any]:
    """Measure, write, print and return the figures."""
    profile = load_profile("quickstart", ROOT)
    assert profile.sweep is not None
    profile = replace(profile, sweep=replace(profile.sweep, n_prompts=N_RECIPIENTS))
    profile = replace(profile, engine=replace(profile.engine, max_rows=512))
    files = find_model("smollm2", store_root=ROOT / "store")
    prompts = load_prompts(ROOT / "data" / "neutral_prompts.json").prompts
    found = []
    with tempfile.TemporaryDirectory() as folder, one_thread():
        store = Store(Path(folder))
        executor = Executor(files, profile.engine, store, lambda line: None)
        measuring = Measuring(
            executor, store, lambda texts: {}, root=ROOT, show_progress=False,
            timed=lambda name, started: None,
        )  # fmt: skip
        for number in range(n_halvings):
            emotion, neutral = halves(prompts, number)
            stage = sweep_stage(profile, files, neutral, emotion)
            assert stage is not None
            found.append(tested(measuring.measure(stage), profile))
    result = summary(found)
    write_text(OUTPUT, json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    return result


def summary(found: list[dict[str, np.ndarray]]) -> dict[str, Any]:
    """Shares of small p, runs with a discovery, and the one-sided test against uniform p."""
    stacked = {name: np.stack([one[name] for one in found]) for name in found[0]}
    test = kstest(stacked["both"].ravel(), "uniform", alternative="greater")
    shares = {
        name: round(float((stacked[name] < 0.05).mean()), 3) for name in ("both", "donors", "recipients")
    }
    return {
        "halvings": len(found),
        "tests": int(stacked["both"][0].size),
        "share_below_0.05": shares,
        "runs_with_a_discovery": int((stacked["q"] < 0.05).any(axis=(1, 2)).sum()),
        "runs_with_a_discovery_over_recipients_alone": int(
            (stacked["q_recipients"] < 0.05).any(axis=(1, 2)).sum()
        ),
        "ks_smaller_than_uniform_p": round(float(test.pvalue), 3),
    }


if __name__ == "__main__":
    main()
