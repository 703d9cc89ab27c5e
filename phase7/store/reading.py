"""Read a whole file, but never from a device or a pipe that may not end."""

from __future__ import annotations

import errno
from pathlib import Path


def read_whole(path: Path) -> bytes:
    """The bytes of a regular file.

    Raises
    ------
    OSError
        If it cannot be read, or is a device or a pipe, which may never end.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return path.read_bytes()
