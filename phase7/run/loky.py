"""End the worker processes of joblib's backend loky: at once, all of them, and without noise."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def manager_held_back() -> Iterator[None]:
    """Hold back the errors of loky's own thread until the end; if the run was stopped, drop them.

    That thread fails when workers are killed while it hands out work. After an interrupt this is to be
    expected and would only hide the line that says how to continue.
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
    """End the worker processes, even those in the middle of a unit."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True, kill_workers=True)
