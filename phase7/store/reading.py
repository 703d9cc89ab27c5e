"""Read a whole file, but never from a device or a pipe that may not end.

Text is UTF-8, or what a byte-order mark in front of it says, as some editors and shells write one.
"""

from __future__ import annotations

import codecs
import errno
from pathlib import Path

#: Byte-order marks; that of UTF-16 begins that of UTF-32.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


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


def read_text(path: Path) -> str:
    """The text of a regular file, without its byte-order mark.

    Raises
    ------
    OSError
        As :func:`read_whole`.
    UnicodeDecodeError
        If it is no text in UTF-8, or in what its byte-order mark says.
    """
    data = read_whole(path)
    return data.decode(next((code for mark, code in _MARKS if data.startswith(mark)), "utf-8"))
