"""The folder ``store/``: finished work, each piece in one file that is whole or absent.

What enters: a canonical key (a dict of built-in types) and a function that computes the entry.
What leaves: the entry. An entry is written to a temporary name in its folder, synced and renamed;
its first line is a JSON header with the SHA-256 of the joblib payload behind it, and the payload
is unpickled only after that sum was checked. A damaged entry is set aside and computed again.

The key is a canonical string of the caller's making plus :data:`VERSION`, not joblib's own hash of
the arguments: equal tensors can hash differently, and joblib's hash of a function changes with its
comments.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import joblib

from phase7.errors import UserError

#: Raise it when an entry's meaning changes: every older entry is then computed again.
VERSION = 1

_MAGIC = "phase7-entry"
T = TypeVar("T")


class Damaged(Exception):
    """An entry whose bytes are not those that were written."""


@dataclass(frozen=True)
class StoredEntry:
    """One file of the store as `phase7 store` shows it. `problem` is empty where the sum agrees."""

    path: Path
    stage: str
    n_bytes: int
    problem: str = ""


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
        Told in one line when a damaged entry is set aside.
    """

    root: Path
    n_hits: dict[str, int] = field(default_factory=dict)
    n_computed: dict[str, int] = field(default_factory=dict)
    on_damage: Callable[[str], None] = print

    def path(self, stage: str, key: dict[str, Any]) -> Path:
        """Where the entry of `key` lies, whether it exists or not."""
        digest = hashlib.sha256(canonical(stage, key).encode()).hexdigest()
        return self.root / "memo" / stage / digest[:2] / f"{digest[2:]}.joblib"

    def has(self, stage: str, key: dict[str, Any]) -> bool:
        """Whether an entry file exists (its sum is checked on reading)."""
        return self.path(stage, key).is_file()

    def get(self, stage: str, key: dict[str, Any], compute: Callable[[], T]) -> T:
        """The entry of `key`: read if it is there and whole, else computed, written and returned."""
        path = self.path(stage, key)
        if path.is_file():
            try:
                value: T = _read(path, canonical(stage, key))
            except Damaged as error:
                aside = path.with_suffix(".damaged")
                os.replace(path, aside)
                self.on_damage(f"{path}: {error}; set aside as {aside.name}, computing it again")
            else:
                self.n_hits[stage] = self.n_hits.get(stage, 0) + 1
                return value
        value = compute()
        _write(path, canonical(stage, key), value)
        self.n_computed[stage] = self.n_computed.get(stage, 0) + 1
        return value

    def entries(self) -> Iterator[StoredEntry]:
        """Every memo entry, in path order, unchecked."""
        memo = self.root / "memo"
        for path in sorted(memo.rglob("*.joblib")) if memo.is_dir() else ():
            yield StoredEntry(path, path.relative_to(memo).parts[0], path.stat().st_size)

    def verify(self) -> Iterator[StoredEntry]:
        """Every memo entry with its sum checked; nothing is unpickled or changed."""
        for entry in self.entries():
            try:
                _payload(entry.path)
            except Damaged as error:
                yield StoredEntry(entry.path, entry.stage, entry.n_bytes, str(error))
            else:
                yield entry

    def prune(self, *, stage: str | None = None, older_than_s: float = 0.0, now_s: float) -> int:
        """Remove memo entries (of one stage, or all) not modified for `older_than_s`.

        Returns the number of bytes freed.
        """
        freed = 0
        for entry in list(self.entries()):
            age_s = now_s - entry.path.stat().st_mtime
            if (stage is None or entry.stage == stage) and age_s >= older_than_s:
                entry.path.unlink()
                freed += entry.n_bytes
        return freed


def canonical(stage: str, key: dict[str, Any]) -> str:
    """The canonical string of a key: sorted compact JSON with stage and version."""
    whole = {"stage": stage, "version": VERSION, "key": key}
    return json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; on success it is synced and renamed, on failure removed.

    Raises
    ------
    UserError
        If the folder or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(21, "Is a directory")
        handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise _unwritable(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` in UTF-8 to `path` whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def writable_folder(path: Path) -> None:
    """Make the folder and try a file in it, so that a long task learns at its start.

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
        raise _unwritable(path, error) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(
        expected="a place that can be written",
        got=error.strerror or type(error).__name__,
        where=str(path),
        remedy="free space, change permissions or choose another path",
    )


def _write(path: Path, key: str, value: Any) -> None:
    buffer = io.BytesIO()
    joblib.dump(value, buffer, compress=3)
    payload = buffer.getvalue()
    write_bytes(path, _header(key, payload) + b"\n" + payload)


def _header(key: str, payload: bytes) -> bytes:
    """The first line of an entry file: a function of key and payload, so any change to it shows."""
    header = {
        "magic": _MAGIC,
        "version": VERSION,
        "key": key,
        "sha256": hashlib.sha256(payload).hexdigest(),
        "n_bytes": len(payload),
    }
    return json.dumps(header).encode()


def _payload(path: Path) -> tuple[str, bytes]:
    """Key and payload of an entry file that is as it was written; raises `Damaged` otherwise."""
    head, _, payload = path.read_bytes().partition(b"\n")
    try:
        key, n_bytes = json.loads(head)["key"], json.loads(head)["n_bytes"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Damaged("not an entry of this store") from error
    if n_bytes != len(payload):
        raise Damaged(f"{len(payload)} bytes where {n_bytes} were written")
    if head != _header(str(key), payload):
        raise Damaged("its SHA-256 is not the one that was written")
    if hashlib.sha256(str(key).encode()).hexdigest() != path.parent.name + path.stem:
        raise Damaged("it answers another key")
    return str(key), payload


def _read(path: Path, key: str) -> Any:
    stored_key, payload = _payload(path)
    if stored_key != key:
        raise Damaged("it answers another key")
    return joblib.load(io.BytesIO(payload))
