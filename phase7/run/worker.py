"""What runs inside a worker process, of this machine or of a Dask cluster.

A worker is sent groups of units of work, computes them into the shared store and sends back only the
group's number: no tensor travels between processes. The model is loaded once and kept for the next unit.

A worker refuses to compute where its results would not be the main process's: where it does not see the
same store or the same model files, or has other versions of the packages that numbers depend on.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from phase7.experiment.profile import Engine
from phase7.models.files import ModelFiles, find_model
from phase7.run.executor import Executor
from phase7.run.provenance import machine, made_with, package_versions
from phase7.run.units import Unit
from phase7.store import Store, writable_folder
from phase7.vocabulary.errors import UserError

_PROBE_S = 5.0  # how long to wait for the file that proves the store to be shared


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """What a worker process must find, and what it computes with; it travels with every unit.

    Attributes
    ----------
    files : ModelFiles
        With an absolute folder.
    engine : Engine
    store : Path
        Absolute.
    probe : str
        Name of a file in the store that holds its own name: whoever can read it shares the store.
    versions : dict
        Versions in the main process of the packages that numbers depend on.
    """

    files: ModelFiles
    engine: Engine
    store: Path
    probe: str
    versions: dict[str, str | None]


_one_at_a_time = threading.Lock()  # a Dask worker may have several threads, but the model has one state
_held: dict[str, Executor] = {}


def compute_units(task: tuple[Workplace, tuple[Unit, ...]], number: int) -> int:
    """Compute a group of units into the store and return its number."""
    place, units = task
    with _one_at_a_time:
        _executor(place).compute(units)
    return number


def check_worker(place: Workplace) -> str:
    """Check that this process can compute what the main process would; the name of its processor.

    Raises
    ------
    UserError
        If the store or the model's folder is not the shared one, or packages differ.
    """
    where = f"worker on {socket.gethostname()}"
    probe = place.store / place.probe
    if not appears(lambda: _text(probe) == place.probe, _PROBE_S):
        raise UserError(
            expected=f"the store {place.store}, shared by all workers",
            got="another folder, or none: the file written there for this check is missing",
            where=where,
            remedy="give --store a folder that all workers see under the same path",
        )
    writable_folder(place.store)
    found = package_versions()
    differing = [name for name, version in place.versions.items() if found.get(name) != version]
    if differing:
        raise UserError(
            expected=", ".join(f"{name} {place.versions[name]}" for name in differing),
            got=", ".join(f"{name} {found.get(name)}" for name in differing),
            where=where,
            remedy="install the same versions everywhere; results would differ otherwise",
        )
    if not (place.files.folder / "config.json").is_file():
        raise UserError(
            expected=f"the model's files in {place.files.folder}",
            got="no such folder",
            where=where,
            remedy="keep the model (or PHASE7_MODELS, HF_HOME) in a folder that all workers see under"
            " the same path",
        )
    return str(machine()["processor"])


def appears(is_there: Callable[[], bool], timeout_s: float) -> bool:
    """Wait until something is there; False if it is not in time."""
    end = time.monotonic() + timeout_s
    while not is_there():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _executor(place: Workplace) -> Executor:
    """This process's executor; the model is loaded once."""
    held = place.probe + place.files.fingerprint
    if held not in _held:
        _held.clear()  # one model at a time
        check_worker(place)
        found = find_model(str(place.files.folder), store_root=place.store, show_progress=False)
        if found.fingerprint != place.files.fingerprint:
            raise UserError(
                expected=f"a model with the fingerprint {place.files.fingerprint[:16]}",
                got=found.fingerprint[:16],
                where=f"worker on {socket.gethostname()}: {place.files.folder}",
                remedy="give all workers the same files",
            )
        store = Store(place.store, on_damage=lambda line: None, made_with=made_with)
        _held[held] = Executor(place.files, place.engine, store, lambda line: None)
    return _held[held]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
