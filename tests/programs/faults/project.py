"""The project that is disturbed: a tiny model, a few prompts, two profiles, and what a build must give.

A child is a fork of a process that has imported everything but computed nothing: it starts at once, so that
most of its time, and most of the faults, fall into the work itself.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from phase7.cli import main
from tests.run import small_project
from tests.run.small_project import REPOSITORY

#: Fewer prompts and shorter texts than elsewhere: every fault is a build.
NEUTRAL = small_project.NEUTRAL[:4]
PROFILE = small_project.PROFILE.replace("max_new_tokens = 6", "max_new_tokens = 5")
PROFILES = {"small": "0:1,2:3", "other": "1:0,2:3"}


def make(folder: Path) -> Path:
    """Write the project; in a process of its own, since saving a model computes."""
    code = f"from pathlib import Path; from tests import tiny; tiny.save('llama', Path({str(folder / 'model')!r}))"
    profiles = {name: PROFILE.replace("0:1,2:3", targets) for name, targets in PROFILES.items()}
    small_project.write_data(folder, NEUTRAL, profiles)
    quiet = subprocess.DEVNULL
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY, stdout=quiet, stderr=quiet)
    return folder


def arguments(profile: str = "small") -> list[str]:
    return ["build", profile, "--quiet", "--report", f"docs/{profile}.md"]


def numbers(project: Path, profile: str = "small") -> dict[str, bytes]:
    """Every array of the effects file and of the result pickle, as bytes."""
    import numpy as np

    from phase7.effects.file import open_effects

    found: dict[str, bytes] = {}
    tree = open_effects(project / "store" / "effects" / f"{profile}.nc")
    for node in tree.subtree:
        for name, variable in node.to_dataset(inherit=False).variables.items():
            values = variable.values
            plain = values.dtype.kind in "fiub"
            found[f"{node.path}:{name}"] = values.tobytes() if plain else repr(values.tolist()).encode()
    folder = project / "results" / profile / "patching"
    for path in folder.glob("*.pkl"):
        result = pickle.loads(path.read_bytes())
        found["baseline"] = np.asarray(result["baseline"]["scores"]).tobytes()
        for cell in result["cells"]:
            label = f"{cell['heads']} {cell['mode']}"
            found[f"{label} texts"] = repr(cell["patched_texts"]).encode()
            for role, scores in cell["patched_scores"].items():
                found[f"{label} {role}"] = np.asarray(scores).tobytes()
    assert len(found) > 50
    return found


class Forked:
    """A function in a child of this process, its output in a file."""

    def __init__(self, folder: Path, act: Callable[[], int], name: str = "") -> None:
        self.log = folder.with_suffix(f"{name}.log")
        self.log.touch()
        self.started = time.monotonic()
        self.returncode: int | None = None
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            code = 98
            try:
                code = self._child(folder, act)
            finally:  # whatever happens, the child must not go on as the parent
                os._exit(code)

    def _child(self, folder: Path, act: Callable[[], int]) -> int:
        handle = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        os.chdir(folder)
        try:
            return act()
        except SystemExit as stop:
            return int(stop.code or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
            return 99
        finally:
            with contextlib.suppress(OSError):  # a limit on file sizes also holds for the log
                sys.stdout.flush()

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


class Command(Forked):
    """The real command in a fresh interpreter."""

    def __init__(self, folder: Path, argv: list[str]) -> None:
        self.log = folder.with_suffix(".log")
        self.started = time.monotonic()
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "phase7", *argv],
                cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def poll(self) -> int | None:
        return self._process.poll()

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()


def builds_alike(project: Path, wanted: dict[str, bytes], profile: str = "small") -> Callable[[], int]:
    """Build to the end and compare: 0 where every array has the wanted bits."""

    def act() -> int:
        code = main(arguments(profile))
        if code:
            return code
        found = numbers(project, profile)
        different = sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))
        if different:
            print("arrays differ:", different[:5])
            return 98
        return 0

    return act


def copy(template: Path, folder: Path) -> Path:
    """A fresh copy of a project."""
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(template, folder))


def left_over(project: Path) -> list[Path]:
    """Temporary files that lie in a project."""
    return [path for path in project.rglob(".*.tmp")]


def load_everything() -> None:
    """Import what a build imports, and compute nothing: forks are safe only so."""
    import matplotlib.figure
    import torch
    import transformer_lens.model_bridge
    import transformers

    for name in (
        "engine.decode.loop",
        "engine.patch.lens",
        "run.pipeline",
        "effects",
        "plots",
        "report",
    ):
        importlib.import_module(f"phase7.{name}")
    torch.set_num_threads(1)
    with contextlib.suppress(AttributeError):
        _ = transformers.AutoModelForCausalLM, transformers.AutoTokenizer
        _ = transformers.LlamaForCausalLM, transformers.PreTrainedTokenizerFast
    _ = transformer_lens.model_bridge.TransformerBridge, matplotlib.figure.Figure


Counts = dict[str, Any]
