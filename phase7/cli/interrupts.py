"""SIGINT and SIGTERM as exceptions that end a command cleanly.

While a command runs, a signal raises :class:`Interrupted` or :class:`Terminated` in the main thread; the
command then ends with the conventional exit code and a line that says how to continue. Some library code
swallows exceptions (destructors, imports), so where the system has interval timers the exception is
raised again every few seconds until the command has ended.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

from phase7.cli.terminal import say

AGAIN_AFTER_S = 3.0

_ALARM: int | None = getattr(signal, "SIGALRM", None)  # Windows has none


class Interrupted(KeyboardInterrupt):
    """SIGINT arrived.

    A class of its own: a plain KeyboardInterrupt that crosses `exec` of a string, as while a library
    defines its dataclasses, makes `python -m` kill itself at its end, whoever caught it
    (`_Py_UnhandledKeyboardInterrupt` of CPython 3.11).
    """


class Terminated(BaseException):
    """SIGTERM arrived."""


class Signals:
    """The signals that arrived. `code` is the exit code of the first one, None before any."""

    def __init__(self) -> None:
        self.code: int | None = None

    def raise_for(self, signum: int, frame: Any) -> NoReturn:
        """Handle a signal; SIGALRM repeats the first one."""
        if signum != _ALARM and self.code is None:
            self.code = 128 + signum
        _alarm_after(AGAIN_AFTER_S)
        raise Terminated if self.code == 128 + signal.SIGTERM else Interrupted

    def stopped(self, code: int) -> int:
        """Say how to continue; the exit code to leave with."""
        ignore_signals()  # what follows takes no time: let it finish
        _alarm_after(0)
        say("stopped; finished entries are kept, run the same command again to continue")
        return code


def ignore_signals() -> None:
    """Ignore both signals, so that a process that has done its work ends with its own exit code."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(signum, signal.SIG_IGN)


@contextlib.contextmanager
def handled_signals() -> Iterator[Signals]:
    """Handle the two signals for a while; a signal that is ignored (`nohup`) stays ignored."""
    signals, before = Signals(), {}
    if threading.current_thread() is threading.main_thread():
        for signum in (signal.SIGINT, signal.SIGTERM, *([_ALARM] if _ALARM else [])):
            before[signum] = signal.getsignal(signum)
            if before[signum] is not signal.SIG_IGN:
                signal.signal(signum, signals.raise_for)
    try:
        yield signals
    finally:
        if before:
            _alarm_after(0)
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _alarm_after(seconds: float) -> None:
    """Set the timer, or stop it with 0."""
    on_main = threading.current_thread() is threading.main_thread()
    if _ALARM is not None and on_main:
        signal.setitimer(signal.ITIMER_REAL, seconds)
