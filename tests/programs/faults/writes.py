"""Make the n-th write, sync, rename or creation of a build fail, as a full or broken disk does.

Two ways, none of which needs privileges: the functions of Python's that change files raise ENOSPC or EIO at
a chosen call (a failing write leaves half of its bytes), and the kernel's own limit on a file's size
(RLIMIT_FSIZE) stops the C libraries' writes too.
"""

from __future__ import annotations

import errno
import io
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

from phase7.cli import main
from tests.programs.faults.project import Forked, arguments, builds_alike, copy, left_over
from tests.programs.faults.schedule import Case, describe, to_end


class Faults:
    """Counts the calls that change files below a folder, and fails the one of a given number."""

    def __init__(self, below: Path, fail_at: int = 0, number: int = errno.EIO) -> None:
        self.below, self.fail_at, self.number = str(below), fail_at, number
        self.n_calls = 0
        self.failed = ""

    def hit(self, what: str, path: object) -> bool:
        """Count a call; whether it is the one that fails."""
        if not str(os.path.abspath(os.fsdecode(path))).startswith(self.below):  # type: ignore[arg-type]
            return False
        self.n_calls += 1
        if self.n_calls == self.fail_at:
            self.failed = f"{what} {path}"
            return True
        return False

    def error(self) -> OSError:
        return OSError(self.number, os.strerror(self.number))

    def install(self) -> None:
        """Put the failing functions in place, in this process, for good."""
        self._wrap("replace", 1)
        self._wrap("chmod", 0)
        self._wrap("mkdir", 0)
        plain_open, plain_sync, opener = os.open, os.fsync, io.open

        def open_(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            if flags & os.O_CREAT and self.hit("create", path):
                raise self.error()
            return plain_open(path, flags, *args, **kwargs)

        def fsync(handle: int) -> None:
            if self.hit("fsync", os.readlink(f"/proc/self/fd/{handle}")):
                raise self.error()
            plain_sync(handle)

        def open_file(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            opened = opener(file, mode, *args, **kwargs)
            if isinstance(file, int) or not set(mode) & set("wax+"):
                return opened
            return self._guarded(opened, file)

        os.open, os.fsync, io.open = open_, fsync, open_file  # type: ignore[assignment]

    def _guarded(self, opened: Any, path: Any) -> Any:
        plain = opened.write

        def write(data: Any) -> Any:
            if self.hit("write", path):
                plain(data[: len(data) // 2])
                opened.flush()
                raise self.error()
            return plain(data)

        try:
            opened.write = write
        except AttributeError:  # a C object: put it behind a thin one
            return _Proxy(opened, write)
        return opened

    def _wrap(self, name: str, place: int) -> None:
        plain: Callable[..., Any] = getattr(os, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if self.hit(name, args[place]):
                raise self.error()
            return plain(*args, **kwargs)

        setattr(os, name, wrapped)


class _Proxy:
    """A file whose `write` is another; everything else is the file's own."""

    def __init__(self, file: Any, write: Callable[[Any], Any]) -> None:
        self._file, self.write = file, write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Proxy:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._file.close()


def counting(project: Path) -> Callable[[], int]:
    """An undisturbed build that writes down how many calls could have failed."""

    def act() -> int:
        faults = Faults(project)
        faults.install()
        code = main(arguments())
        project.with_suffix(".calls").write_text(str(faults.n_calls), encoding="utf-8")
        return code

    return act


def failing(template: Path, folder: Path, wanted: dict[str, bytes], at: int, number: int) -> Case:
    """One call fails: an error in one line, or the call did not matter; then a run to the end."""
    project = copy(template, folder)

    def act() -> int:
        faults = Faults(project, at, number)
        faults.install()
        code = main(arguments())
        print("FAILED", faults.failed or "nothing")
        return code

    child = Forked(project, act)
    code = yield to_end(child)
    lines = child.output().splitlines()
    what = lines[-1].removeprefix("FAILED ").partition(" ")[0] if lines else "nothing"
    errors = [line for line in lines if line.startswith("phase7: error: ")]
    if code not in (0, 2) or "Traceback" in child.output() or (code == 2 and len(errors) != 1):
        return f"LOST, call {at}: {describe(child, code)}"
    if left_over(project):
        return f"LOST, call {at} left a temporary file"
    child = Forked(project, builds_alike(project, wanted))
    then = yield to_end(child)
    if then:
        return f"LOST, after call {at} failed: {describe(child, then)}"
    return f"{what} failed ({errno.errorcode[number]}), completed, equal"


def limited(template: Path, folder: Path, wanted: dict[str, bytes], n_bytes: int) -> Case:
    """No file may grow beyond `n_bytes`; then a run without the limit."""
    project = copy(template, folder)

    def act() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, resource.RLIM_INFINITY))
        return main(arguments())

    child = Forked(project, act)
    code = yield to_end(child)
    if code not in (0, 2) or "Traceback" in child.output():
        return f"LOST, limit {n_bytes}: {describe(child, code)}"
    if left_over(project):
        return f"LOST, limit {n_bytes} left a temporary file"
    child = Forked(project, builds_alike(project, wanted))
    then = yield to_end(child)
    if then:
        return f"LOST, after the limit {n_bytes}: {describe(child, then)}"
    return "size limit hit (EFBIG), completed, equal" if code else "below the size limit, equal"
