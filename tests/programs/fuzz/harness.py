"""Run one command in this process and judge it: no traceback, no hang, one line, no changed file."""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import hashlib
import importlib
import io
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import huggingface_hub

from phase7.cli import main
from phase7.models import wheel
from phase7.vocabulary.errors import UserError
from tests import tiny
from tests.programs.fuzz.oracles import Watch

#: A case that takes longer hangs: the stacks are printed and the process ends.
LIMIT_S = 120.0

NEUTRAL = ["The kettle is on the second shelf, beside", "She wrote the number on a card"]
EMOTION = ["Thank you so much, I am grateful", "I am so grateful for the lift"]
PROFILE = """models = ["model"]
emotions = ["gratitude"]
scorers = ["vader", "keywords"]
"""
SMALL = """[sampling]
max_new_tokens = 1
[confirm]
target_heads = "0:1"
modes = ["result"]
lengths = []
[statistics]
resamples = 100
[engine]
max_rows = 16
"""

#: What a command may replace: its own outputs, and a report in the place of an older text.
_OURS = ("store/", "results/", "docs/", "a_file")

#: What a refused command may leave: entries that were finished before the mistake showed.
_KEPT = ("store/memo/", "store/form.")


class Failure(Exception):
    """A case that broke a promise."""


class Project:
    """The current folder of every case; put back after each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts: Counter[str] = Counter()
        (folder / "data" / "profiles").mkdir(parents=True)
        for name, prompts in (("neutral", NEUTRAL), ("gratitude", EMOTION)):
            text = json.dumps({"prompts": prompts})
            (folder / "data" / f"{name}_prompts.json").write_text(text, encoding="utf-8")
        (folder / "data" / "profiles" / "small.toml").write_text(PROFILE + SMALL, encoding="utf-8")
        with contextlib.redirect_stderr(io.StringIO()):
            tiny.save("gpt2", folder / "model")
            tiny.save("gpt2", folder / "deaf")
            tiny.save("gpt2", folder / "odd")
        _deafen(folder / "deaf" / "tokenizer.json")
        (folder / "a_folder").mkdir()
        (folder / "a_folder.pkl").mkdir()
        (folder / "a_file").write_text("in the way", encoding="utf-8")
        os.mkfifo(folder / "pipe")
        os.mkfifo(folder / "pipe.pkl")
        (folder / "to_pipe").symlink_to(folder / "pipe")
        os.chdir(folder)
        sys.path.insert(0, str(folder))  # where scorers of one's own lie
        self._watch = Watch()
        _no_network()
        _guard(folder.parent)
        code, _, err = self._call(["build", "small", "--quiet"])
        if code:
            raise SystemExit(f"the project does not build: {err}")
        self.fixed = self._state()
        # Restored after a case that changed them.
        inputs = [p for place in ("data", "model", "deaf", "odd") for p in (folder / place).rglob("*")]
        self._inputs = {p: p.read_bytes() for p in [*inputs, folder / "a_file"] if p.is_file()}

    def try_case(
        self, kind: str, argv: Sequence[str], files: Mapping[str, bytes] = {}, wanted: int | None = None
    ) -> int:
        """Run one case and put the folder back; raises `Failure`."""
        written = {self._place(name, data) for name, data in files.items()}
        before = self._state()
        faulthandler.dump_traceback_later(LIMIT_S, exit=True)
        code, out, err = self._call(list(argv))
        faulthandler.cancel_dump_traceback_later()
        after = self._state()
        changed = {p for p in before.keys() | after.keys() if before.get(p) != after.get(p)}
        try:
            self._judge(argv, code, out, err, changed, wanted)
            if code == 0 and (wrong := self._watch.wrong(kind, self.folder)):
                raise Failure(f"wrong without a word: {wrong}: {list(argv)!r}")
        finally:
            self._watch.read.clear()
            self._put_back(changed | written)
        self.counts[f"{kind}: {'done' if code == 0 else 'refused' if code == 2 else 'damage told'}"] += 1
        return code

    def _judge(
        self, argv: Sequence[str], code: int, out: str, err: str, changed: set[str], wanted: int | None
    ) -> None:
        def fail(why: str) -> Failure:
            return Failure(f"{why}: {list(argv)!r}\nexit code {code}\n{out[-500:]}{err[-2000:]}")

        if code not in (0, 1, 2) or (wanted is not None and code != wanted):
            raise fail(f"exit code {code}, wanted {wanted}")
        if "Traceback" in err or "Traceback" in out:
            raise fail("a traceback")
        if bad := [c for c in out + err if not c.isprintable() and c != "\n"]:
            raise fail(f"control characters {bad[:5]!r}")
        lines = err.splitlines()
        if code == 2 and (not lines or ": error: " not in lines[-1]):
            raise fail("no error line")
        if code == 2 and sum(": error: " in line for line in lines) != 1:
            raise fail("more than one error line")
        if escaped := _leave_guard():
            raise fail(f"touched {escaped}")
        if litter := [p for p in changed if p.endswith((".tmp", ".lock")) or ".making-" in p]:
            raise fail(f"litter {litter}")
        if harmed := [p for p in changed if p in self.fixed and not p.startswith(_OURS)]:
            raise fail(f"changed {harmed}")
        if code == 2 and (left := [p for p in changed if not p.startswith(_KEPT)]):
            raise fail(f"a refused command left {left}")

    def _call(self, argv: list[str]) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        importlib.invalidate_caches()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(argv)
            except SystemExit as stop:
                code = stop.code if isinstance(stop.code, int) else 1
            except BaseException:
                import traceback

                traceback.print_exc()
                code = 99
        return code, out.getvalue(), err.getvalue()

    def _state(self) -> dict[str, str]:
        """Every file of the folder by what it holds, and every folder."""
        state = {}
        for root, folders, names in os.walk(self.folder):
            for name in folders:
                state[os.path.relpath(os.path.join(root, name), self.folder) + "/"] = "folder"
            for name in names:
                path = os.path.join(root, name)
                relative = os.path.relpath(path, self.folder)
                if os.path.islink(path):
                    state[relative] = "link"
                    continue
                status = os.stat(path)
                state[relative] = (
                    f"{status.st_mode} {status.st_ino} {status.st_size} {status.st_mtime_ns}"
                )
        return state

    def _place(self, name: str, data: bytes) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and name in getattr(self, "fixed", {}):
            shutil.copy2(path, _spare(path))
        path.write_bytes(data)
        return name

    def _put_back(self, changed: set[str]) -> None:
        """Remove what is new, restore what was replaced; memo entries may stay: they are checked."""
        for path, data in self._inputs.items():
            if os.path.relpath(path, self.folder) in changed:
                path.write_bytes(data)
        for name in sorted(changed, reverse=True):
            path = self.folder / name
            if name.startswith("store/memo/"):
                continue
            if _spare(path).exists():
                shutil.move(_spare(path), path)
            elif name not in self.fixed and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif name not in self.fixed:
                path.unlink(missing_ok=True)


#: Attempts to change something outside, since the last look.
_escapes: list[str] = []

_CHANGES = (
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
)


def _guard(root: Path) -> None:
    """Refuse, for the rest of this process, to change anything outside `root`; and note the attempt.

    A case must not be able to harm the machine it is run on, whatever the bug that it finds.
    """
    allowed = [
        os.path.realpath(place) for place in (root, Path.home() / ".cache", Path.home() / ".config")
    ]
    sys.dont_write_bytecode = True

    def inside(path: object) -> bool:
        if isinstance(path, int) or path is None:
            return True
        name = os.path.abspath(os.fsdecode(path))  # type: ignore[arg-type]
        real = os.path.join(os.path.realpath(os.path.dirname(name)), os.path.basename(name))
        return any(
            real == one or real.startswith(f"{one}/") for one in [*allowed, "/proc"]
        )  # the kernel refuses there

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (
                os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
            )
            paths = [path] if writes and path != os.devnull else []
        elif event in _CHANGES:
            paths = [a for a in arguments[:2] if isinstance(a, str | bytes | os.PathLike)]
        else:
            return
        for path in paths:
            if not inside(path):
                _escapes.append(f"{event} {path!r}")
                raise PermissionError(errno.EPERM, "outside of the fuzzing folder", str(path))

    sys.addaudithook(hook)


def _leave_guard() -> list[str]:
    found, _escapes[:] = _escapes[:], []
    return found


def _spare(path: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return Path.cwd().parent / f"spare-{digest}"


def _deafen(path: Path) -> None:
    """A tokenizer that hears no question marks: a prompt of them has no tokens."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["normalizer"] = {"type": "Replace", "pattern": {"String": "?"}, "content": ""}
    path.write_text(json.dumps(settings), encoding="utf-8")


def _no_network() -> None:
    def refuse(*args: object, **kwargs: object) -> object:
        raise ConnectionError("no network")

    def no_wheel(*args: object, **kwargs: object) -> Path:
        raise UserError(expected="an index", got="none", where="pip", remedy="connect")

    huggingface_hub.HfApi.model_info = refuse  # type: ignore[method-assign,assignment]
    wheel._download = no_wheel  # type: ignore[assignment]


def forms(text: str) -> list[bytes]:
    """A text in several encodings, right and wrong."""
    return [
        text.encode(code, "replace")
        for code in ("utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1", "cp932", "utf-7")
    ]


def progress(text: str) -> None:
    print(text, file=sys.__stdout__, flush=True)
