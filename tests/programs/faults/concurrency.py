"""Runs at the same time in one store: right results, nothing computed twice, no lock of a dead process."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

from phase7.cli import main
from phase7.store import Store
from phase7.store.locks import work_lock
from tests.programs.faults.project import Forked, arguments, builds_alike, copy
from tests.programs.faults.schedule import Case, describe, to_end

_COMPUTED = re.compile(r"^(\d+) entries computed", re.MULTILINE)


def together(
    template: Path, folder: Path, wanted: dict[str, dict[str, bytes]], profiles: tuple[str, ...]
) -> Case:
    """Builds of `profiles` at once; each entry of the store was computed by exactly one of them."""
    project = copy(template, folder)
    children = []
    for number, profile in enumerate(profiles):
        build = builds_alike(project, wanted[profile], profile)
        children.append(Forked(project, build, f".{number}"))
    for child in children:
        code = yield to_end(child)
        if code:
            return f"LOST, at once: {describe(child, code)}"
    counts = [int(n) for child in children for n in _COMPUTED.findall(child.output())]
    stored = len(list(Store(project / "store").entries()))
    if sum(counts) != stored:
        return f"LOST, {stored} entries, but {' + '.join(map(str, counts))} were computed"
    if list((project / "store").rglob(".*")):
        return "LOST, a lock or temporary file stayed"
    same = "one profile" if len(set(profiles)) == 1 else "two profiles"
    return f"{len(profiles)} builds of {same} at once, each entry computed once, equal"


def one_entry(folder: Path, n_processes: int, n_keys: int) -> Case:
    """Many processes want the same few entries: every one is computed once."""
    folder.mkdir(parents=True)
    record = folder / "computed"

    def act() -> int:
        store = Store(folder / "store")
        for n in range(n_keys):

            def compute(n: int = n) -> int:
                with record.open("ab", buffering=0) as file:  # one append is one line
                    file.write(b"%d\n" % n)
                time.sleep(0.01)
                return n * n

            if store.get("square", {"n": n}, compute) != n * n:
                return 1
        return 0

    children = [Forked(folder, act, f".{number}") for number in range(n_processes)]
    for child in children:
        code = yield to_end(child)
        if code:
            return f"LOST, one entry: {describe(child, code)}"
    lines = record.read_bytes().split()
    if sorted(map(int, lines)) != list(range(n_keys)):
        return f"LOST, {n_keys} keys were computed {len(lines)} times"
    return f"{n_processes} processes, {n_keys} keys, each computed once"


def stale_lock(template: Path, folder: Path, wanted: dict[str, bytes], entry: str) -> Case:
    """A process dies with the lock of an entry that the next build needs: nobody waits."""
    project = copy(template, folder)
    path = project / entry
    ready = folder.with_suffix(".ready")

    def hold() -> int:
        with work_lock(path, print):
            ready.write_text("", encoding="utf-8")
            time.sleep(600)
        return 0

    holder = Forked(project, hold)
    while not ready.exists():
        time.sleep(0.01)
    code = yield holder, 0.0, signal.SIGKILL
    lock = path.with_name(f".{path.name}.lock")
    if code != -signal.SIGKILL or not lock.exists():
        return "LOST, no lock was left behind to test"
    child = Forked(project, builds_alike(project, wanted))
    then = yield to_end(child)
    if then or "waiting" in child.output():
        return f"LOST, stale lock: {describe(child, then)}"
    return "stale lock of a dead process, completed, equal"


def live_lock(template: Path, folder: Path, entry: str) -> Case:
    """Liveness of the case above: a lock that a living process holds is waited for, and that is told."""
    project = copy(template, folder)
    path = project / entry
    ready = folder.with_suffix(".ready")

    def hold() -> int:
        with work_lock(path, print):
            ready.write_text("", encoding="utf-8")
            time.sleep(600)
        return 0

    holder = Forked(project, hold, ".holder")
    while not ready.exists():
        time.sleep(0.01)
    child = Forked(project, lambda: main(arguments()))
    while "waiting for it" not in child.output() and child.poll() is None:
        time.sleep(0.05)
    if child.poll() is not None:
        return f"LOST, a held lock was not waited for: {describe(child, child.poll() or 0)}"
    holder.kill()
    yield to_end(holder)
    code = yield to_end(child)
    return f"LOST: {describe(child, code)}" if code else "lock of a living process waited for, completed"
