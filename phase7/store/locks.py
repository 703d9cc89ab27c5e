"""One process at a time for one piece of work.

The operating system drops a lock when its process ends, however it ends, so a lock file that a dead
process left behind blocks nobody. The file is removed while the lock is still held; whoever was
waiting for it starts again on a new one. On a file system without locks this is said once and the work
is done without: two processes may then compute the same entry, which costs time and nothing else,
since every file is written whole.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from phase7.store.writing import unwritable

SUFFIX = ".lock"

#: A wait for another process is reported once it has lasted this long.
PATIENCE_S = 2.0
_BREATH_S = 1.0

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}
_told: set[str] = set()


@contextlib.contextmanager
def work_lock(
    path: Path, tell: Callable[[str], None], while_waiting: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """Hold the lock for making `path`, waiting while another process holds it.

    Parameters
    ----------
    path : Path
        The file to be made. Its folder is made if need be; the lock file lies beside it, hidden.
    tell : callable
        Receives one line when a wait is long, and one when the file system has no locks.
    while_waiting : callable
        Called about every second of a long wait; what it raises ends it.

    Raises
    ------
    UserError
        If the lock file cannot be made.
    """
    place = path.with_name(f".{path.name}{SUFFIX}")
    lock = FileLock(place, fallback_to_soft=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _acquire(lock, path, tell, while_waiting)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise unwritable(path, error) from error
        if "no locks" not in _told:
            _told.add("no locks")
            tell(f"{path.parent}: no file locks here; two runs at once may compute the same entry twice")
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows removes no open file; `prune` does later
            os.unlink(place)
        lock.release()


def remove_if_free(place: Path) -> bool:
    """Remove a lock file that no process holds; whether it was removed."""
    lock = FileLock(place, fallback_to_soft=False)
    try:
        with lock.acquire(timeout=0):
            place.unlink(missing_ok=True)
    except (OSError, Timeout):
        return False
    return True


def _acquire(
    lock: FileLock, path: Path, tell: Callable[[str], None], while_waiting: Callable[[], object]
) -> None:
    timeout = PATIENCE_S
    while True:
        try:
            lock.acquire(timeout=timeout)
        except Timeout:
            if timeout == PATIENCE_S:
                tell(f"{path}: another process is computing this entry; waiting for it")
            while_waiting()
            timeout = _BREATH_S
        else:
            return
