"""`python -m tests.programs.faults [--reduced] [--seed N] [--only SUITE]`: disturb builds and count what came of it."""

from __future__ import annotations

import argparse
import errno
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from tests.programs.faults import concurrency, corruption, kills, writes
from tests.programs.faults.project import (
    Command,
    Forked,
    arguments,
    copy,
    load_everything,
    make,
    numbers,
)
from tests.programs.faults.schedule import Case, describe, run_all, to_end

SUITES = ("kills", "signals", "writes", "corruption", "concurrency")


@dataclass(frozen=True, kw_only=True)
class Size:
    """How many cases of each kind."""

    kills_of_command: int
    kills_of_work: int
    signals: int
    writes: int
    limits: int
    damages: int
    pairs: int


FULL = Size(kills_of_command=20, kills_of_work=30, signals=12, writes=50, limits=10, damages=2, pairs=2)
REDUCED = Size(kills_of_command=2, kills_of_work=6, signals=4, writes=10, limits=3, damages=1, pairs=1)


class Ground:
    """The undisturbed runs that everything is compared with."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.template = make(root / "template")
        self.wanted: dict[str, dict[str, bytes]] = {}
        self.seconds = self._time(lambda p: Forked(p, lambda: kills.main(arguments())), "forked")
        self.command_seconds = self._time(lambda p: Command(p, arguments()), "command")
        self._time(lambda p: Forked(p, lambda: kills.main(arguments("other"))), "other", "other")

    def _time(self, start, name: str, profile: str = "small") -> float:
        project = copy(self.template, self.root / name)
        child = start(project)
        run_all([self._once(child)], 1)
        seconds = time.monotonic() - child.started
        if child.poll():
            raise SystemExit(f"the undisturbed build failed: {describe(child, child.poll())}")
        found = numbers_of(project, profile)
        if self.wanted.setdefault(profile, found) != found:
            raise SystemExit("two undisturbed builds differ")
        return seconds

    def _once(self, child: Forked) -> Case:
        yield to_end(child)
        return "done"

    def folder(self, name: str) -> Path:
        return self.root / name


def numbers_of(project: Path, profile: str) -> dict[str, bytes]:
    return numbers(project, profile)


def kill_cases(ground: Ground, size: Size, draw: random.Random) -> Iterable[Case]:
    wanted = ground.wanted["small"]
    for kind, n, start, seconds in (
        ("command", size.kills_of_command, kills.command, ground.command_seconds),
        ("work", size.kills_of_work, kills.fork, ground.seconds),
    ):
        for i, at in enumerate(kills.moments(n, seconds, draw)):
            yield kills.killed(ground.template, ground.folder(f"kill-{kind}-{i}"), wanted, start, at)


def signal_cases(ground: Ground, size: Size, draw: random.Random) -> Iterable[Case]:
    wanted = ground.wanted["small"]
    # From when Python itself has started: before, no program of Python's can answer.
    for i, at in enumerate(kills.moments(size.signals, ground.command_seconds, draw, from_s=0.5)):
        number = (kills.signal.SIGINT, kills.signal.SIGTERM)[i % 2]
        yield kills.stopped(ground.template, ground.folder(f"signal-{i}"), wanted, number, at)


def write_cases(ground: Ground, size: Size, draw: random.Random) -> Iterable[Case]:
    wanted, project = ground.wanted["small"], copy(ground.template, ground.folder("counting"))
    child = Forked(project, writes.counting(project))
    run_all([ground._once(child)], 1)
    n_calls = int(project.with_suffix(".calls").read_text())
    print(f"  a build makes {n_calls} calls that can fail", flush=True)
    for i, at in enumerate(kills.moments(size.writes, n_calls, draw, from_s=1)):
        number = (errno.ENOSPC, errno.EIO)[i % 2]
        yield writes.failing(ground.template, ground.folder(f"write-{i}"), wanted, int(at), number)
    for i in range(size.limits):
        n_bytes = int(10 ** draw.uniform(1, 5.3))
        yield writes.limited(ground.template, ground.folder(f"limit-{i}"), wanted, n_bytes)


def corruption_cases(ground: Ground, size: Size, draw: random.Random) -> Iterable[Case]:
    finished = copy(ground.template, ground.folder("finished"))
    child = Forked(finished, lambda: corruption.prepare(finished))
    run_all([ground._once(child)], 1)
    if child.poll():
        raise SystemExit(f"no finished build to damage: {describe(child, child.poll())}")
    wanted = numbers_of(finished, "small")
    for kind in ("capture", "generation", "scores", "lens", "model", "effects"):
        for how in corruption.DAMAGES:
            for i in range(size.damages):
                folder = ground.folder(f"damage-{kind}-{how.replace(' ', '-')}-{i}")
                yield corruption.damaged(finished, folder, wanted, kind, how, draw.randrange(2**32))


def concurrency_cases(ground: Ground, size: Size, draw: random.Random) -> Iterable[Case]:
    wanted = ground.wanted
    entries = sorted(
        str(path.relative_to(ground.folder("forked")))
        for path in (ground.folder("forked") / "store" / "memo").rglob("*.safetensors")
    )
    for i in range(size.pairs):
        for n, profiles in enumerate((("small", "small"), ("small", "other"))):
            folder = ground.folder(f"pair-{i}-{n}")
            yield concurrency.together(ground.template, folder, wanted, profiles)
        yield concurrency.one_entry(ground.folder(f"entry-{i}"), 6, 20)
        folder, entry = ground.folder(f"stale-{i}"), draw.choice(entries)
        yield concurrency.stale_lock(ground.template, folder, wanted["small"], entry)
    yield concurrency.live_lock(ground.template, ground.folder("live"), draw.choice(entries))


def report(suite: str, ends: Counter[str], seconds: float) -> int:
    lost = {end: n for end, n in ends.items() if end.startswith("LOST")}
    print(f"{suite}: {ends.total()} cases, {sum(lost.values())} lost, {seconds:.0f} s", flush=True)
    for end, n in sorted(ends.items()):
        print(f"  {n:4d}  {end}", flush=True)
    return sum(lost.values())


def run(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reduced", action="store_true", help="the size that runs with the slow tests")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=SUITES, action="append")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args(argv)
    size, draw = REDUCED if args.reduced else FULL, random.Random(args.seed)
    load_everything()
    n_cases = n_lost = 0
    totals: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="phase7-faults-", ignore_cleanup_errors=True) as name:
        ground = Ground(Path(name))
        print(
            f"undisturbed: {ground.command_seconds:.1f} s as a command, {ground.seconds:.1f} s forked,"
            f" {len(ground.wanted['small'])} arrays",
            flush=True,
        )
        make_cases = {
            "kills": kill_cases, "signals": signal_cases, "writes": write_cases,
            "corruption": corruption_cases, "concurrency": concurrency_cases,
        }  # fmt: skip
        for suite in args.only or SUITES:
            started = time.monotonic()
            ends = run_all(make_cases[suite](ground, size, draw), args.workers)
            n_lost += report(suite, ends, time.monotonic() - started)
            n_cases += ends.total()
            totals += ends
    n_none = sum(n for end, n in totals.items() if end.startswith(("finished", "below", "nothing")))
    print(
        f"faults injected: {n_cases - n_none}; runs completed: {n_cases - n_lost} of {n_cases};"
        f" arrays equal: {n_cases - n_lost}; lost: {n_lost}"
    )
    return 1 if n_lost else 0


if __name__ == "__main__":
    sys.exit(run())
