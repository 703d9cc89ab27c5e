"""What the shared-prefix cache saves: the full sweep's batch with it and with ordinary caches, in turn.

All run in one process on the same prompts, a batch on each processor, as in the benchmark's arm (a). A
repeat times one right after the other, in an order that is turned round from repeat to repeat. A batch
runs on one thread, so its processor time is what it would take on an idle machine; that is what the
saving is computed from, and wall-clock time is recorded beside it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from phase7.engine.model.bridge import Model
from phase7.engine.model.tokens import encode
from phase7.experiment.prompts import load_prompts
from phase7.vocabulary.modes import MODES
from tests.programs.benchmarks import arms, models
from tests.programs.benchmarks.ordinary_cache import GroupedLayer, OrdinaryLayer, stored_by

N_REPEATS, N_TOKENS = 3, 30
DEFAULT = "default"
#: Prompt tokens by model; the one whose own tokenizer is here also has its default prompts as they are.
SIZES: dict[str, tuple[int | str, ...]] = {
    "smollm2": (20, DEFAULT, 100, 400),
    "gpt2": (20, 100, 400),
}
CACHES: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    "shared": contextlib.nullcontext,
    "ordinary": functools.partial(stored_by, OrdinaryLayer),
    "grouped": functools.partial(stored_by, GroupedLayer),
}
#: Of the texts, at least so many must be the same: rounding may change a token, a wrong cache changes all.
LEAST_EQUAL = 0.95
#: Tokens of the texts that are compared before anything is timed.
N_FIRST_TOKENS = 8


def measure(folder: Path, *, n_tokens: int, n_repeats: int) -> dict[str, Any]:
    """The record `docs/measurements/shared_prefix.json`."""
    named = models.benchmark_models(folder)
    record = models.new_record(n_tokens=n_tokens, n_repeats=n_repeats)
    for name, sizes in SIZES.items():
        model = models.load(named[name])
        task = dataclasses.replace(arms.make_task(model, n_tokens=n_tokens), modes=MODES[:1])
        figures: dict[str, Any] = {"n_heads": len(task.heads), "sizes": {}}
        if DEFAULT in sizes:
            figures["default_prompts"] = lengths(default_prompts(model))
        for size in sizes:
            prompts = chained_prompts(model, size) if isinstance(size, int) else default_prompts(model)
            found = compare(dataclasses.replace(task, prompts=prompts), n_repeats)
            figures["sizes"][str(size)] = found
            print(name, size, json.dumps(found), flush=True)
        record["models"][name] = figures
    return record


def default_prompts(model: Model) -> list[torch.Tensor]:
    """The neutral prompts as the default run gives them to the model, each of its own length."""
    how = "chat" if model.files.has_chat_template else "raw"
    return [torch.tensor(encode(model, text, how)) for text in _texts()]


def chained_prompts(model: Model, n_tokens: int) -> list[torch.Tensor]:
    """Prompts of one length: each is a text followed by the next ones, cut."""
    pieces = [model.tokenizer(text + "\n").input_ids for text in _texts()]
    chains = (itertools.chain.from_iterable(pieces[i:] + pieces[:i]) for i in range(len(pieces)))
    return [torch.tensor(list(itertools.islice(chain, n_tokens))) for chain in chains]


def lengths(prompts: list[torch.Tensor]) -> dict[str, float]:
    """How many tokens the prompts have."""
    tokens = [len(prompt) for prompt in prompts]
    return {
        "n": len(tokens),
        "min": min(tokens),
        "median": statistics.median(tokens),
        "max": max(tokens),
    }


def compare(task: arms.Task, n_repeats: int) -> dict[str, Any]:
    """Time the same sweeps with each cache, after short ones that show that they agree."""
    caches = [c for c in CACHES if c != "grouped" or task.model.n_kv_heads < task.model.n_heads]
    n_at_once = len(task.twins)
    seconds: list[dict[str, tuple[float, float]]] = []
    texts = Texts()
    for repeat in range(n_repeats + 1):
        prompts = range(n_at_once * repeat, n_at_once * (repeat + 1))
        shorter = dataclasses.replace(task, n_tokens=min(N_FIRST_TOKENS, task.n_tokens))
        some = task if repeat else shorter
        runs = {c: _run(c, some, prompts) for c in (caches if repeat % 2 else reversed(caches))}
        texts.add({cache: run[2] for cache, run in runs.items()})
        if repeat:
            seconds.append({cache: run[:2] for cache, run in runs.items()})
    n_prompt = statistics.median(len(task.prompts[i]) for i in range(n_at_once, prompts.stop))
    n_generated = n_at_once * task.n_patches * task.n_tokens
    found: dict[str, Any] = {
        "n_patches": task.n_patches,
        "prompt_tokens": n_prompt,
        "cache_gb": cache_gigabytes(task, n_prompt),
        **texts.record(),
        "ms_per_token": {},
        "ratio": {},
        "wall_ratio": {},
        "ratios": {},
        "wall_ratios": {},
    }
    for cache in caches:
        median = statistics.median(each[cache][0] for each in seconds)
        found["ms_per_token"][cache] = round(1000 * median / n_generated, 4)
        for clock, name in enumerate(("ratio", "wall_ratio")):
            ratios = [each[cache][clock] / each["shared"][clock] for each in seconds]
            if cache != "shared":
                found[name][cache] = round(statistics.median(ratios), 3)
                found[f"{name}s"][cache] = [round(r, 3) for r in ratios]
    return found


def _run(cache: str, task: arms.Task, prompts: range) -> tuple[float, float, list[np.ndarray]]:
    """Seconds of the processors and of the wall clock, and the patched tokens of each prompt."""
    with CACHES[cache]():
        begin = time.process_time(), time.perf_counter()
        tokens = arms.phase7_sweeps(task, prompts)
        return time.process_time() - begin[0], time.perf_counter() - begin[1], tokens


class Texts:
    """Whether the caches give the same texts."""

    def __init__(self) -> None:
        self._n, self._n_unequal = 0, 0
        self._distinct: list[int] = []

    def add(self, tokens: dict[str, list[np.ndarray]]) -> None:
        """Compare the same sweeps' tokens [n_patches, n_tokens] of each cache with the shared one's."""
        for cache in tokens.keys() - {"shared"}:
            for one, other in zip(tokens["shared"], tokens[cache], strict=True):
                self._n += len(one)
                self._n_unequal += int((one != other).any(axis=1).sum())
        if self._n_unequal > (1 - LEAST_EQUAL) * self._n:
            raise RuntimeError(f"the caches disagree: {self._n_unequal} of {self._n} texts differ")
        self._distinct = [len(np.unique(one, axis=0)) for one in tokens["shared"]]

    def record(self) -> dict[str, float]:
        """For the page; distinct texts are those of the last repeat."""
        return {
            "n_texts": self._n,
            "n_unequal_texts": self._n_unequal,
            "distinct_texts": round(statistics.mean(self._distinct), 1),
        }


def cache_gigabytes(task: arms.Task, n_prompt: float) -> dict[str, float]:
    """Room for one batch's keys and values with each cache, in 10^9 bytes, from the shapes."""
    model, n_rows = task.model, task.n_patches + 1 + len(task.modes)
    floats = 2 * model.n_layers * model.n_kv_heads * model.d_head
    tokens = {
        "shared": n_prompt + n_rows * task.n_tokens,
        "ordinary": n_rows * (n_prompt + task.n_tokens),
    }
    return {cache: round(4 * floats * n / 1e9, 3) for cache, n in tokens.items()}


def _texts() -> tuple[str, ...]:
    return load_prompts(models.ROOT / "data" / "neutral_prompts.json").prompts
