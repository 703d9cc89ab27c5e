"""Run the benchmark: `python -m tests.programs.benchmarks`.

Writes `docs/measurements/benchmark.json`, and `docs/performance.md` from it. `--only prefix` measures what the
shared-prefix cache saves instead, writes `docs/measurements/shared_prefix.json` and the page anew. `--quick`
runs every arm once on a few tokens and writes nothing: it checks that the benchmark works.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from phase7.experiment.profile import Profile
from phase7.models.files import find_model, read_sizes
from phase7.run.executor import one_thread
from phase7.run.memory import footprint
from phase7.store import write_text
from phase7.vocabulary.modes import MODES
from tests.programs.benchmarks import arms, models, prefix
from tests.programs.benchmarks.page import PAGE, PREFIX, RECORD, prefix_section, render

N_REPEATS = 3
#: Generations that (c) is timed over: one alone is over too soon for a steady time.
N_ONE_BY_ONE = 4
#: Of the sweep whose memory is measured: every head of GPT-2 in three modes, and one baseline.
N_ROWS = 433


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument(
        "--repeats", type=int, help=f"default: {N_REPEATS}; with --only prefix {prefix.N_REPEATS}"
    )
    parser.add_argument("--tokens", type=int, help="tokens of a text, with --only prefix; default: 30")
    parser.add_argument("--only", choices=["prefix"], help="measure only this part of the page")
    parser.add_argument("--memory", metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory:
        _print_peak(args.memory)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.only == "prefix":
            path = PREFIX
            record = prefix.measure(
                folder,
                n_tokens=3 if args.quick else args.tokens or prefix.N_TOKENS,
                n_repeats=1 if args.quick else args.repeats or prefix.N_REPEATS,
            )
            print(prefix_section(record))
        else:
            path = RECORD
            record = measure(folder, quick=args.quick, n_repeats=args.repeats or N_REPEATS)
            print(render(record))
    if not args.quick:
        write_text(path, json.dumps(record, indent=1) + "\n")
        write_text(PAGE, render(json.loads(RECORD.read_text(encoding="utf-8"))))


def measure(folder: Path, *, quick: bool, n_repeats: int) -> dict[str, Any]:
    """Every figure of the page."""
    n_tokens, n_repeats = (3, 1) if quick else (30, n_repeats)
    named = models.benchmark_models(folder)
    record = models.new_record(n_tokens=n_tokens, n_repeats=n_repeats)
    for name, source in named.items():
        model, stock = models.load(source), models.load(source, pack=False)
        task = arms.make_task(model, stock, n_tokens=n_tokens)
        record["models"][name] = compare(task, n_repeats)
        print(name, json.dumps(record["models"][name]), flush=True)
        if name == "smollm2":
            record["growth"] = growth(task, folder, quick)
    record["peak_memory_gb"], record["printed_bound_gb"] = peak_memory_gb(named["gpt2"])
    record["warm"] = warm_seconds(n_repeats)
    return record


def compare(task: arms.Task, n_repeats: int) -> dict[str, Any]:
    """All arms in turn, repeated; milliseconds per generated token of one row."""
    n_heads, n_prompts = len(task.heads), len(task.prompts)
    n_patches = task.n_patches
    n_rows = n_patches + 1 + len(task.modes)  # the baseline and the self-checks too
    texts: list[int] = []

    n_at_once = len(task.twins)

    def prompts(repeat: int) -> range:
        return range(n_at_once * repeat, n_at_once * (repeat + 1))

    def sweep(repeat: int) -> None:
        for tokens in arms.phase7_sweeps(task, prompts(repeat)):
            texts.append(len({tuple(row) for row in tokens.tolist()}))

    def one_prompt(repeat: int) -> None:
        with one_thread():
            arms.phase7_sweep(task, repeat)

    def heads(repeat: int) -> Any:
        return task.heads[(7 + 31 * repeat) % n_heads]

    def one_by_one(repeat: int) -> None:
        for i in range(N_ONE_BY_ONE):
            arms.hooked_generate(task, [i], heads(N_ONE_BY_ONE * repeat + i))

    run: dict[str, tuple[int, Callable[[int], object]]] = {
        "a": (n_at_once * n_patches, sweep),
        "a_plain": (
            n_at_once * n_patches,
            lambda i: arms.phase7_sweeps(task, prompts(i), share_layers=False, rough_logits=False),
        ),
        "a_one": (n_patches, one_prompt),
        "b": (n_prompts, lambda i: arms.hooked_generate(task, range(n_prompts), heads(i))),
        "c": (N_ONE_BY_ONE, one_by_one),
        "d": (n_rows, lambda i: arms.plain_generate(task, i, n_rows, greedy=False)),
        "d_greedy": (n_rows, lambda i: arms.plain_generate(task, i, n_rows, greedy=True)),
    }
    seconds: dict[str, list[float]] = {arm: [] for arm in run}
    warm_up(task, prompts(n_repeats), n_rows)
    for repeat in range(n_repeats):
        for arm, (_, action) in run.items():
            seconds[arm].append(arms.timed(lambda a=action, r=repeat: a(r)))
    ms = {
        arm: [1000 * s / (run[arm][0] * task.n_tokens) for s in values]
        for arm, values in seconds.items()
    }
    gemm = {
        name: round(1000 * arms.gemm_seconds(task, n_rows, pack=pack) / n_rows, 4)
        for name, pack in (("e", False), ("e_packed", True))
    }
    return {
        "n_heads": n_heads,
        "n_modes": len(task.modes),
        "n_patches": n_patches,
        "n_layers": task.model.n_layers,
        "ms_per_token": {arm: round(statistics.median(v), 4) for arm, v in ms.items()} | gemm,
        "ms_per_token_all": {arm: [round(x, 4) for x in v] for arm, v in ms.items()},
        "ratio": {
            arm: round(statistics.median(x / a for x, a in zip(values, ms["a"], strict=True)), 2)
            for arm, values in ms.items()
            if arm != "a"
        },
        "distinct_texts": round(statistics.mean(texts), 1),
    }  # fmt: skip


def warm_up(task: arms.Task, prompts: range, n_rows: int) -> None:
    """What only the first batch of a run pays: packing, and fresh memory for the keys and values."""
    arms.phase7_sweeps(task, prompts)
    short = dataclasses.replace(task, n_tokens=3)
    arms.hooked_generate(short, [0], task.heads[0])
    arms.plain_generate(short, 0, n_rows, greedy=False)


def growth(task: arms.Task, folder: Path, quick: bool) -> dict[str, list[list[float]]]:
    """Seconds of sweeps in one mode, one on each processor, against heads, tokens, layers and prompts."""
    task = dataclasses.replace(task, modes=MODES[:1])
    each = range(len(task.twins))
    steps = (3,) if quick else (10, 20, 30, 60)
    counts = (9,) if quick else (30, 90, 180, 270)
    found: dict[str, list[list[float]]] = {"heads": [], "tokens": [], "prompts": [], "layers": []}
    for n in counts:
        some = task.heads[:: len(task.heads) // n][:n]
        found["heads"].append([n, arms.timed(lambda h=some: arms.phase7_sweeps(task, each, h))])
    for n in steps:
        longer = dataclasses.replace(task, n_tokens=n)
        found["tokens"].append([n, arms.timed(lambda t=longer: arms.phase7_sweeps(t, each))])
    for n in (1,) if quick else (1, 2, 4, 8):
        found["prompts"].append([n, arms.timed(lambda n=n: arms.phase7_sweeps(task, range(n)))])
    for n in (2,) if quick else (6, 12, 24):
        deep = arms.make_task(models.gpt2_of_depth(folder, n), n_tokens=task.n_tokens)
        deep = dataclasses.replace(deep, modes=task.modes)
        arms.phase7_sweeps(deep, each, deep.heads[:2])  # packs
        some = deep.heads[:: len(deep.heads) // 72][:72] if n >= 6 else deep.heads
        found["layers"].append([n, arms.timed(lambda t=deep, h=some: arms.phase7_sweeps(t, each, h))])
    return {what: [[n, round(s, 3)] for n, s in pairs] for what, pairs in found.items()}


def peak_memory_gb(model: str) -> tuple[float, float]:
    """Peak resident memory of a process that sweeps GPT-2's size with 433 rows; the bound told before."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.programs.benchmarks", "--memory", model],
        capture_output=True, text=True, check=True, cwd=models.ROOT,
    )  # fmt: skip
    profile = Profile(name="bound", models=(model,), emotions=("gratitude",))
    sizes = read_sizes(find_model(model, store_root=models.ROOT / "store"))
    bound = footprint(sizes, profile).gigabytes(N_ROWS)
    return round(float(done.stdout.split()[-1]), 2), round(bound, 2)


