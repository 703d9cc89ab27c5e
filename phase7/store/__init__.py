"""The folder ``store/``: finished work, each piece in one file that is whole or absent.

What enters: a canonical key (a dict of built-in types) and a function that computes the entry.
What leaves: the entry. An entry is written to a temporary name in its folder, synced and renamed;
its first line is a JSON header with the SHA-256 of the joblib payload behind it, and the payload
is unpickled only after that sum was checked. A damaged entry is set aside and computed again. Two
processes that want the same entry compute it once: the second waits for the first.

The key is a canonical string of the caller's making plus :data:`VERSION`, not joblib's own hash of
the arguments: equal tensors can hash differently, and joblib's hash of a function changes with its
comments.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import joblib

from phase7.store.form import check_form, write_form
from phase7.store.locks import SUFFIX, remove_if_free, work_lock
from phase7.store.sums import UNSEALED, Damaged, check_folder, check_sealed
from phase7.store.writing import (
    atomic_path,
    is_abandoned,
    is_temporary,
    writable_folder,
    write_bytes,
    write_text,
)
from phase7.vocabulary.errors import UserError

__all__ = [
    "VERSION",
    "Damaged",
    "Store",
    "StoredEntry",
    "atomic_path",
    "canonical",
    "writable_folder",
    "write_bytes",
    "write_text",
]

#: Raise it when an entry's meaning changes: every older entry is then computed again.
VERSION = 1

_MAGIC = "phase7-entry"
_MISSING = object()
_log = logging.getLogger(__name__)
T = TypeVar("T")


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


@dataclass
class Store:
    """Memoized stages under one folder.

    Attributes
    ----------
    root : Path
        The folder, usually ``store``. Made on first use.
    n_hits, n_computed : dict of str to int
        Entries read and entries computed since this object was made, per stage.
    on_damage : callable
        Told in one line when a damaged entry is set aside, and of a long wait for another process.
    made_with : callable or None
        Says with which library versions a new entry is made; kept in its header.
    while_waiting : callable
        Called about every second of a wait for another process; what it raises ends the wait.
    origins : dict of str to int
        How many of the entries that were read say which such record (JSON; ``""`` where none).
    """

    root: Path
    n_hits: dict[str, int] = field(default_factory=dict)
    n_computed: dict[str, int] = field(default_factory=dict)
    on_damage: Callable[[str], None] = print
    made_with: Callable[[], Mapping[str, Any]] | None = None
    while_waiting: Callable[[], object] = lambda: None
    origins: dict[str, int] = field(default_factory=dict)

    def path(self, stage: str, key: dict[str, Any]) -> Path:
        """Where the entry of `key` lies, whether it exists or not."""
        digest = hashlib.sha256(canonical(stage, key).encode()).hexdigest()
        return self.root / "memo" / stage / digest[:2] / f"{digest[2:]}.joblib"

    def has(self, stage: str, key: dict[str, Any]) -> bool:
        """Whether an entry file exists (its sum is checked on reading)."""
        return self.path(stage, key).is_file()

    def require_form(self) -> bool:
        """Refuse a store that a newer version wrote; whether the folder says its form at all.

        Raises
        ------
        UserError
            If it is newer.
        """
        return check_form(self.root, self.on_damage)

    def get(self, stage: str, key: dict[str, Any], compute: Callable[[], T]) -> T:
        """The entry of `key`: read if it is there and whole, else computed, written and returned.

        Raises
        ------
        UserError
            If the store was written by a newer version, or cannot be read or written.
        """
        path = self.path(stage, key)
        says_form = self.require_form()
        try:
            value = self._read(stage, key, path)
        except Damaged:
            value = _MISSING  # reported under the lock, by one process only
        if value is not _MISSING:
            return value  # type: ignore[no-any-return]
        with work_lock(path, self.on_damage, self.while_waiting):
            try:
                value = self._read(stage, key, path)  # another process may have been first
            except Damaged as error:
                aside = path.with_suffix(".damaged")
                os.replace(path, aside)
                self.on_damage(f"{path}: {error}; set aside as {aside.name}, computing it again")
            if value is not _MISSING:
                return value  # type: ignore[no-any-return]
            started = time.monotonic()
            computed = compute()
            if not says_form:
                write_form(self.root)
            made_with = None if self.made_with is None else dict(self.made_with())
            n_bytes = _write(path, canonical(stage, key), computed, made_with)
        self.n_computed[stage] = self.n_computed.get(stage, 0) + 1
        seconds = time.monotonic() - started
        _log.info("%s %s: computed in %.3f s, %d bytes", stage, _short(path), seconds, n_bytes)
        return computed

    def entries(self) -> Iterator[StoredEntry]:
        """Every memo entry, in path order, unchecked."""
        self.require_form()
        memo = self.root / "memo"
        for path in sorted(memo.rglob("*.joblib")) if memo.is_dir() else ():
            yield StoredEntry(path, path.relative_to(memo).parts[0], path.stat().st_size)

    def verify(self) -> Iterator[StoredEntry]:
        """Every memo entry, converted model and effects file with its sum checked.

        Nothing is unpickled or changed.
        """
        for entry in self.entries():
            try:
                _payload(entry.path)
            except Damaged as error:
                yield StoredEntry(entry.path, entry.stage, entry.n_bytes, str(error))
            else:
                yield entry
        checks: tuple[tuple[str, str, Callable[[Path], bool]], ...] = (
            ("models", "[!.]*", check_folder),
            ("effects", "*.nc", check_sealed),
        )
        for stage, pattern, check in checks:
            for path in sorted((self.root / stage).glob(pattern)):
                if path.is_dir() == (stage == "models") and not path.name.endswith(".damaged"):
                    yield _checked(stage, path, check)

    def prune(self, *, stage: str | None = None, older_than_s: float = 0.0, now_s: float) -> int:
        """Remove memo entries (of one stage, or all) not modified for `older_than_s`.

        What was set aside as damaged goes by the same rule. Temporary files of processes that are gone
        and locks that nobody holds go at once, whatever their age or stage.

        Returns the number of bytes freed.
        """
        freed = 0
        for entry in list(self.entries()):
            freed += _remove_old(entry.path, entry.stage, stage, now_s - older_than_s)
        for path, own_stage in self._set_aside():
            freed += _remove_old(path, own_stage, stage, now_s - older_than_s)
        for path in self.left_behind(now_s):
            freed += _remove(path)
        for path in sorted((self.root / "memo").rglob(f".*{SUFFIX}")):
            remove_if_free(path)
        return freed

    def left_behind(self, now_s: float) -> list[Path]:
        """Temporary files and folders whose process is gone."""
        hidden = list(self.root.glob(".*"))  # no further: the folder may hold what is not the store's
        for place in ("memo", "models", "effects"):
            hidden += (self.root / place).rglob(".*")
        return [p for p in sorted(hidden) if is_temporary(p.name) and is_abandoned(p, now_s)]

    def _set_aside(self) -> Iterator[tuple[Path, str]]:
        for path in sorted(self.root.glob("memo/*/*/*.damaged")):
            yield path, path.relative_to(self.root).parts[1]
        for stage in ("models", "effects"):
            for path in sorted((self.root / stage).glob("*.damaged")):
                yield path, stage

    def _read(self, stage: str, key: dict[str, Any], path: Path) -> Any:
        """The entry's value, or `_MISSING`; raises `Damaged`."""
        if not path.is_file():
            return _MISSING
        started = time.monotonic()
        try:
            value, made_with = _read(path, canonical(stage, key))
        except FileNotFoundError:  # pruned in between
            return _MISSING
        except OSError as error:
            raise UserError(
                expected="an entry that can be read",
                got=error.strerror or type(error).__name__,
                where=str(path),
                remedy="change permissions, repair the file system or choose another --store",
            ) from error
        self.n_hits[stage] = self.n_hits.get(stage, 0) + 1
        origin = json.dumps(made_with, sort_keys=True) if made_with else ""
        self.origins[origin] = self.origins.get(origin, 0) + 1
        _log.info("%s %s: from the store in %.3f s", stage, _short(path), time.monotonic() - started)
        return value


