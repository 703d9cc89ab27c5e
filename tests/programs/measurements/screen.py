"""How far a screen agrees with exact patches: `python -m tests.programs.measurements.screen`.

On SmolLM2 every head in every mode is estimated and patched exactly, with the emotion's and the control's
donor, on 20 prompts: the net effect on the log-odds of gratitude words at the first step, and along a path
of 16 tokens. Prints, and writes to `docs/measurements/screen.json`, the seconds of the screen and of the
exact patches, Spearman's correlation over all heads of the means over prompts, the share of the 20
strongest heads that are among the 20 first estimated, and the same for GradDrop's scores (absolute
effects). `--prompts`, `--path-prompts` and `--path-modes` take fewer (the first ones), `--steps K` adds
integrated steps along the path.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from phase7.engine.decode.attribution import slopes_of
from phase7.engine.decode.corrected import dropped_slopes, integrated_effects
from phase7.engine.decode.forced import forced_pass
from phase7.engine.decode.read_logits import log_odds_of
from phase7.engine.model.bridge import Model
from phase7.engine.patch.donors import Donor
from phase7.engine.patch.patching import Patch
from phase7.run.backend import n_processors
from phase7.run.executor import one_thread
from phase7.run.provenance import machine
from phase7.statistics.missed import rank_correlation, recall
from phase7.store import write_text
from phase7.vocabulary.modes import MODES, Mode
from tests.programs.measurements.readouts import ROOT, Prompt, all_heads, prepared

OUTPUT = ROOT / "docs" / "measurements" / "screen.json"
N_TOP, ROLES = 20, ("emotion", "control")
#: Read-outs by the place of their value: along the path, and at its first step.
READ = {"path": 0, "first": 1}

Sets = dict[str, tuple[int, ...]]
#: From a model and a prompt to net effects [readout, mode, layer, head].
Work = Callable[[Model, Prompt], np.ndarray]


def estimated(donors: dict[str, Donor], sets: Sets) -> Work:
    """The screen with a plain gradient."""

    def work(model: Model, prompt: Prompt) -> np.ndarray:
        tokens, path = prompt
        given = slopes_of(model, tokens, path, log_odds_of(model, path, sets), positions="generated")
        return net(given.effects, donors)

    return work


def dropped(donors: dict[str, Donor], sets: Sets) -> Work:
    """GradDrop's scores."""

    def work(model: Model, prompt: Prompt) -> np.ndarray:
        tokens, path = prompt
        read = log_odds_of(model, path, sets)
        by_layer = dropped_slopes(model, tokens, path, read, positions="generated")
        total = sum(np.abs(net(one.effects, donors)) for one in by_layer)
        return np.asarray(total) / (model.n_layers - 1)

    return work


def integrated(donors: dict[str, Donor], sets: Sets, n_steps: int) -> Work:
    """Integrated steps."""

    def work(model: Model, prompt: Prompt) -> np.ndarray:
        tokens, path = prompt
        read = log_odds_of(model, path, sets)
        recipient = (model, tokens, path, read)
        given = slopes_of(*recipient, positions="generated")

        def effects(some: list[Donor], mode: Any) -> np.ndarray:
            return np.stack(
                [integrated_effects(*recipient, given, one, mode, n_steps=n_steps) for one in some]
            )

        return net(effects, donors)

    return work


def net(effects: Callable[[list[Donor], Any], np.ndarray], donors: dict[str, Donor]) -> np.ndarray:
    """Emotion minus control in every mode."""
    both = [effects([donors[role] for role in ROLES], mode) for mode in MODES]
    return np.stack([one[0] - one[1] for one in both], axis=1)