def _print_peak(model: str) -> None:
    task = arms.make_task(models.load(model), n_tokens=30)
    patches = [
        arms.Patch(heads=(head,), mode=mode, donor="emotion") for mode in MODES for head in task.heads
    ]
    arms.generate(
        task.model,
        "prompt 0",
        task.prompts[0].tolist(),
        patches[: N_ROWS - 1 - len(MODES)],
        donors={"emotion": task.donor},
        sampling=task.sampling,
    )
    print(_peak_bytes() / 1e9)


def _peak_bytes() -> int:
    """Peak resident memory of this process alone; `ru_maxrss` begins with that of its parent."""
    status = Path("/proc/self/status")
    if status.is_file():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def warm_seconds(n_repeats: int) -> dict[str, float | None]:
    """`--help`, and a build of quickstart that is already up to date (None where it is not)."""
    warm: dict[str, float | None] = {"help_s": _command_seconds(["--help"], n_repeats)}
    effects = models.ROOT / "store" / "effects" / "quickstart.nc"
    has_run = effects.is_file() and (models.ROOT / "results" / "quickstart" / "run.json").is_file()
    warm["rebuild_s"] = _command_seconds(["build"], n_repeats) if has_run else None
    return warm


def _command_seconds(arguments: list[str], n_repeats: int) -> float:
    command = [sys.executable, "-m", "phase7", *arguments]
    environment = os.environ | {"PYTHONPATH": str(models.ROOT)}
    run = lambda: subprocess.run(  # noqa: E731
        command, capture_output=True, check=True, cwd=models.ROOT, env=environment
    )
    return round(statistics.median(arms.timed(run) for _ in range(n_repeats)), 2)


if __name__ == "__main__":
    main()
