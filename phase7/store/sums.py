"""Checksums of converted models and effects files, and whether their bytes are still those.

A model is a folder; the SHA-256 of each of its files is kept beside them, in ``sums.json``. An effects
file carries its own behind its last byte: HDF5 knows how long its content is and ignores what follows.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from phase7.store.reading import read_whole
from phase7.store.writing import is_temporary, write_text

#: Holds the SHA-256 of every other file of a model's folder.
SUMS_NAME = "sums.json"

#: Stands in an effects file that has a seal behind it, so that a lost seal is missed.
SEALED = "phase7: SHA-256 behind the last byte"

_SEAL = re.compile(rb"\nphase7-seal ([0-9a-f]{64})\n")
_SEAL_BYTES = 78
_HDF5 = b"\x89HDF\r\n\x1a\n"
UNSEALED = "no checksum was recorded"


class Damaged(Exception):
    """Something stored whose bytes are not those that were written."""


def file_sum(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_sums(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a folder by its name, the sums themselves aside."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return {p.name: file_sum(p) for p in files if p.name != SUMS_NAME and not is_temporary(p.name)}


def write_folder_sums(folder: Path) -> None:
    """Record the sums of a folder's files.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    sums = folder_sums(folder)
    whole = sums | {SUMS_NAME: _sum_of(sums)}
    write_text(folder / SUMS_NAME, json.dumps(whole, indent=2, sort_keys=True) + "\n")


def check_folder(folder: Path) -> bool:
    """Compare a folder with its recorded sums.

    Returns
    -------
    bool
        False where none were recorded.

    Raises
    ------
    Damaged
        If a file is missing, is new, or is not what was recorded, or the record itself is not.
    """
    path = folder / SUMS_NAME
    if not path.exists():
        return False
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
        whole = recorded.pop(SUMS_NAME) == _sum_of(recorded)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"{SUMS_NAME} cannot be read") from error
    if not whole:
        raise Damaged(f"{SUMS_NAME} is not what was written")
    found = folder_sums(folder)
    changed = [
        name for name in sorted(recorded.keys() | found.keys()) if recorded.get(name) != found.get(name)
    ]
    if changed:
        raise Damaged(f"{', '.join(changed)[:120]}: the SHA-256 is not the one that was written")
    return True


def seal(path: Path) -> None:
    """Write the SHA-256 of a finished file behind its last byte."""
    digest = file_sum(path)
    with path.open("ab") as file:
        file.write(f"\nphase7-seal {digest}\n".encode("ascii"))


def set_aside(path: Path, tell: Callable[[str], None]) -> None:
    """Move an effects file that is not what was sealed to ``<name>.damaged``; leave any other."""
    try:
        check_sealed(path)
    except OSError:  # there is none, or whoever reads or writes it will say why that cannot be
        return
    except Damaged as error:
        aside = path.with_name(f"{path.name}.damaged")
        os.replace(path, aside)
        tell(f"{path}: {error}; set aside as {aside.name}, writing it again")


def check_sealed(path: Path) -> bool:
    """Compare an effects file with its seal.

    Returns
    -------
    bool
        False for a netCDF file that never had one, as other programs write.

    Raises
    ------
    Damaged
        If the bytes are not those that were sealed, or the seal is lost.
    """
    data = read_whole(path)
    found = _SEAL.fullmatch(data[-_SEAL_BYTES:])
    if found is None:
        if not data.startswith((_HDF5, b"CDF")):
            raise Damaged("not a netCDF file")
        if SEALED.encode("ascii") in data:
            raise Damaged("its checksum is cut off")
        return False
    if hashlib.sha256(data[:-_SEAL_BYTES]).hexdigest().encode("ascii") != found[1]:
        raise Damaged("its SHA-256 is not the one that was written")
    return True


def _sum_of(sums: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(sums), sort_keys=True).encode()).hexdigest()
