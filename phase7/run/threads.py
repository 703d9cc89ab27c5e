"""Several memo entries at once in this process, each computed on one processor.

Each thread has a twin of the model: the same weights, but hooks of its own. Batches side by side are
faster than all processors working on one batch after another: no processor waits for another within a
batch, and what Python does between two operations holds up only one of them.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from phase7.run.executor import Executor
from phase7.run.one_thread import one_thread
from phase7.run.units import Unit
from phase7.store import Store

#: The name of every thread.
NAME = "phase7 batches"

#: How long a thread may hold Python while others wait, in seconds.
_TURN_S = 5e-5

MakeExecutor = Callable[[Store, Callable[[int], None]], Executor]


class _Stopped(Exception):
    """Ends a thread's work when nobody waits for it any more."""


class Threads:
    """Computes one model's units on several threads; a :data:`~phase7.run.units.FanOut`.

    Parameters
    ----------
    make_executor : callable
        Given a store and what to tell the tokens of every step, makes the executor whose model the
        threads share.
    open_store : callable
        Opens the run's store again: a store's counters belong to one thread.
    n_threads : int
    """

    def __init__(
        self, make_executor: MakeExecutor, open_store: Callable[[], Store], n_threads: int
    ) -> None:
        self._stop = threading.Event()
        self._done = queue.SimpleQueue[Unit | int | BaseException]()
        self._open_store, self._n_threads = open_store, n_threads
        self._executors = [make_executor(self._store(), self._go_on)]

    def __call__(self, units: Sequence[Unit]) -> Iterator[Unit | int]:
        """Yield each unit when its entry is in the store; the first error ends all threads.

        In between come the tokens of each step of a unit that is not finished.
        """
        groups = self._executors[0].side_by_side(units, self._n_threads)
        todo, n_left = deque(groups), len(units)
        done = self._done = queue.SimpleQueue()
        self._stop.clear()
        with one_thread(), _short_turns():
            n_threads = min(self._n_threads, len(groups))
            while len(self._executors) < n_threads:
                self._executors.append(self._executors[0].twin(self._store(), self._go_on))
            threads = [
                threading.Thread(target=_work, args=(executor, todo, done), name=NAME)
                for executor in self._executors[:n_threads]
            ]
            try:
                for thread in threads:
                    thread.start()
                while n_left:
                    told = done.get()
                    if isinstance(told, BaseException):
                        raise told
                    n_left -= isinstance(told, Unit)
                    yield told
            finally:
                self._stop.set()
                todo.clear()
                for thread in threads:
                    if thread.ident is not None:  # started before an interrupt
                        thread.join()

    def _go_on(self, n_tokens: int = 0) -> None:
        if self._stop.is_set():
            raise _Stopped
        if n_tokens:
            self._done.put(n_tokens)

    def _store(self) -> Store:
        store = self._open_store()
        store.while_waiting = self._go_on
        return store


@contextlib.contextmanager
def _short_turns() -> Iterator[None]:
    """Let threads change places more often.

    A thread that comes out of an operation of a fraction of a millisecond would wait up to 5 ms for
    Python, as long as another one holds it: with few rows in a batch that is a fifth of the time.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(_TURN_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _work(
    executor: Executor,
    todo: deque[tuple[Unit, ...]],
    done: queue.SimpleQueue[Unit | int | BaseException],
) -> None:
    try:
        with one_thread():
            for group in _taken(todo):
                executor.compute(group)
                for unit in group:
                    done.put(unit)
    except BaseException as error:  # for whoever waits
        done.put(error)


def _taken(todo: deque[tuple[Unit, ...]]) -> Iterator[tuple[Unit, ...]]:
    """Take one group after another until none is left."""
    while True:
        try:
            group = todo.popleft()
        except IndexError:
            return
        yield group
