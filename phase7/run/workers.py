"""Where memo entries are computed: in this process, in several of this machine, or on a Dask cluster.

What enters: a :class:`Backend` and the units that the store lacks. What leaves: the entries, in the
store; no tensor travels between processes. joblib's backends distribute the units; each worker process
loads the model once. Wherever it is, a unit is computed by one thread of torch, since last bits can
depend on their number.
What it refuses: a scheduler that does not answer, and workers that do not share the store, the model's
files or the versions of the packages.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import psutil

from phase7.experiment.profile import Engine
from phase7.models.files import ModelFiles, find_model
from phase7.run.executor import Executor, FanOut, Unit
from phase7.run.loky import end_workers, manager_held_back
from phase7.run.memory import Footprint, choose_batches_at_once
from phase7.run.provenance import machine, made_with, package_versions
from phase7.run.threads import Threads
from phase7.store import Store, writable_folder, write_text
from phase7.vocabulary.errors import UserError

BackendName = Literal["threads", "serial", "loky", "dask"]

_CONNECT_S = 10.0
_WORKERS_S = 60.0  # how long to wait for the first worker
_VISIBLE_S = 60.0  # network file systems show a new file late; their caches last up to a minute


@dataclass(frozen=True, kw_only=True)
class Backend:
    """How a run is distributed. It changes the time, and neither keys nor results.

    Attributes
    ----------
    name : {"threads", "serial", "loky", "dask"}
        This process with a batch on each processor or with one batch at a time, worker processes of
        this machine, or a Dask cluster.
    n_jobs : int
        Batches at once, of ``threads`` and ``loky``; 0 takes as many as the processors and the free
        memory allow.
    scheduler : str
        Address of a running Dask scheduler, e.g. ``tcp://host:8786``.
    """

    name: BackendName = "threads"
    n_jobs: int = 0
    scheduler: str = ""

    def __post_init__(self) -> None:
        if self.name == "dask" and not self.scheduler:
            raise UserError(
                expected="the address of a running Dask scheduler",
                got="none",
                where="--backend dask",
                remedy="add --scheduler, e.g. --scheduler tcp://host:8786",
            )
        if self.scheduler and self.name != "dask":
            raise UserError(
                expected="--backend dask",
                got=self.name,
                where="--scheduler",
                remedy="add --backend dask or leave --scheduler out",
            )
        if self.n_jobs and (self.name not in ("threads", "loky") or self.n_jobs < 0):
            raise UserError(
                expected="a number of at least 1 with --backend threads or loky",
                got=f"{self.n_jobs} with {self.name}",
                where="--jobs",
                remedy="a Dask cluster has its own workers, and serial means one batch at a time",
            )

    def batches_here(self, footprints: Sequence[Footprint], engine: Engine) -> int:
        """How many batches this process computes at once."""
        if self.name != "threads" or engine.device != "cpu":
            return 1
        return self.n_jobs or choose_batches_at_once(footprints, engine.max_rows, _n_processors())


THREADS = Backend()


@dataclass(frozen=True, kw_only=True)
class Site:
    """What a worker process must find and do; it travels with every unit.

    Attributes
    ----------
    files : ModelFiles
        With an absolute folder.
    engine : Engine
    store : Path
        Absolute.
    probe : str
        Name of a file in the store, whose content is its name: proof that the store is shared.
    versions : dict
        Of the packages that numbers depend on.
    """

    files: ModelFiles
    engine: Engine
    store: Path
    probe: str
    versions: dict[str, str | None]


# --- in a worker ---------------------------------------------------------------------------------

_one_at_a_time = threading.Lock()  # a Dask worker may have several threads, the model has one state
_held: dict[str, Executor] = {}


def compute_unit(task: tuple[Site, Unit], number: int) -> int:
    """Compute one unit into the store; returns its number. Runs in a worker process."""
    site, unit = task
    with _one_at_a_time:
        _executor(site).compute(unit)
    return number


def check_worker(site: Site) -> str:
    """Check that this process can work at the site; returns the processor's name.

    Raises
    ------
    UserError
        If the store or the model's folder is not the shared one, or packages differ.
    """
    where = f"worker on {socket.gethostname()}"
    probe = site.store / site.probe
    if not _appears(lambda: _text(probe) == site.probe, 5.0):
        raise UserError(
            expected=f"the store {site.store}, shared by all workers",
            got="another folder, or none: the file written there for this check is missing",
            where=where,
            remedy="give --store a folder that all workers see under the same path",
        )
    writable_folder(site.store)
    found = package_versions()
    differing = [name for name, version in site.versions.items() if found.get(name) != version]
    if differing:
        raise UserError(
            expected=", ".join(f"{name} {site.versions[name]}" for name in differing),
            got=", ".join(f"{name} {found.get(name)}" for name in differing),
            where=where,
            remedy="install the same versions everywhere; results would differ otherwise",
        )
    if not (site.files.folder / "config.json").is_file():
        raise UserError(
            expected=f"the model's files in {site.files.folder}",
            got="no such folder",
            where=where,
            remedy="keep the model (or HF_HOME) in a folder that all workers see under the same path",
        )
    return str(machine()["processor"])


def _executor(site: Site) -> Executor:
    """The process's executor for a site: the model is loaded once."""
    if site.probe + site.files.fingerprint not in _held:
        _held.clear()  # one model at a time
        check_worker(site)
        found = find_model(str(site.files.folder), store_root=site.store, show_progress=False)
        if found.fingerprint != site.files.fingerprint:
            raise UserError(
                expected=f"a model with the fingerprint {site.files.fingerprint[:16]}",
                got=found.fingerprint[:16],
                where=f"worker on {socket.gethostname()}: {site.files.folder}",
                remedy="give all workers the same files",
            )
        store = Store(site.store, on_damage=lambda line: None, made_with=made_with)
        _held[site.probe + site.files.fingerprint] = Executor(
            site.files, site.engine, store, lambda line: None
        )
    return _held[site.probe + site.files.fingerprint]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _appears(is_there: Callable[[], bool], timeout_s: float) -> bool:
    """Whether something becomes true in time."""
    end = time.monotonic() + timeout_s
    while not is_there():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


