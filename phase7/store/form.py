"""The store's form: one line that says by which rules its folder is written.

What enters: the store's folder. What leaves: whether it has such a line, or the refusal of a store that
a newer version wrote.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from phase7.store.writing import write_text
from phase7.vocabulary.errors import UserError

#: Raise it when older versions would misread or spoil the folder.
FORM = 1

NAME = "form.txt"


def check_form(root: Path, tell: Callable[[str], None], *, mend: bool = True) -> bool:
    """Whether the folder says its form; False where it says none yet.

    Parameters
    ----------
    root : Path
        The store.
    tell : callable
        Told in a line where the note was damaged and set aside.
    mend : bool
        Set a damaged note aside; False changes nothing.

    Raises
    ------
    UserError
        If a newer version wrote the store, or the note cannot be read.
    """
    path = root / NAME
    try:
        line = path.read_text(encoding="utf-8", errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise UserError(
            expected="a note of the store's form that can be read",
            got=error.strerror or type(error).__name__,
            where=str(path),
            remedy="change permissions or choose another --store",
        ) from error
    number = line.removeprefix("phase7-store ").partition(" ")[0]
    if not (number.isascii() and number.isdigit() and len(number) < 10 and line == _line(int(number))):
        if mend:
            os.replace(path, path.with_suffix(".damaged"))
            tell(f"{path}: not what was written; set aside, its entries are checked one by one")
        return False
    if int(number) > FORM:
        raise UserError(
            expected=f"a store of form {FORM} or older",
            got=f"form {number}",
            where=str(root),
            remedy="it was written by a newer version: upgrade phase7 or choose another --store",
        )
    return True


def write_form(root: Path) -> None:
    """Say the form, in a folder that does not say it yet."""
    write_text(root / NAME, _line(FORM) + "\n")


def _line(form: int) -> str:
    text = f"phase7-store {form}"
    return f"{text} {hashlib.sha256(text.encode()).hexdigest()[:16]}"
