"""The connection to a running Dask cluster: find the scheduler, wait for a worker, check the workers.

Whatever goes wrong on the way (no scheduler, no worker, another installation) is a
:class:`~phase7.vocabulary.errors.UserError` of one line.
"""

from __future__ import annotations

import logging
from typing import Any

from phase7.run.worker import Workplace, check_worker
from phase7.vocabulary.errors import UserError

CONNECT_S = 10.0
WORKERS_S = 60.0  # how long to wait for the first worker


def connect(address: str) -> Any:
    """A client of the scheduler.

    Raises
    ------
    UserError
        If Dask's package ``distributed`` is missing or no scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError(
            expected="the package distributed",
            got=f"none ({error})",
            where="--backend dask",
            remedy="pip install 'phase7[dask]'",
        ) from error
    # Its log says in many lines what the error below says in one.
    for name in ("distributed", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        return Client(address, timeout=CONNECT_S, set_as_default=False)
    except Exception as error:  # from sockets, TLS, address parsing: each has its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UserError(
            expected="a Dask scheduler that answers",
            got=reason,
            where=f"--scheduler {address}",
            remedy="start one with `dask scheduler`, and check host and port",
        ) from error


def first_workers(client: Any, address: str) -> int:
    """Wait for the first worker; the number of workers there are then.

    Raises
    ------
    UserError
        If no worker has done a task in time.
    """
    try:
        # A task, not a mere wait: an adaptive cluster starts workers only for tasks.
        client.submit(int, pure=False).result(timeout=WORKERS_S)
    except Exception as error:
        raise UserError(
            expected="at least one worker",
            got=f"none that did a task in {WORKERS_S:.0f} s",
            where=f"--scheduler {address}",
            remedy=f"start workers with `dask worker {address}`",
        ) from error
    workers: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
    return len(workers)


def check_workers(client: Any, place: Workplace) -> set[str]:
    """Check every worker there is; one that joins later checks itself before its first unit.

    Returns
    -------
    set of str
        The workers' processors.

    Raises
    ------
    UserError
        If a worker cannot do the work or would do it differently.
    """
    try:
        found = client.run(check_worker, place, on_error="return")
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
