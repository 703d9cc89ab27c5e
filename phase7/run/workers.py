"""The main process's side of a run in several threads or processes: who computes what the store lacks.

joblib's backends hand the units to worker processes (:mod:`phase7.run.worker`), which write the entries
into the shared store; nothing but units and a number travels. Wherever a unit is computed, torch uses
a single thread for it, because the last bits of a result can depend on the number of threads.
"""

from __future__ import annotations

import contextlib
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

import psutil

from phase7.experiment.profile import Engine
from phase7.models.files import ModelFiles
from phase7.run.backend import Backend, n_processors
from phase7.run.cluster import WORKERS_S, check_workers, connect, first_workers
from phase7.run.executor import Executor
from phase7.run.loky import end_workers, manager_held_back
from phase7.run.provenance import made_with, package_versions
from phase7.run.threads import Threads
from phase7.run.together import side_by_side
from phase7.run.units import FanOut, Unit
from phase7.run.worker import Workplace, appears, compute_units
from phase7.store import Store, write_text
from phase7.vocabulary.errors import UserError

_VISIBLE_S = 60.0  # a network file system may cache a folder for a minute and show a new file late


class Workers:
    """The workers of one run; a context manager that lets them go at the end.

    Parameters
    ----------
    backend : Backend
    store : Store
    say : callable
        Called with a line that says who works.
    gigabytes : float
        The most memory that one worker takes, in 10^9 bytes.
    n_batches_here : int
        How many batches this process computes at once.

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
                self._client = connect(self._backend.scheduler)
                self._exit.callback(self._client.close, timeout=5)
                self._n_workers = first_workers(self._client, self._backend.scheduler)
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
        """A function that computes one model's units, or None where the main thread does so itself."""
        if self._n_batches_here > 1:
            return Threads(
                lambda store, step: Executor(files, engine, store, self._say, each_step=step),
                lambda: Store(self._store.root, on_damage=self._store.on_damage, made_with=made_with),
                self._n_batches_here,
            )
        if self._backend.name in ("threads", "serial"):
            return None
        place = Workplace(
            files=replace(files, folder=files.folder.absolute()),
            engine=engine,
            store=self._store.root.absolute(),
            probe=self._probe,
            versions=package_versions(),
        )
        if self._client is not None:
            self._processors |= check_workers(self._client, place)
        return lambda units: self._compute(place, units)

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

    def _compute(self, place: Workplace, units: Sequence[Unit]) -> Iterator[Unit | int]:
        import joblib

        options: dict[str, Any] = {"backend": self._backend.name, "n_jobs": self._n_workers}
        if self._client is None:
            options["inner_max_num_threads"] = 1
        else:
            options |= {"client": self._client, "n_jobs": -1, "wait_for_workers_timeout": WORKERS_S}
        # A tuple goes to the worker with its task. joblib would keep a larger object on one worker
        # of a Dask cluster, and lose it with that worker.
        groups = side_by_side(units, place.engine.max_rows, self._n_workers)
        calls = [joblib.delayed(compute_units)((place, group), i) for i, group in enumerate(groups)]
        with _in_one_line(self._backend), joblib.parallel_config(**options):
            parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="all")
            with contextlib.closing(parallel(calls)) as numbers:
                for unit in (unit for number in numbers for unit in groups[number]):
                    self._await(unit)
                    yield unit

    def _await(self, unit: Unit) -> None:
        """Wait until this process sees the entry that a worker wrote."""
        if not appears(lambda: self._store.has(unit.kind, unit.key), _VISIBLE_S):
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
        n_jobs = n_processors()
        if self._gigabytes:
            n_jobs = max(1, min(n_jobs, int(0.8 * free / self._gigabytes)))
        return n_jobs


@contextlib.contextmanager
def _in_one_line(backend: Backend) -> Iterator[None]:
    """Turn what joblib's backends raise when workers are lost into an error of one line."""
    from concurrent.futures import BrokenExecutor, CancelledError

    lost: tuple[type[BaseException], ...] = (BrokenExecutor, CancelledError)
    if backend.name == "dask":
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        lost = (*lost, KilledWorker, FutureCancelledError, TimeoutError, OSError)
    try:
        with warnings.catch_warnings():
            # loky replaces a worker whose memory has grown, between two units: nothing is lost.
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
            remedy="a worker was killed, often for lack of memory, or the connection was lost;"
            f" {remedy}, and run the same command again: finished entries are kept",
        ) from error