# --- in the main process -------------------------------------------------------------------------


class Workers:
    """The workers of one run; a context manager that lets them go at the end.

    Parameters
    ----------
    backend : Backend
    store : Store
    say : callable
        Told in a line who works.
    gigabytes : float
        Memory that one worker takes at most, in 10^9 bytes.
    n_batches_here : int
        Batches that this process computes at once.

    Raises
    ------
    UserError
        On entry, if the Dask scheduler or its workers cannot be used.
    """

    def __init__(
        self,
        backend: Backend,
        store: Store,
        say: Callable[[str], None],
        gigabytes: float = 0.0,
        n_batches_here: int = 1,
    ) -> None:
        self._backend, self._store, self._say = backend, store, say
        self._gigabytes, self._n_batches_here = gigabytes, n_batches_here
        self._exit = contextlib.ExitStack()
        self._client: Any = None
        self._n_workers = 1
        self._processors: set[str] = set()
        self._probe = f".probe-{uuid.uuid4().hex}"

    def __enter__(self) -> Self:
        if self._backend.name in ("threads", "serial"):
            return self
        with self._exit:  # undo what was begun if the rest fails
            write_text(self._store.root / self._probe, self._probe)
            self._exit.callback((self._store.root / self._probe).unlink, missing_ok=True)
            if self._backend.name == "dask":
                self._client = _connect(self._backend.scheduler)
                self._exit.callback(self._client.close, timeout=5)
                self._n_workers = _first_workers(self._client, self._backend.scheduler)
            else:
                self._n_workers = self._loky_jobs()
                self._exit.enter_context(manager_held_back())
                self._exit.callback(end_workers)
            self._exit = self._exit.pop_all()
        workers = "1 worker" if self._n_workers == 1 else f"{self._n_workers} workers"
        self._say(f"{self._backend.name}: {workers}")
        return self

    def __exit__(self, *error: Any) -> None:
        self._exit.__exit__(*error)

    def fan_out(self, files: ModelFiles, engine: Engine) -> FanOut | None:
        """What computes one model's units; None where the main thread does it itself."""
        if self._n_batches_here > 1:
            return Threads(
                lambda store, step: Executor(files, engine, store, self._say, each_step=step),
                lambda: Store(self._store.root, on_damage=self._store.on_damage, made_with=made_with),
                self._n_batches_here,
            )
        if self._backend.name in ("threads", "serial"):
            return None
        site = Site(
            files=replace(files, folder=files.folder.absolute()),
            engine=engine,
            store=self._store.root.absolute(),
            probe=self._probe,
            versions=package_versions(),
        )
        if self._client is not None:
            self._processors |= _checked(self._client, site)
        return lambda units: self._compute(site, units)

    def describe(self) -> dict[str, Any]:
        """Backend and workers, for the provenance."""
        found: dict[str, Any] = {"name": self._backend.name}
        if self._backend.name == "threads":
            found |= {"n_batches_at_once": self._n_batches_here}
        elif self._backend.name != "serial":
            found |= {"n_workers": self._n_workers}
        if self._client is not None:
            found |= {"processors": sorted(self._processors)}
        return found

    def _compute(self, site: Site, units: Sequence[Unit]) -> Iterator[Unit]:
        import joblib

        options: dict[str, Any] = {"backend": self._backend.name, "n_jobs": self._n_workers}
        if self._client is None:
            options["inner_max_num_threads"] = 1
        else:
            options |= {"client": self._client, "n_jobs": -1, "wait_for_workers_timeout": _WORKERS_S}
        # A tuple goes to the worker with its task. joblib would keep a larger object on one worker
        # of a Dask cluster, and lose it with that worker.
        calls = [joblib.delayed(compute_unit)((site, unit), i) for i, unit in enumerate(units)]
        with _in_one_line(self._backend), joblib.parallel_config(**options):
            parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="all")
            with contextlib.closing(parallel(calls)) as numbers:
                for number in numbers:
                    self._await(units[number])
                    yield units[number]

    def _await(self, unit: Unit) -> None:
        """Wait until the entry that a worker wrote is seen here."""
        if not _appears(lambda: self._store.has(unit.kind, unit.key), _VISIBLE_S):
            raise UserError(
                expected=f"the {unit.kind} entry that a worker wrote",
                got=f"nothing after {_VISIBLE_S:.0f} s",
                where=str(self._store.path(unit.kind, unit.key)),
                remedy="give --store a folder that this machine and all workers share",
            )

    def _loky_jobs(self) -> int:
        free = psutil.virtual_memory().available / 1e9
        if self._backend.n_jobs:
            wanted = self._backend.n_jobs * self._gigabytes
            if wanted > free:
                self._say(
                    f"{self._backend.n_jobs} workers may take {wanted:.1f} GB, {free:.1f} GB are free:"
                    " fewer --jobs or a smaller max_rows takes less"
                )
            return self._backend.n_jobs
        n_jobs = _n_processors()
        if self._gigabytes:
            n_jobs = max(1, min(n_jobs, int(0.8 * free / self._gigabytes)))
        return n_jobs