def patched(donors: dict[str, Donor], sets: Sets, n_steps: int, modes: Sequence[Mode]) -> Work:
    """Exact patches along `n_steps` tokens, all heads in some modes; both read-outs."""

    def work(model: Model, prompt: Prompt) -> np.ndarray:
        tokens, path = prompt
        found = []
        for mode in modes:
            odds = []
            for role in ROLES:
                patches = [Patch(heads=(head,), mode=mode, donor=role) for head in all_heads(model)]
                got = forced_pass(model, tokens, path[:n_steps], patches, donors=donors, token_sets=sets)
                odds.append(got.patched.log_odds["gratitude"])
            difference = odds[0] - odds[1]
            both = np.stack([difference.mean(axis=1), difference[:, 0]])
            found.append(both.reshape(2, model.n_layers, model.n_heads))
        return np.stack(found, axis=1)

    return work


def on_all(
    models: list[Model], work: Work, prompts: list[Prompt]
) -> tuple[np.ndarray, dict[str, float]]:
    """The mean over prompts, a prompt on each model at a time, with its seconds."""
    found: dict[int, np.ndarray] = {}

    def share(number: int) -> None:
        with one_thread():
            for index in range(number, len(prompts), len(models)):
                found[index] = work(models[number], prompts[index])

    wall, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(len(models)) as pool:
        list(pool.map(share, range(len(models))))
    spent = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    mean = np.mean([found[index] for index in range(len(prompts))], axis=0)
    return mean, {name: round(value, 1) for name, value in spent.items()}


def agreement(
    estimate: np.ndarray, exact: np.ndarray, name: str, *, signed: bool
) -> dict[str, dict[str, float]]:
    """By mode that was patched, of one read-out: how estimates and exact effects go together."""
    found = {}
    for m, mode in enumerate(MODES[: exact.shape[1]]):
        one, other = (values[READ[name], m].ravel() for values in (estimate, exact))
        both = (one, other) if signed else (np.abs(one), np.abs(other))
        found[mode] = {
            "rank_correlation": round(rank_correlation(*both), 4),
            "recall_of_top": round(recall(one, other, N_TOP), 3),
        }
    return found


def measured(n_prompts: int, n_path_prompts: int, n_path_modes: int, n_steps: int) -> dict[str, Any]:
    """Everything, as it is written; what is there is told on the way."""
    model, donors, prompts, sets = prepared(max(n_prompts, n_path_prompts))
    models = [model, *(model.for_another_thread() for _ in range(min(n_processors(), 2) - 1))]
    few, many = prompts[:n_path_prompts], prompts[:n_prompts]
    screen = estimated(donors, sets)
    on_all(models, screen, prompts[: len(models)])  # the first call makes what each model keeps
    plain, of_screen = on_all(models, screen, many)
    on_few = plain if few == many else on_all(models, screen, few)[0]
    drop, of_drop = on_all(models, dropped(donors, sets), few)
    first, of_first = on_all(models, patched(donors, sets, 1, MODES), many)
    result: dict[str, Any] = {
        "model": "smollm2",
        "heads": len(all_heads(model)),
        "processor": machine()["processor"] or machine()["architecture"],
        "n_processors": n_processors(),
        "first": {"prompts": len(many), "exact": of_first, "screen": of_screen}
        | {"plain": agreement(plain, first, "first", signed=True)},
    }
    print(json.dumps(result), file=sys.stderr, flush=True)
    n_tokens, modes = max(len(path) for _, path in few), MODES[:n_path_modes]
    path, of_path = on_all(models, patched(donors, sets, n_tokens, modes), few)
    result["path"] = {
        "prompts": len(few),
        "tokens": n_tokens,
        "exact": of_path,
        "graddrop": of_drop,
        "plain": agreement(on_few, path, "path", signed=True),
        "dropped": agreement(drop, path, "path", signed=False),
    }
    if n_steps:
        steps, of_steps = on_all(models, integrated(donors, sets, n_steps), few)
        result["path"] |= {
            "steps": n_steps,
            "integration": of_steps,
            "integrated": agreement(steps, path, "path", signed=True),
        }
    return result


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--path-prompts", type=int, default=20)
    parser.add_argument("--path-modes", type=int, default=len(MODES), choices=(1, 2, 3))
    parser.add_argument("--steps", type=int, default=0)
    args = parser.parse_args()
    result = measured(args.prompts, args.path_prompts, args.path_modes, args.steps)
    write_text(OUTPUT, json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
