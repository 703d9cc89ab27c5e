"""What lies in a store: list it, check it, remove it.

Nothing here decodes a value. Only the store's own folders (``memo``, ``models``, ``effects``) and the
user's folder of models are looked into: whatever else somebody keeps beside them stays.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from phase7.store import entry_file, old_entries
from phase7.store.entry_file import Checked
from phase7.store.locks import SUFFIX as LOCK_SUFFIX
from phase7.store.locks import remove_if_free
from phase7.store.reading import read_whole
from phase7.store.sums import UNSEALED, Damaged, check_folder, check_sealed
from phase7.store.writing import is_abandoned, is_temporary

_CHECKS: dict[str, Callable[[bytes], Checked]] = {
    entry_file.SUFFIX: entry_file.check,
    old_entries.SUFFIX: old_entries.check,
}


@dataclass(frozen=True)
class StoredEntry:
    """One piece of the store as `phase7 store` shows it.

    `problem` is empty where the bytes are those that were written; `note` says what was not checked.
    """

    path: Path
    stage: str
    n_bytes: int
    problem: str = ""
    note: str = ""


def checked(path: Path) -> Checked:
    """A memo entry, today's or an older version's, whose bytes are those that were written.

    Raises
    ------
    Damaged
        If they are not, or the entry lies in another one's place.
    OSError
        If it cannot be read.
    """
    found = _CHECKS[path.suffix](read_whole(path))
    if hashlib.sha256(found.key.encode()).hexdigest() != path.parent.name + path.stem:
        raise Damaged("it answers another key")
    return found


def entries(root: Path) -> Iterator[StoredEntry]:
    """Every memo entry, in path order, unchecked."""
    memo = root / "memo"
    for path in sorted(p for p in memo.rglob("*") if p.suffix in _CHECKS):
        yield StoredEntry(path, path.relative_to(memo).parts[0], path.stat().st_size)


def verify(root: Path) -> Iterator[StoredEntry]:
    """Every memo entry, converted model and effects file with its sum checked."""
    for entry in entries(root):
        try:
            checked(entry.path)
        except Damaged as error:
            yield StoredEntry(entry.path, entry.stage, entry.n_bytes, str(error))
        else:
            yield entry
    yield from verify_models(root / "models")
    for path in sorted((root / "effects").glob("*.nc")):
        if not path.is_dir() and not path.name.endswith(".damaged"):
            yield _verified("effects", path, check_sealed)


def verify_models(folder: Path) -> Iterator[StoredEntry]:
    """Every converted model of a folder with its sums checked."""
    for path in sorted(folder.glob("[!.]*")):
        if path.is_dir() and not path.name.endswith(".damaged"):
            yield _verified("models", path, check_folder)


def prune_models(folder: Path, older_than_s: float, now_s: float) -> int:
    """Remove what was set aside in a folder of models, and what dead processes left; the bytes freed."""
    freed = 0
    for path in sorted(folder.glob("*.damaged")):
        freed += _remove_old(path, "models", None, now_s - older_than_s)
    for path in _left_behind_of([*folder.rglob(".*")], now_s):
        freed += _remove(path)
    return freed


def prune(root: Path, stage: str | None, older_than_s: float, now_s: float) -> int:
    """Remove old entries, and what dead processes left; the number of bytes freed."""
    freed = 0
    for entry in list(entries(root)):
        freed += _remove_old(entry.path, entry.stage, stage, now_s - older_than_s)
    for path, own_stage in _set_aside(root):
        freed += _remove_old(path, own_stage, stage, now_s - older_than_s)
    for path in left_behind(root, now_s):
        freed += _remove(path)
    for path in sorted((root / "memo").rglob(f".*{LOCK_SUFFIX}")):
        remove_if_free(path)
    return freed


def left_behind(root: Path, now_s: float) -> list[Path]:
    """Temporary files and folders whose process is gone."""
    hidden = list(root.glob(".*"))  # no further: the folder may hold what is not the store's
    for place in ("memo", "models", "effects"):
        hidden += (root / place).rglob(".*")
    return _left_behind_of(hidden, now_s)


def _left_behind_of(hidden: list[Path], now_s: float) -> list[Path]:
    return [p for p in sorted(hidden) if is_temporary(p.name) and is_abandoned(p, now_s)]


def _set_aside(root: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(root.glob("memo/*/*/*.damaged")):
        yield path, path.relative_to(root).parts[1]
    for stage in ("models", "effects"):
        for path in sorted((root / stage).glob("*.damaged")):
            yield path, stage


def _verified(stage: str, path: Path, check: Callable[[Path], bool]) -> StoredEntry:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    n_bytes = sum(file.stat().st_size for file in files)
    try:
        sealed = check(path)
    except (Damaged, OSError) as error:
        return StoredEntry(path, stage, n_bytes, str(error))
    return StoredEntry(path, stage, n_bytes, note="" if sealed else UNSEALED)


def _remove_old(path: Path, own_stage: str, stage: str | None, before_s: float) -> int:
    """Remove a file of the wanted stage not modified since `before_s`; its bytes, or 0."""
    if stage is not None and own_stage != stage:
        return 0
    try:
        return _remove(path) if path.stat().st_mtime <= before_s else 0
    except FileNotFoundError:  # another prune was first
        return 0


def _remove(path: Path) -> int:
    if path.is_dir():
        n_bytes = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
        shutil.rmtree(path, ignore_errors=True)
        return n_bytes
    n_bytes = path.stat().st_size
    path.unlink(missing_ok=True)
    return n_bytes
