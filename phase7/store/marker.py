"""The store's marker: one line, ``form.txt``, that says in which format the folder is kept.

A version of phase7 that knows only older formats refuses the store by this line instead of computing
everything again beside entries that it does not see. The line carries a checksum of its own.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from phase7.store.writing import write_text
from phase7.vocabulary.errors import UserError

#: Raise it when older versions would misread, overlook or spoil what the folder holds. 1: entries are
#: joblib pickles; 2: entries are safetensors files.
FORMAT_VERSION = 2

NAME = "form.txt"


def check_marker(root: Path, tell: Callable[[str], None], *, mend: bool = True) -> int | None:
    """The format that the folder says it is in; None where it says none yet.

    Parameters
    ----------
    root : Path
        The store.
    tell : callable
        Receives one line when a damaged marker is set aside.
    mend : bool
        Set a damaged marker aside; False changes nothing.

    Raises
    ------
    UserError
        If a newer version wrote the store, or the marker cannot be read.
    """
    path = root / NAME
    try:
        line = path.read_text(encoding="utf-8", errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(
            expected="a format marker that can be read",
            got=error.strerror or type(error).__name__,
            where=str(path),
            remedy="change permissions or choose another --store",
        ) from error
    number = line.removeprefix("phase7-store ").partition(" ")[0]
    if not (number.isascii() and number.isdigit() and len(number) < 10 and line == _line(int(number))):
        if mend:
            os.replace(path, path.with_suffix(".damaged"))
            tell(f"{path}: not what was written; set aside, its entries are checked one by one")
        return None
    if int(number) > FORMAT_VERSION:
        raise UserError(
            expected=f"a store in format {FORMAT_VERSION} or older",
            got=f"format {number}",
            where=str(root),
            remedy="it was written by a newer version: upgrade phase7 or choose another --store",
        )
    return int(number)


def write_marker(root: Path) -> None:
    """Say that the folder is in today's format."""
    write_text(root / NAME, _line(FORMAT_VERSION) + "\n")


def _line(version: int) -> str:
    text = f"phase7-store {version}"
    return f"{text} {hashlib.sha256(text.encode()).hexdigest()[:16]}"