def _n_processors() -> int:
    """Processors that this process may use; OMP_NUM_THREADS, where it is set, says fewer."""
    import joblib

    allowed = os.environ.get("OMP_NUM_THREADS", "")
    n: int = joblib.cpu_count()
    return max(1, min(n, int(allowed))) if allowed.isdecimal() else n


def _connect(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError(
            expected="the package distributed",
            got=f"none ({error})",
            where="--backend dask",
            remedy="pip install 'phase7[dask]'",
        ) from error
    # Its log lines repeat in many lines what the error says in one.
    for name in ("distributed", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        return Client(address, timeout=_CONNECT_S, set_as_default=False)
    except Exception as error:  # from sockets, TLS, address parsing: each has its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UserError(
            expected="a Dask scheduler that answers",
            got=reason,
            where=f"--scheduler {address}",
            remedy="start one with `dask scheduler`, and check host and port",
        ) from error


def _first_workers(client: Any, address: str) -> int:
    """The number of workers, once there is one."""
    try:
        # A task rather than a wait: a cluster that adapts starts workers for tasks only.
        client.submit(int, pure=False).result(timeout=_WORKERS_S)
    except Exception as error:
        raise UserError(
            expected="at least one worker",
            got=f"none that did a task in {_WORKERS_S:.0f} s",
            where=f"--scheduler {address}",
            remedy=f"start workers with `dask worker {address}`",
        ) from error
    workers: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
    return len(workers)


def _checked(client: Any, site: Site) -> set[str]:
    """Check every worker that is there; one that comes later checks itself at its first unit."""
    try:
        found = client.run(check_worker, site, on_error="return")
    except Exception as error:  # the scheduler or a worker went away
        found = {"": error}
    for address, answer in found.items():
        if isinstance(answer, UserError):
            raise answer
        if isinstance(answer, BaseException):
            raise UserError(
                expected="a worker with the same phase7 installed",
                got=f"{type(answer).__name__}: {answer}"[:300],
                where=f"Dask worker {address}",
                remedy="install phase7 in the environment of the workers and of the scheduler",
            ) from answer
    return set(found.values())


@contextlib.contextmanager
def _in_one_line(backend: Backend) -> Iterator[None]:
    """Tell in one line what joblib's backends raise when workers are lost."""
    from concurrent.futures import BrokenExecutor, CancelledError

    lost: tuple[type[BaseException], ...] = (BrokenExecutor, CancelledError)
    if backend.name == "dask":
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        lost = (*lost, KilledWorker, FutureCancelledError, TimeoutError, OSError)
    try:
        with warnings.catch_warnings():
            # A loky worker that has grown is replaced between two units: nothing is lost.
            warnings.filterwarnings("ignore", message="A worker stopped while some jobs")
            yield
    except lost as error:
        remedy = "use fewer --jobs or a smaller max_rows"
        if backend.name == "dask":
            remedy = "see the logs of the scheduler and its workers"
        raise UserError(
            expected="workers that finish their units",
            got=f"{type(error).__name__}: {error}"[:300],
            where=f"--backend {backend.name}",
            remedy="a worker was killed, often for want of memory, or the connection was lost;"
            f" {remedy}, and run the same command again: finished entries are kept",
        ) from error
