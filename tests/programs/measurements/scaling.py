"""What a sweep costs here, and what one would cost on a cluster: `python -m tests.programs.measurements.scaling`.

Measured on this machine: seconds of sweeps at several model sizes with the rows that each layer really
computed, and a run with two worker processes against its prediction. Simulated: sweeps of Llama-3-8B and
70B on stated hardware. Writes `docs/measurements/scaling.json`, and `docs/scaling.md` from it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from phase7.engine.model.blocks import whole_blocks
from phase7.engine.model.bridge import Model
from phase7.run.executor import one_thread
from phase7.run.provenance import machine, package_versions
from phase7.store import write_text
from tests import tiny
from tests.programs.benchmarks import arms, models
from tests.programs.measurements.scaling_model import LLAMAS, cluster, makespan
from tests.programs.measurements.scaling_page import PAGE, RECORD, render

N_TOKENS = 10
WIDTHS = (384, 768, 1024)
N_PROMPTS = 8


def main() -> None:
    """Measure, simulate, write and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        points = [point for width in WIDTHS for point in sweeps(folder, width)]
        record: dict[str, Any] = {
            "machine": machine(),
            "packages": package_versions(),
            "threads": torch.get_num_threads(),
            "sweeps": points,
            "fit": fit(points),
            "sharing": sharing(),
            "two_workers": two_workers(folder),
        }
    depth = record["sharing"]["share_by_depth"]
    record["clusters"] = [cluster(name, depth) for name in LLAMAS]
    write_text(RECORD, json.dumps(record, indent=1) + "\n")
    write_text(PAGE, render(record))
    print(render(record))


def sweeps(folder: Path, width: int) -> list[dict[str, float]]:
    """Two sweeps of a GPT-2 of this width with random weights: few heads, and all.

    On one thread, as every batch is computed, and with every row's own logits in full, so that the FLOP
    counted are those done.
    """
    torch.manual_seed(0)
    path = folder / str(width)
    GPT2LMHeadModel(GPT2Config(n_embd=width, n_head=width // 64)).save_pretrained(path)
    tiny.tokenizer().save_pretrained(path)
    task = arms.make_task(models.load(str(path)), n_tokens=N_TOKENS)
    found = []
    for heads in (task.heads[::4], task.heads):
        sweep = partial(arms.phase7_sweep, task, 0, heads, rough_logits=False)
        with one_thread():
            with counted(task.model) as rows:
                sweep()
            seconds = min(arms.timed(sweep) for _ in range(3))
        n_rows = len(heads) + 2  # the baseline and the self-check too
        in_blocks = whole_blocks(n_rows, task.model.row_block)
        flops = 2 * (12 * width**2 * sum(rows) + width * 50257 * in_blocks * N_TOKENS)
        found.append(
            {
                "width": width,
                "heads": len(heads),
                "seconds": round(seconds, 3),
                "gflop": round(flops / 1e9, 2),
                "layer_steps": 12 * N_TOKENS,
                "row_steps": n_rows * N_TOKENS,
            }
        )
    return found


@contextlib.contextmanager
def counted(model: Model) -> Iterator[list[int]]:
    """Rows that each layer computes at single-token steps, summed over steps."""
    rows = [0] * model.n_layers

    def count(layer: int) -> Any:
        def hook(z: torch.Tensor, hook: Any) -> None:
            if z.shape[1] == 1:
                rows[layer] += z.shape[0]

        return f"blocks.{layer}.attn.hook_z", hook

    with model.bridge.hooks(fwd_hooks=[count(layer) for layer in range(model.n_layers)]):
        yield rows


def fit(points: list[dict[str, float]]) -> dict[str, float]:
    """seconds = FLOP / rate + costs of a layer's step and of a row's; least squares of relative errors."""
    seconds = np.array([p["seconds"] for p in points])
    costs = [[p["gflop"], p["layer_steps"], p["row_steps"]] for p in points]
    design = np.array(costs) / seconds[:, None]
    solution, *_ = np.linalg.lstsq(design, np.ones(len(points)))
    per_gflop, per_layer, per_row = solution.tolist()
    return {
        "gflop_per_s": round(1 / per_gflop, 1),
        "overhead_ms_per_layer_step": round(1000 * per_layer, 3),
        "ms_per_row_step": round(1000 * per_row, 3),
        "largest_relative_error": round(float(np.abs(design @ solution - 1).max()), 3),
    }


def sharing() -> dict[str, Any]:
    """Share of the rows that each tenth of SmolLM2's layers really computes in a sweep of all heads."""
    task = arms.make_task(models.load("smollm2"), n_tokens=30)
    with counted(task.model) as rows:
        arms.phase7_sweep(task, 0)
    n_rows = whole_blocks(len(task.heads) + 2, task.model.row_block)
    tenths = np.array(rows).reshape(10, -1).mean(axis=1) / (n_rows * task.n_tokens)
    return {"n_tokens": 30, "share_by_depth": [round(float(x), 3) for x in tenths]}


def two_workers(folder: Path) -> dict[str, float]:
    """A run of two worker processes against its prediction from serial runs of one thread."""
    for name, words in (("neutral", "The bus leaves at"), ("gratitude", "Thank you for")):
        prompts = [f"{words} {i + 1} and" for i in range(N_PROMPTS if name == "neutral" else 3)]
        write_text(folder / f"{name}.json", json.dumps({"prompts": prompts}))
    few, many = (run(folder, f"serial{n}", n) for n in (2, N_PROMPTS))
    per_batch = (many - few) / (N_PROMPTS - 2)
    start = few - 2 * per_batch
    predicted = makespan(N_PROMPTS, per_batch, start, 2)
    measured = run(folder, "loky", N_PROMPTS, "--backend=loky", "--jobs=2")
    return {
        "batches": N_PROMPTS,
        "start_s": round(start, 1),
        "per_batch_s": round(per_batch, 2),
        "serial_s": round(many, 1),
        "predicted_s": round(predicted, 1),
        "measured_s": round(measured, 1),
    }


def run(folder: Path, name: str, n_prompts: int, *options: str) -> float:
    """Seconds of one `phase7 patch` with a store of its own that has the model already."""
    store = folder / name
    store.mkdir()
    (store / "models").symlink_to(models.ROOT / "store" / "models")
    command = [
        sys.executable, "-m", "phase7", "patch", "--quiet", "--model", "smollm2",
        "--head-spec", "0:*,6:*,12:*,18:*,24:*,29:*", "--neutral-prompts", str(folder / "neutral.json"),
        "--emotion-prompts", str(folder / "gratitude.json"), "--scorers", "keywords",
        "--n-prompts", str(n_prompts), "--max-tokens", "20", "--max-rows", "128", "--store", str(store),
        "--output", str(folder / f"{name}.pkl"), *options,
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(models.ROOT)}
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=models.ROOT, env=environment)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
