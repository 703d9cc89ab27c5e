"""Stop a build at random moments, by SIGKILL and by the signals it may answer; the next run completes."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path

from phase7.cli import main
from tests.programs.faults.project import Command, Forked, arguments, builds_alike, copy
from tests.programs.faults.schedule import Case, describe, to_end

STOPPED = "phase7: stopped; finished entries are kept, run the same command again to continue"


def killed(
    template: Path, folder: Path, wanted: dict[str, bytes], start: Callable[[Path], Forked], at_s: float
) -> Case:
    """SIGKILL after `at_s`, then a run to the end."""
    project = copy(template, folder)
    child = start(project)
    code = yield child, at_s, signal.SIGKILL
    if code not in (0, -signal.SIGKILL):
        return f"LOST, before the kill: {describe(child, code)}"
    child = Forked(project, builds_alike(project, wanted))
    then = yield to_end(child)
    if then:
        return f"LOST, killed after {at_s:.2f} s: {describe(child, then)}"
    return "killed, completed, equal" if code else "finished before the kill, equal"


def stopped(template: Path, folder: Path, wanted: dict[str, bytes], number: int, at_s: float) -> Case:
    """SIGINT or SIGTERM to the real command: one line, the conventional code, then a run to the end."""
    project = copy(template, folder)
    child: Forked = Command(project, arguments())
    code = yield child, at_s, number
    output = child.output()
    if code != 0 and (code != 128 + number or output.splitlines() != [STOPPED]):
        return f"LOST, not clean after {at_s:.2f} s: {describe(child, code)}"
    if code and list(project.rglob(".*.tmp")):
        return f"LOST, a temporary file stayed after {at_s:.2f} s"
    child = Forked(project, builds_alike(project, wanted))
    then = yield to_end(child)
    if then:
        return f"LOST, stopped after {at_s:.2f} s: {describe(child, then)}"
    return "stopped in one line, completed, equal" if code else "finished before the signal, equal"


def fork(project: Path) -> Forked:
    return Forked(project, lambda: main(arguments()))


def command(project: Path) -> Forked:
    return Command(project, arguments())


def moments(n: int, until_s: float, draw: random.Random, from_s: float = 0.0) -> list[float]:
    """Random moments, one in each of n equal parts of the time."""
    return [from_s + (i + draw.random()) * (until_s - from_s) / n for i in range(n)]
