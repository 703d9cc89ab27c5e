"""What adaptive runs save and whether they err more: `python -m tests.programs.measurements.adaptive`.

Two studies. On the planted model, whose carrier is known, a search by successive halving for each of 20
seeds: whether it puts the carrier first, and its rows × tokens (baselines and self-checks included) as a
share of those of the whole search. And 1,000 runs of a confirmation in which nothing is there to be found,
looked at several times while its prompts come in: how often any look calls a primary test significant, by
each way to share out the level, and so whatever it is that decides where a run stops; beside that, looking
as often at the whole level each time.
Tests of a run share their prompts, and a part of the differences is 0. Writes
`docs/measurements/adaptive.json`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from phase7.effects.families import Bools
from phase7.effects.inference import cell_statistics
from phase7.effects.looks import last_look
from phase7.effects.scores import Scores
from phase7.experiment.contrasts import reading_plans
from phase7.experiment.declared import Readouts
from phase7.experiment.profile import Confirm, Profile, Sampling, Sweep
from phase7.experiment.prompts import load_prompts
from phase7.experiment.stages import Stage
from phase7.experiment.statistics import Statistics
from phase7.experiment.swept import with_heads
from phase7.experiment.tested import sweep_stage
from phase7.models.files import find_model
from phase7.run.executor import Executor, one_thread
from phase7.run.measuring import Measured, Measuring
from phase7.run.searching import searched
from phase7.store import Store, write_text
from phase7.vocabulary.metrics import METRICS
from tests.planted import model

ROOT = Path(__file__).parents[3]
OUTPUT = ROOT / "docs" / "measurements" / "adaptive.json"
N_SEEDS, HALVING, N_PROMPTS = 20, (2, 4, 6, 8), 48
N_RUNS, N_CONFIRMED, LOOKS, N_CELLS, N_METRICS, SEED = 1_000, 12, (8, 10), 4, 2, 0
#: Mean differences in standard deviations, for what looks save where something is there.
EFFECT = 1.5


def planted_search(folder: Path, seed: int, halving: tuple[int, ...] = HALVING) -> dict[str, Any]:
    """One search on one planted model: the place of the carrier, and the share of rows × tokens."""
    data = folder / "data"
    data.mkdir(parents=True)
    words = (ROOT / "data" / "keywords.toml").read_text(encoding="utf-8")
    (data / "keywords.toml").write_text(words, encoding="utf-8")
    model.save(folder / "planted", seed)
    for name, of, share in (("neutral", seed, 0.0), ("gratitude", seed + 1000, 0.5)):
        path = data / f"{name}_prompts.json"
        model.write_prompts(path, seed=of, n_prompts=N_PROMPTS, share_of_markers=share)
    profile = Profile(
        name="planted", models=(str(folder / "planted"),), emotions=("gratitude",),
        sampling=Sampling(max_new_tokens=2, temperature=1.0, top_p=0.95, seed=seed),
        sweep=Sweep(text=False, halving=halving), confirm=Confirm(target_heads="0:0", strongest=model.N_LAYERS * model.N_HEADS),
        readouts=Readouts(emotions=("gratitude",), max_new_tokens=6),
        statistics=Statistics(selection_metrics=("logodds_gratitude",)),
    )  # fmt: skip
    profile = replace(profile, engine=replace(profile.engine, max_rows=64))
    files = find_model(profile.models[0], store_root=folder / "store")
    neutral, emotion = (load_prompts(data / f"{name}_prompts.json") for name in ("neutral", "gratitude"))
    whole = sweep_stage(profile, files, neutral, replace(emotion, name="gratitude"))
    assert whole is not None
    read: list[Stage] = []
    with one_thread():
        store = Store(folder / "store")
        measuring = Measuring(
            Executor(files, profile.engine, store, lambda line: None), store, lambda texts: {},
            root=folder, show_progress=False, timed=lambda name, started: None,
        )  # fmt: skip

        def measure(stage: Stage) -> Measured:
            read.append(stage)
            return measuring.measure(stage)

        found = searched(whole, profile.statistics.selection_metrics, measure)
    heads = [cell.heads[0] for cell in whole.cells]
    plain = with_heads(whole, heads, whole.recipients)
    taken, all_of_it = (sum(_tokens(one, folder) for one in parts) for parts in (read, [plain]))
    return {"place": list(found.ranked).index(model.CARRIER) + 1, "share": taken / all_of_it}


def _tokens(stage: Stage, root: Path) -> int:
    return sum(batch.n_tokens for plan in reading_plans(stage, root) for batch in plan.batches())


def null_scores(rng: np.random.Generator, effect: float = 0.0) -> Scores:
    """Differences of one made-up confirmation: 4 sets on 2 metrics that share their prompts."""
    n = N_CONFIRMED
    shared, own = rng.standard_normal(n), rng.standard_normal((N_CELLS, N_METRICS, n))
    values = np.exp(0.5 * np.abs(shared)) * (0.6 * shared + 0.8 * own)  # with long tails
    values[rng.random(values.shape) < 0.2] = 0.0
    values += effect * values.std(axis=-1, keepdims=True)
    return Scores(
        baseline=np.zeros((N_METRICS, n)), patched={"emotion": values}, changed={},
        metrics=METRICS[:N_METRICS],
    )  # fmt: skip


def first_prompts(scores: Scores, n: int) -> Scores:
    """What there is of a confirmation after so many prompts."""
    patched = {role: values[..., :n] for role, values in scores.patched.items()}
    return replace(scores, baseline=scores.baseline[..., :n], patched=patched)


def calls(scores: Scores, stats: Statistics, primary: Bools) -> dict[str, bool]:
    """Whether the tests of a look call anything significant, by p_adjusted and by q."""
    found = cell_statistics(scores, stats, SEED, primary, confidence=None)
    names = {"p_adjusted": "p_adjusted", "q": "q_value"}
    return {key: bool((found.column(of) < stats.alpha).any()) for key, of in names.items()}


def called_anywhere(scores: Scores, looks: Mapping[int, Statistics], primary: Bools) -> dict[str, bool]:
    """Whether any look does: the most that any rule of where to stop could call."""
    found = [calls(first_prompts(scores, n), look, primary) for n, look in looks.items()]
    return {name: any(one[name] for one in found) for name in found[0]}


def looks_study(n_runs: int, spending: Literal["obrien_fleming", "pocock"]) -> dict[str, Any]:
    """Errors under the null, and where a run stops if something is there."""
    stats = Statistics(looks=LOOKS, spending=spending)
    primary, ends = np.ones((N_CELLS, N_METRICS), dtype=bool), stats.ends(N_CONFIRMED)
    looks = {n: stats.at_look(n, N_CONFIRMED) for n in ends}
    counts = {"p_adjusted": 0, "q": 0}
    for run in range(n_runs):
        called = called_anywhere(null_scores(np.random.default_rng([run, 1])), looks, primary)
        counts = {name: counts[name] + called[name] for name in counts}
    stopped = []
    for run in range(n_runs // 10):
        scores = null_scores(np.random.default_rng([run, 2]), EFFECT)
        first = partial(first_prompts, scores)
        n, look = last_look(first, N_CONFIRMED, primary, stats, SEED)
        stopped.append((n, calls(first(n), look, primary)["p_adjusted"]))
    return {
        "shares": {n: round(look.share, 4) for n, look in looks.items()},
        "false_positives": {name: count / n_runs for name, count in counts.items()},
        "with_an_effect": {
            "mean_prompts": round(float(np.mean([n for n, _ in stopped])), 1),
            "found": float(np.mean([is_found for _, is_found in stopped])),
        },
    }


def carelessly(n_runs: int) -> float:
    """Liveness: the share of null runs in which a look at the whole level each time finds something."""
    stats, primary = Statistics(looks=LOOKS), np.ones((N_CELLS, N_METRICS), dtype=bool)
    looks = dict.fromkeys(stats.ends(N_CONFIRMED), stats.at_once())
    made = (null_scores(np.random.default_rng([run, 1])) for run in range(n_runs))
    return sum(called_anywhere(one, looks, primary)["p_adjusted"] for one in made) / n_runs


def main(studies: Sequence[str], n_seeds: int = N_SEEDS, n_runs: int = N_RUNS) -> dict[str, Any]:
    """Both studies, or those that are asked for; the figures."""
    result: dict[str, Any] = {}
    if "halving" in studies:
        searches = []
        for seed in range(n_seeds):
            with tempfile.TemporaryDirectory() as folder:
                searches.append(planted_search(Path(folder), seed))
            print(f"seed {seed}: {searches[-1]}", flush=True)
        result["halving"] = {
            "after_prompts": list(HALVING),
            "prompts": N_PROMPTS // 2,
            "seeds": n_seeds,
            "carrier_first": sum(one["place"] == 1 for one in searches),
            "share_of_rows_x_tokens": round(max(one["share"] for one in searches), 3),
        }
    if "looks" in studies:
        result["looks"] = {"runs": n_runs, "prompts": N_CONFIRMED, "after_prompts": list(LOOKS)}
        result["looks"] |= {how: looks_study(n_runs, how) for how in ("obrien_fleming", "pocock")}
        result["looks"]["at_the_whole_level_each_time"] = carelessly(n_runs // 5)
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("studies", nargs="*", default=["halving", "looks"])
    measured = main(parser.parse_args().studies)
    figures = (json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {}) | measured
    write_text(OUTPUT, json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
