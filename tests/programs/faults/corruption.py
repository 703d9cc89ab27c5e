"""Truncate, zero or flip a bit of what a finished build stored; it is found, told, set aside, made again."""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from phase7.cli import main
from phase7.models import wheel
from tests.programs.faults.project import Forked, arguments, copy, numbers
from tests.programs.faults.schedule import Case, describe, to_end

WHEEL_PROFILE = ("smollm2", "model")  # a known model of the store instead of a folder


def truncate(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data))]


def zero(data: bytes, draw: random.Random) -> bytes:
    """A stretch of zeros, as a lost disk block leaves; at least one byte changes."""
    places = [i for i in range(0, len(data), max(1, len(data) // 512)) if data[i]]
    start = draw.choice(places)
    length = draw.randrange(1, len(data))
    return data[:start] + bytes(min(length, len(data) - start)) + data[start + length :]


def flip(data: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "truncated": truncate, "zeroed": zero, "bit flipped": flip,
}  # fmt: skip


def victims(project: Path, kind: str) -> list[Path]:
    """The stored files of one kind."""
    store = project / "store"
    if kind == "effects":
        return [store / "effects" / "small.nc"]
    if kind == "model":
        return sorted(path for path in (store / "models").glob("*/*") if path.is_file())
    return sorted((store / "memo" / kind).rglob("*.safetensors"))


def with_stored_model(project: Path) -> None:
    """Let the name smollm2 mean the tiny model, converted into the store as the real one is."""
    source = project / "model"
    os.environ["PHASE7_MODELS"] = str(Path("store", "models"))  # this is a fork, in the project

    def convert(gguf: Path, target: Path) -> None:
        shutil.copytree(source, target)

    wheel._download = lambda spec, workspace: workspace  # type: ignore[assignment]
    wheel._check_sum = lambda path, spec: None
    wheel._extract = lambda path, workspace: path  # type: ignore[assignment]
    wheel._convert = convert


def prepare(project: Path) -> int:
    """A finished build whose model lies in the store."""
    profile = project / "data" / "profiles" / "small.toml"
    profile.write_text(profile.read_text().replace('["model"]', '["smollm2"]'), encoding="utf-8")
    with_stored_model(project)
    return main(arguments())


def damaged(
    finished: Path, folder: Path, wanted: dict[str, bytes], kind: str, how: str, seed: int
) -> Case:
    """Damage one file of a finished build, verify, build again, compare, verify."""
    project, draw = copy(finished, folder), random.Random(seed)
    victim = draw.choice(victims(project, kind))
    whole = victim.read_bytes()
    broken = DAMAGES[how](whole, draw)
    assert broken != whole
    victim.write_bytes(broken)
    piece = victim.parent if kind == "model" else victim
    aside = (
        piece.with_suffix(".damaged")
        if kind not in ("model", "effects")
        else piece.with_name(f"{piece.name}.damaged")
    )

    def act() -> int:
        with_stored_model(project)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            found = main(["store", "verify"])
        if found != 1 or str(piece.relative_to(project)) not in out.getvalue():
            print("verify saw nothing:", out.getvalue())
            return 90
        # Without its record the build reads every entry again; with it only changed outputs count.
        (project / "results" / "small" / "run.json").unlink()
        if kind == "capture":  # read only for what is generated
            for other in ("generation", "lens"):
                shutil.rmtree(project / "store" / "memo" / other)
        with contextlib.redirect_stderr(err):
            code = main(arguments())
        if code:
            print(err.getvalue())
            return code
        told = [line for line in err.getvalue().splitlines() if "set aside as" in line]
        if len(told) != 1 or str(piece.relative_to(project)) not in told[0]:
            print("not reported:", err.getvalue())
            return 91
        kept = (aside / victim.name if kind == "model" else aside).read_bytes()
        if kept != broken:
            print("what was set aside is not the damaged file")
            return 92
        return 0 if numbers(project) == wanted and main(["store", "verify"]) == 0 else 93

    child = Forked(project, act)
    code = yield to_end(child)
    if code:
        return f"LOST, {victim.name} {how} (seed {seed}): {describe(child, code)}"
    return f"{kind} {how}: found, set aside, made again, equal"
