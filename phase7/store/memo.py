"""Work that is computed once: entries under a folder, each found by what it depends on.

An entry's key is a dict of built-in types that says everything its value depends on. Its canonical
string, with :data:`VERSION`, is hashed to the file's name. joblib's own hash of a function's arguments
would not do: equal tensors can hash differently, and its hash of the function changes with a comment.

An entry is used only after its checksum was compared; a damaged one is set aside and computed again.
Two processes that want the same entry compute it once: the second waits for the first.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from phase7.store import entry_file, inventory, old_entries
from phase7.store.entry_file import Checked
from phase7.store.inventory import StoredEntry
from phase7.store.locks import work_lock
from phase7.store.marker import FORMAT_VERSION, check_marker, write_marker
from phase7.store.sums import Damaged
from phase7.store.writing import write_bytes
from phase7.vocabulary.errors import UserError

#: Raise it when an entry's meaning changes: every older entry is then computed again.
VERSION = 1

_MISSING = object()
_log = logging.getLogger(__name__)
T = TypeVar("T")


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
        Receives one line when a damaged entry is set aside, and one when a wait for another process is
        long.
    made_with : callable or None
        Returns the library versions to record in a new entry's header.
    while_waiting : callable
        Called about every second of a wait for another process; an exception from it ends the wait.
    origins : dict of str to int
        For each such record (JSON; ``""`` for none), how many of the entries read carry it.
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
        return self.root / "memo" / stage / digest[:2] / (digest[2:] + entry_file.SUFFIX)

    def has(self, stage: str, key: dict[str, Any]) -> bool:
        """Whether an entry file exists, an older version's too (its sum is checked on reading)."""
        path = self.path(stage, key)
        return path.is_file() or path.with_suffix(old_entries.SUFFIX).is_file()

    def require_known_format(self) -> int | None:
        """Refuse a store that a newer version wrote; the format that it is in, None if it says none.

        Raises
        ------
        UserError
            If it is newer.
        """
        return check_marker(self.root, self.on_damage)

    def get(self, stage: str, key: dict[str, Any], compute: Callable[[], T]) -> T:
        """The entry of `key`: read if it is there and whole, else computed, written and returned.

        Raises
        ------
        UserError
            If the store was written by a newer version, or cannot be read or written.
        TypeError
            If the computed value cannot be stored (:mod:`phase7.store.payload`); nothing is written.
        """
        path = self.path(stage, key)
        self.require_known_format()
        value: Any = _MISSING
        with contextlib.suppress(Damaged):  # reported under the lock, by one process only
            value = self._read(stage, key, path)
        if value is not _MISSING:
            return value  # type: ignore[no-any-return]
        with work_lock(path, self.on_damage, self.while_waiting):
            value = self._read_or_set_aside(stage, key, path)  # another process may have been first
            if value is not _MISSING:
                return value  # type: ignore[no-any-return]
            started = time.monotonic()
            computed = compute()
            made_with = None if self.made_with is None else dict(self.made_with())
            n_bytes = self._write(path, entry_file.pack(canonical(stage, key), computed, made_with))
        self.n_computed[stage] = self.n_computed.get(stage, 0) + 1
        seconds = time.monotonic() - started
        _log.info("%s %s: computed in %.3f s, %d bytes", stage, _short(path), seconds, n_bytes)
        return computed

    def entries(self) -> Iterator[StoredEntry]:
        """Every memo entry, in path order, unchecked."""
        self.require_known_format()
        return inventory.entries(self.root)

    def verify(self) -> Iterator[StoredEntry]:
        """Every memo entry, converted model and effects file with its sum checked.

        Nothing is decoded or changed.
        """
        self.require_known_format()
        return inventory.verify(self.root)

    def prune(self, *, stage: str | None = None, older_than_s: float = 0.0, now_s: float) -> int:
        """Remove memo entries (of one stage, or all) not modified for `older_than_s`.

        What was set aside as damaged goes by the same rule. Temporary files of processes that are gone
        and locks that nobody holds go at once, whatever their age or stage.

        Returns the number of bytes freed.
        """
        self.require_known_format()
        return inventory.prune(self.root, stage, older_than_s, now_s)

    def _read(self, stage: str, key: dict[str, Any], path: Path) -> Any:
        """The entry's value, or `_MISSING`; raises `Damaged`."""
        started = time.monotonic()
        checked = self._checked(stage, key, path)
        if checked is None:
            return _MISSING
        value = checked.value()
        self._count_read(stage, checked)
        _log.info("%s %s: from the store in %.3f s", stage, _short(path), time.monotonic() - started)
        return value

    def _read_or_set_aside(self, stage: str, key: dict[str, Any], path: Path) -> Any:
        """The entry's value, or an older version's, rewritten; `_MISSING` if neither can be used."""
        for place, read in (
            (path, self._read),
            (path.with_suffix(old_entries.SUFFIX), self._rewrite),
        ):
            try:
                value = read(stage, key, place)
            except Damaged as error:
                aside = place.with_suffix(".damaged")
                os.replace(place, aside)
                self.on_damage(f"{place}: {error}; set aside as {aside.name}, computing it again")
            else:
                if value is not _MISSING:
                    return value
        return _MISSING

    def _rewrite(self, stage: str, key: dict[str, Any], old: Path) -> Any:
        """The value of an older version's entry, which now lies in today's form; raises `Damaged`."""
        started = time.monotonic()
        checked = self._checked(stage, key, old)
        if checked is None:
            return _MISSING
        value, path = checked.value(), self.path(stage, key)
        try:
            data = entry_file.pack(checked.key, value, checked.made_with)
        except TypeError as error:
            raise Damaged(f"an older version's entry: {error}") from error
        self._write(path, data)
        old.unlink(missing_ok=True)
        self._count_read(stage, checked)
        seconds = time.monotonic() - started
        _log.info("%s %s: an older version's entry, rewritten in %.3f s", stage, _short(path), seconds)
        return value

    def _checked(self, stage: str, key: dict[str, Any], path: Path) -> Checked | None:
        """The entry at `path` if its bytes are sound, None if there is none; raises `Damaged`."""
        if not path.is_file():
            return None
        try:
            checked = inventory.checked(path)
        except FileNotFoundError:  # pruned in between
            return None
        except OSError as error:
            raise UserError(
                expected="an entry that can be read",
                got=error.strerror or type(error).__name__,
                where=str(path),
                remedy="change permissions, repair the file system or choose another --store",
            ) from error
        if checked.key != canonical(stage, key):
            raise Damaged("it answers another key")
        return checked

    def _write(self, path: Path, data: bytes) -> int:
        if self.require_known_format() != FORMAT_VERSION:
            write_marker(self.root)  # first: an older version that looks in from now on is told
        write_bytes(path, data)
        return len(data)

    def _count_read(self, stage: str, checked: Checked) -> None:
        self.n_hits[stage] = self.n_hits.get(stage, 0) + 1
        origin = json.dumps(checked.made_with, sort_keys=True) if checked.made_with else ""
        self.origins[origin] = self.origins.get(origin, 0) + 1


def canonical(stage: str, key: dict[str, Any]) -> str:
    """The canonical string of a key: sorted compact JSON with stage and version."""
    whole = {"stage": stage, "version": VERSION, "key": key}
    return json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _short(path: Path) -> str:
    return (path.parent.name + path.stem)[:12]
