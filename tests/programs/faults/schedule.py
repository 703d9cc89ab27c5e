"""Run cases side by side: a case is a generator that yields the children it waits for."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Generator, Iterable
from typing import Any

from tests.programs.faults.project import Forked

#: A child that lives longer hangs.
LIMIT_S = 240.0

#: A child, how long it may run before the signal (None: to its end), and the signal.
Step = tuple[Forked, float | None, int]
Case = Generator[Step, int, str]


def to_end(child: Forked) -> Step:
    return child, None, signal.SIGKILL


def run_all(cases: Iterable[Case], n_workers: int) -> Counter[str]:
    """Drive every case to its end; how many ended in which way (the word that a case returns)."""
    waiting, active, ends = list(cases)[::-1], [], Counter[str]()

    def advance(case: Case, code: int | None) -> None:
        try:
            step = next(case) if code is None else case.send(code)
        except StopIteration as stop:
            ends[str(stop.value)] += 1
        else:
            active.append((case, step, [False]))

    while waiting or active:
        while waiting and len(active) < n_workers:
            advance(waiting.pop(), None)
        for item in active[:]:
            case, (child, after_s, number), signalled = item
            code, age = child.poll(), time.monotonic() - child.started
            if code is not None:
                active.remove(item)
                advance(case, code)
            elif age > LIMIT_S:
                child.kill()
            elif after_s is not None and age > after_s and not signalled[0]:
                signalled[0] = True
                child.send_signal(number)
        time.sleep(0.005)
    return ends


def describe(child: Any, code: int) -> str:
    """One line about a child that did not do what it should."""
    lines = [line for line in child.output().splitlines() if line.strip()]
    return f"exit code {code}: {' | '.join(lines[-3:])[:400]}"
