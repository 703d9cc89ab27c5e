"""The worker processes that joblib's backend loky holds: ended, and without noise.

What enters: the end of a run. What leaves: no process, and no message that says nothing.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def manager_held_back() -> Iterator[None]:
    """Hold back what loky's own thread raises; a run that is stopped drops it, any other tells it.

    Workers that are killed while that thread hands out work make it fail: true, and no news.
    """
    held: list[threading.ExceptHookArgs] = []
    before, is_stopped = threading.excepthook, True

    def hold(args: threading.ExceptHookArgs) -> None:
        of_loky = args.thread is not None and args.thread.name.startswith("ExecutorManager")
        held.append(args) if of_loky else before(args)

    threading.excepthook = hold
    try:
        yield
        is_stopped = False
    except Exception:
        is_stopped = False
        raise
    finally:
        threading.excepthook = before
        for args in () if is_stopped else held:
            before(args)


def end_workers() -> None:
    """End the worker processes, also those in the midst of a unit."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True, kill_workers=True)
