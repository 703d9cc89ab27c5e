"""Progress of long work: a bar on a terminal and in a notebook, a line a minute anywhere else."""

from __future__ import annotations

import builtins
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Protocol, Self

from tqdm import tqdm

#: How often a line is written where no bar can be drawn, in seconds.
EVERY_S = 60.0


#: Is told of tokens as they are computed.
Told = Callable[[int], object]


def unheard(n_tokens: int) -> None:
    """Tell nobody."""


class Progress(Protocol):
    """What is told how much is done."""

    def update(self, n: int) -> object:
        """Add to what is done."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> object: ...


class Lines:
    """Progress as lines: none for work that takes less than a minute.

    What is left is estimated by the speed since the first tokens: before them models load and prompts
    are recorded.

    Parameters
    ----------
    name : str
    total : int
    clock : callable
        Seconds.
    write : callable, optional
        Called with each line; default: it is written on stderr.
    """

    def __init__(
        self,
        name: str,
        total: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[str], None] | None = None,
    ) -> None:
        self._name, self._total, self._clock = name, total, clock
        self._write = write or (lambda line: print(line, file=sys.stderr, flush=True))
        self._done, self._started = 0, clock()
        self._last = self._started
        self._first: tuple[int, float] | None = None  # tokens, and when they were told

    def update(self, n: int) -> None:
        """Add to what is done; a line if the last one is a minute old."""
        self._done += n
        now = self._clock()
        if self._first is None and n:
            self._first = (n, now)
        if now - self._last < EVERY_S or self._done >= self._total:
            return
        self._last, passed = now, now - self._started
        share = self._done / self._total
        left = self._left(now)
        told = "" if left is None else f", about {in_minutes(left)} left"
        self._write(f"phase7: {self._name}: {share:.0%} after {in_minutes(passed)}{told}")

    def _left(self, now: float) -> float | None:
        """Seconds that the rest will take; None before there is a speed."""
        first, since = self._first or (0, now)
        if self._done == first:
            return None
        return (self._total - self._done) * (now - since) / (self._done - first)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None


class Once:
    """Tells tokens as they are generated, and of finished work only those that were not told yet.

    Parameters
    ----------
    tell : callable
        Called with a number of tokens.
    """

    def __init__(self, tell: Callable[[int], object]) -> None:
        self._tell, self._ahead = tell, 0

    def under_way(self, n: int) -> None:
        """Tell tokens of work that is not finished."""
        self._ahead += n
        if n:
            self._tell(n)

    def done(self, n: int) -> None:
        """Tell what is missing of finished work of `n` tokens, as where a text ended early."""
        told = min(self._ahead, n)
        self._ahead -= told
        if n > told:
            self._tell(n - told)


class _Bar(tqdm):  # type: ignore[misc]
    """A bar whose speed counts from the first tokens: before them models load, prompts are recorded."""

    n: float

    def update(self, n: float | None = 1) -> bool | None:
        if self.disable or self.n or not n:
            shown: bool | None = super().update(n)
            return shown
        self.n = self.initial = self.last_print_n = n
        self.start_t = self.last_print_t = self._time()
        self.refresh()
        return True


def progress(name: str, total: int, *, is_shown: bool) -> Progress:
    """The progress of `total` tokens of work; nothing is shown of none, or where it is not wanted."""
    is_shown = is_shown and total > 0
    notebook = _in_notebook()
    if is_shown and not notebook and not sys.stderr.isatty():
        return Lines(name, total)
    bar: Any = _Bar
    if notebook and find_spec("ipywidgets") is not None:
        from tqdm import notebook as widgets

        bar = widgets.tqdm
    made: Progress = bar(
        total=total, unit="tok", unit_scale=True, desc=name, leave=False, disable=not is_shown
    )
    return made


def _in_notebook() -> bool:
    shell = getattr(builtins, "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def in_minutes(seconds: float) -> str:
    """A time as a person says it."""
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