def canonical(stage: str, key: dict[str, Any]) -> str:
    """The canonical string of a key: sorted compact JSON with stage and version."""
    whole = {"stage": stage, "version": VERSION, "key": key}
    return json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _short(path: Path) -> str:
    return (path.parent.name + path.stem)[:12]


def _checked(stage: str, path: Path, check: Callable[[Path], bool]) -> StoredEntry:
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


def _write(path: Path, key: str, value: Any, made_with: Mapping[str, Any] | None) -> int:
    buffer = io.BytesIO()
    joblib.dump(value, buffer, compress=3)
    payload = buffer.getvalue()
    whole = _header(key, payload, made_with) + b"\n" + payload
    write_bytes(path, whole)
    return len(whole)


def _header(key: str, payload: bytes, made_with: Mapping[str, Any] | None = None) -> bytes:
    """The first line of an entry file: a function of what it says, so any change to it shows."""
    header: dict[str, Any] = {
        "magic": _MAGIC,
        "version": VERSION,
        "key": key,
        "sha256": hashlib.sha256(payload).hexdigest(),
        "n_bytes": len(payload),
    }
    if made_with is not None:
        header["made_with"] = dict(sorted(made_with.items()))
        header["header_sha256"] = hashlib.sha256(json.dumps(header).encode()).hexdigest()
    return json.dumps(header).encode()


def _payload(path: Path) -> tuple[str, bytes, Mapping[str, Any] | None]:
    """Key, payload and origin of an entry file that is as it was written; raises `Damaged` otherwise."""
    head, _, payload = path.read_bytes().partition(b"\n")
    try:
        parsed = json.loads(head)
        key, n_bytes, made_with = parsed["key"], parsed["n_bytes"], parsed.get("made_with")
        wanted = _header(str(key), payload, made_with)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged("not an entry of this store") from error
    if n_bytes != len(payload):
        raise Damaged(f"{len(payload)} bytes where {n_bytes} were written")
    if head != wanted:
        raise Damaged("its SHA-256 is not the one that was written")
    if hashlib.sha256(str(key).encode()).hexdigest() != path.parent.name + path.stem:
        raise Damaged("it answers another key")
    return str(key), payload, made_with


def _read(path: Path, key: str) -> tuple[Any, Mapping[str, Any] | None]:
    stored_key, payload, made_with = _payload(path)
    if stored_key != key:
        raise Damaged("it answers another key")
    try:
        return joblib.load(io.BytesIO(payload)), made_with
    except MemoryError:
        raise
    except Exception as error:  # whole, but these libraries cannot read it
        raise Damaged(f"cannot be read with the libraries here ({type(error).__name__})") from error
