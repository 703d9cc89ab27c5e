"""Where a run computes, as the user chose: in this process, in several of them, or on a Dask cluster.

:class:`Backend` checks that the options go together, so that a wrong combination is refused before
anything is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from phase7.experiment.profile import Engine
from phase7.run.memory import Footprint, choose_batches_at_once
from phase7.vocabulary.errors import UserError

BackendName = Literal["threads", "serial", "loky", "dask"]


@dataclass(frozen=True, kw_only=True)
class Backend:
    """How a run is distributed. It changes how long a run takes, and neither keys nor results.

    Attributes
    ----------
    name : {"threads", "serial", "loky", "dask"}
        This process with a batch on each processor or with one batch at a time, worker processes on
        this machine, or a Dask cluster.
    n_jobs : int
        Batches at once, for ``threads`` and ``loky``; 0 takes as many as the processors and the free
        memory allow.
    scheduler : str
        Address of a running Dask scheduler, e.g. ``tcp://host:8786``.

    Raises
    ------
    UserError
        If the options do not go together.
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

    def require_device(self, name: str) -> None:
        """Refuse a device that is not here before a model is fetched for it.

        A Dask cluster may have one that this machine lacks; its workers look for themselves.

        Raises
        ------
        UserError
            If torch has none of that name.
        """
        if self.name != "dask" and name != "cpu":
            from phase7.engine.model.loading import device_of

            device_of(name)

    def batches_here(self, footprints: Sequence[Footprint], engine: Engine) -> int:
        """How many batches this process computes at once."""
        if self.name != "threads" or engine.device != "cpu":
            return 1
        return self.n_jobs or choose_batches_at_once(footprints, engine.max_rows, n_processors())


#: What is taken where nothing is said.
THREADS = Backend()


def n_processors() -> int:
    """How many processors this process may use; OMP_NUM_THREADS, where it is set, can lower that."""
    import joblib

    allowed = os.environ.get("OMP_NUM_THREADS", "")
    n: int = joblib.cpu_count()
    return max(1, min(n, int(allowed))) if allowed.isdecimal() else n
