"""`python -m tests.programs.fuzz [--cases N] [--seed N]`: feed the command line what it should refuse, and count."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from tests.programs.fuzz import odd, strategies, tables
from tests.programs.fuzz.harness import Failure, Project, progress

#: Shares of the drawn cases.
SHARES = {
    "head_cases": 2, "number_cases": 2, "prompt_cases": 3, "profile_cases": 4, "path_cases": 2,
    "effects_cases": 1, "command_cases": 2, "template_cases": 4, "tokenizer_cases": 3, "scorer_cases": 2,
    "mark_cases": 1, "control_cases": 1, "weight_cases": 1,
}  # fmt: skip


def run(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_500, help="at least this many, tables included")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="draw cases of this kind alone, such as template_cases")
    parser.add_argument("--tables", type=int, default=1, help="every n-th case of the tables")
    args = parser.parse_args(argv)
    started = time.monotonic()
    failures: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="phase7-fuzz-", ignore_cleanup_errors=True) as name:
        set_hypothesis_home_dir(Path(name) / "hypothesis")
        project = Project(Path(name).resolve() / "project")
        n_cases = _tables(project, args.tables, failures)
        progress(
            f"tables: {n_cases} cases, {failures.total()} failures, {time.monotonic() - started:.0f} s"
        )
        shares = {args.only: 1} if args.only else SHARES
        n_cases += _drawn(project, shares, max(0, args.cases - n_cases), args.seed, failures)
        os.chdir("/")
    for kind, n in sorted(project.counts.items()):
        progress(f"  {n:6d}  {kind}")
    for text, n in failures.items():
        progress(f"FAILURE ({n} times): {text}")
    seconds = time.monotonic() - started
    progress(f"cases: {n_cases}; failures: {failures.total()}; {seconds:.0f} s")
    return 1 if failures else 0


def _tables(project: Project, every: int, failures: Counter[str]) -> int:
    chosen = list(tables.cases())[::every]
    for case in chosen:
        _try(project, case, failures)
    return len(chosen)


def _drawn(
    project: Project, shares: dict[str, int], n_wanted: int, number: int, failures: Counter[str]
) -> int:
    effects = (project.folder / "store" / "effects" / "small.nc").read_bytes()
    n_run = 0
    for name, share in shares.items():
        strategy = getattr(odd if hasattr(odd, name) else strategies, name)
        made: st.SearchStrategy[tables.Case] = (
            strategy(effects) if name == "effects_cases" else strategy()
        )
        n_here = -(-n_wanted * share // sum(shares.values()))
        before, n_round = n_run, 0
        while n_run - before < n_here and n_round < 20:  # hypothesis stops early where it has seen all

            @seed(number * 1000 + n_round)
            @settings(
                max_examples=n_here - (n_run - before), deadline=None, database=None,
                phases=[Phase.generate], suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            @given(made)
            def one(case: tables.Case) -> None:
                nonlocal n_run
                n_run += 1
                _try(project, case, failures)

            one()
            n_round += 1
        progress(f"{name}: {n_run - before} cases, {failures.total()} failures so far")
    return n_run


def _try(project: Project, case: tables.Case, failures: Counter[str]) -> None:
    kind, argv, files, wanted = case
    try:
        project.try_case(kind, argv, files, wanted)
    except Failure as failure:
        failures[str(failure)] += 1
        if len(failures) > 40:
            for text, n in failures.items():
                progress(f"FAILURE ({n} times): {text}")
            raise SystemExit("too many failures") from None


if __name__ == "__main__":
    sys.exit(run())
