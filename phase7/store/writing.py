"""Write files that are whole or absent.

A file is written under a temporary name in the same folder, synced and renamed, and the folder is
synced too, so that neither a killed process nor a power failure leaves half a file under the final
name. The temporary name tells which process on which machine is writing, so that what a dead process
left behind can be told from work in progress.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from phase7.vocabulary.errors import UserError

#: A temporary file of another machine, or one that names no process, counts as abandoned when nothing
#: was written to it for this long.
ABANDONED_AFTER_S = 86_400.0

_TEMPORARY = re.compile(
    r"\.(?P<folder>making-)?(?:(?P<machine>[0-9a-f]{8})-(?P<process>\d{1,9})-)?[a-z0-9_]{8}(?(folder)|\.tmp)"
)
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF}


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; on success it is synced and renamed, on failure removed.

    A symbolic link is followed: what it points to is replaced. Only a regular file is ever replaced: a
    rename over a device such as ``/dev/null`` would, with enough rights, put a file in its place.

    Raises
    ------
    UserError
        If the folder or the file cannot be written.
    """
    path = Path(os.path.realpath(path))
    try:
        _require_replaceable(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{_writer()}-", suffix=".tmp", dir=path.parent)
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error
    temporary = Path(name)
    try:
        os.close(handle)
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # a name that stays is removed by `prune`
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` in UTF-8 to `path` whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def writable_folder(path: Path) -> None:
    """Make the folder and try to write in it, so that a long task fails at its start and not at its end.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path):
            pass
    except OSError as error:
        raise unwritable(path, error) from error


def require_place(path: Path) -> None:
    """Check that a file could be written at `path`, before the work for it is done; leaves nothing.

    Raises
    ------
    UserError
        If it is a folder or a device, its name is too long, or no file can be made in the nearest folder
        that exists.
    """
    place = Path(os.path.realpath(path))
    try:
        _require_replaceable(place)
        with contextlib.suppress(FileNotFoundError):
            os.lstat(place)  # a name that is too long
        folder = place.parent
        while not folder.exists():
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error


def _require_replaceable(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "Is a directory")
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "a device or a pipe")


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power failure, where the file system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders; a folder that may not be read was still written to
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(handle)


def is_temporary(name: str) -> bool:
    """Whether `atomic_path` or `temporary_folder`, in whatever process, makes names like this."""
    return _TEMPORARY.fullmatch(name) is not None


def is_abandoned(path: Path, now_s: float) -> bool:
    """Whether nobody writes this temporary file any more: its process is dead, or it is a day old."""
    match = _TEMPORARY.fullmatch(path.name)
    if match is None:
        return False
    if match["machine"] == _machine():
        return not psutil.pid_exists(int(match["process"]))
    try:
        return now_s - path.stat().st_mtime >= ABANDONED_AFTER_S
    except OSError:
        return False


def remove_abandoned(folder: Path, now_s: float) -> None:
    """Remove the temporary files and folders in `folder` that nobody is writing any more."""
    for path in sorted(folder.glob(".*")):
        if is_abandoned(path, now_s):
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def unwritable(path: Path, error: Exception) -> UserError:
    """The error for a place that cannot be written."""
    return UserError(
        expected="a place that can be written",
        got=getattr(error, "strerror", None) or type(error).__name__,
        where=str(path),
        remedy="free space, change permissions or choose another path",
    )


@contextlib.contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """A folder to work in, removed at the end."""
    with tempfile.TemporaryDirectory(dir=parent, prefix=f".making-{_writer()}-") as name:
        yield Path(name)


def _writer() -> str:
    return f"{_machine()}-{os.getpid()}"


def _machine() -> str:
    """A short name of this machine, the same for all its processes."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
