"""Runs in several threads and processes: the serial run's bits, also when a worker is killed."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from phase7.cli import main
from phase7.run import cluster as dask_cluster
from phase7.run import worker
from phase7.run import workers as distribution
from phase7.run.backend import THREADS
from phase7.run.loky import manager_held_back
from phase7.run.units import Unit
from phase7.run.workers import Workers
from phase7.store import Store
from phase7.vocabulary.errors import UserError
from tests.run.small_project import OUTPUTS, PROFILE, REPOSITORY, arrays, assert_same_bits

RESULT = Path("results/small/patching/head_patching_model_gratitude.pkl")
EFFECTS = Path("store/effects/small.nc")


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def phase7(*options: str) -> list[str]:
    return [sys.executable, "-m", "phase7", "build", "small", "--report=docs/r.md", *options]


def command(folder: Path, *options: str, timeout_s: float = 200) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        phase7("--quiet", *options), cwd=folder, env=environment(), capture_output=True, text=True,
        timeout=timeout_s, check=False,
    )  # fmt: skip


def plain(value):
    """A result without what tells of the run rather than of the model."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in sorted(value.items()) if k != "provenance"}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return (str(value.dtype), value.tobytes()) if isinstance(value, np.ndarray) else value


def assert_same_results(first: Path, second: Path) -> dict:
    """Compare effects and pickles; return the second run's provenance."""
    assert_same_bits(arrays(first / EFFECTS), arrays(second / EFFECTS))
    one, other = (pickle.loads((folder / RESULT).read_bytes()) for folder in (first, second))
    assert repr(plain(one)) == repr(plain(other))
    entries = [
        {p.relative_to(folder) for p in (folder / "store" / "memo").rglob("*.safetensors")}
        for folder in (first, second)
    ]
    assert entries[0] == entries[1]  # no backend in any key
    return other["provenance"]


@pytest.mark.slow
def test_threads_give_the_serial_runs_bits(built, project):
    assert main(["build", "small", "--quiet", "--jobs=3"]) == 0
    provenance = assert_same_results(built, project)
    assert provenance["backend"] == {"name": "threads", "n_batches_at_once": 3}


@pytest.mark.slow
def test_loky_gives_the_serial_runs_bits(built, project):
    done = command(project, "--backend=loky", "--jobs=2")
    assert done.returncode == 0, done.stderr
    provenance = assert_same_results(built, project)
    assert provenance["backend"] == {"name": "loky", "n_workers": 2}
    assert not list((project / "store").glob(".probe*"))


@pytest.mark.slow
def test_the_comparison_can_fail(built, project):
    """Liveness: another seed gives other results."""
    profile = project / "data" / "profiles" / "small.toml"
    profile.write_text(PROFILE.replace("seed = 5", "seed = 6"), encoding="utf-8")
    assert command(project).returncode == 0
    with pytest.raises(AssertionError):
        assert_same_results(built, project)


def test_a_scheduler_that_does_not_answer_is_told_in_one_line(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    monkeypatch.setattr(dask_cluster, "CONNECT_S", 2.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody answers here
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        started = time.monotonic()
        code = main(["build", "small", "--quiet", "--backend=dask", f"--scheduler={address}"])
    assert (code, time.monotonic() - started < 25) == (2, True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert address in lines[0] and "dask scheduler" in lines[0]
    assert not (project / "results").exists()


def test_a_missing_distributed_is_told_with_its_extra(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(["build", "small", "--quiet", "--backend=dask", "--scheduler=tcp://x:1"]) == 2
    assert "pip install 'phase7[dask]'" in capsys.readouterr().err


def test_an_entry_that_never_appears_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(distribution, "appears", lambda is_there, timeout_s: is_there())
    workers = Workers(THREADS, Store(tmp_path), lambda line: None)
    unit = Unit(kind="capture", key={"a": 1}, arguments=())
    with pytest.raises(UserError, match="the capture entry that a worker wrote"):
        workers._await(unit)


@pytest.mark.parametrize("end", [None, KeyboardInterrupt, ValueError])
def test_what_lokys_thread_raises_is_told_unless_the_run_is_stopped(monkeypatch, end):
    told: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(args.thread.name))

    def fail() -> None:
        raise KeyError(16)

    with contextlib.suppress(KeyboardInterrupt, ValueError), manager_held_back():
        for name in ("ExecutorManagerThread", "another"):
            thread = threading.Thread(target=fail, name=name)
            thread.start()
            thread.join()
        assert told == ["another"]
        if end:
            raise end
    assert told == (["another"] if end is KeyboardInterrupt else ["another", "ExecutorManagerThread"])


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["threads", "loky"])
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_with_workers_in_one_line_and_nothing_is_lost(
    built, project, backend, sent, code
):
    run = subprocess.Popen(
        phase7("--quiet", f"--backend={backend}", "--jobs=2"), cwd=project, env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        # A shell in the background has its commands ignore SIGINT, and a child inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    memo = project / "store" / "memo" / "generation"
    deadline = time.monotonic() + 150
    while not list(memo.rglob("*.safetensors")):
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    processes = psutil.Process(run.pid).children(recursive=True)
    run.send_signal(sent)
    _, told = run.communicate(timeout=60)
    assert run.returncode == code, told
    assert len(told.splitlines()) == 1 and "Traceback" not in told
    assert "same command" in told
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert not alive
    assert command(project).returncode == 0
    assert_same_results(built, project)


@pytest.mark.slow
def test_a_patch_in_several_processes_gives_the_serial_ones_bits(built, tmp_path):
    results = {}
    for backend in (["--backend=serial"], ["--backend=loky", "--jobs=2"]):
        folder = tmp_path / backend[0][10:]
        shutil.copytree(built, folder, ignore=shutil.ignore_patterns(*OUTPUTS))
        done = subprocess.run(
            [sys.executable, "-m", "phase7", "patch", "--quiet", "--model=model", "--head-spec=0:1,1:2",
             "--neutral-prompts=data/neutral_prompts.json", "--max-tokens=6", "--output=out/x.pkl",
             "--emotion-prompts=data/gratitude_prompts.json", "--scorers=vader,keywords", *backend],
            cwd=folder, env=environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        results[folder.name] = pickle.loads((folder / "out" / "x.pkl").read_bytes())
    one, other = (repr(plain(result)) for result in results.values())
    assert one == other and len(results) == 2


# --- a real cluster ------------------------------------------------------------------------------


def batches_computed_here() -> int:
    """Runs in a worker."""
    return sum(one._store.n_computed.get("generation", 0) for one in worker._held.values())


class Cluster:
    """A Dask scheduler and workers as processes of their own, without nannies that replace them."""

    def __init__(self, folder: Path, n_workers: int) -> None:
        self._folder = folder
        folder.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{port}"
        self.processes = [
            self._start("scheduler", "--host=127.0.0.1", f"--port={port}", "--no-dashboard")
        ]
        for i in range(n_workers):
            self.processes.append(
                self._start(
                    "worker",
                    self.address,
                    "--no-nanny",
                    "--nthreads=1",
                    "--no-dashboard",
                    f"--name=w{i}",
                )
            )

    @property
    def workers(self) -> list[subprocess.Popen]:
        return self.processes[1:]

    def _start(self, *arguments: str) -> subprocess.Popen:
        log = (self._folder / f"{arguments[0]}-{time.monotonic_ns()}.log").open("w")
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments], cwd=self._folder, env=environment(),
            stdout=log, stderr=log,
        )  # fmt: skip

    def computing(self) -> dict[str, list[str]]:
        """For each worker's name, the tasks that it is computing now."""
        from distributed import Client

        with Client(self.address, timeout=20, set_as_default=False) as client:
            names = {a: w["name"] for a, w in client.scheduler_info(n_workers=-1)["workers"].items()}
            return {names[a]: list(tasks) for a, tasks in client.processing().items() if a in names}

    def computed(self) -> list[int]:
        """How many batches each worker has computed so far."""
        from distributed import Client

        with Client(self.address, timeout=20, set_as_default=False) as client:
            return list(client.run(batches_computed_here).values())

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path / "cluster", 2)
    yield made
    made.stop()


@pytest.mark.slow
def test_a_dask_worker_killed_midway_changes_no_bit(built, project, cluster):
    log = (project / "log").open("w")
    run = subprocess.Popen(
        phase7("--quiet", "--backend=dask", f"--scheduler={cluster.address}"),
        cwd=project, env=environment(), stdout=log, stderr=log,
    )  # fmt: skip
    victim = psutil.Process(cluster.workers[0].pid)
    memo = project / "store" / "memo" / "generation"
    try:
        deadline = time.monotonic() + 150
        while min(computed := cluster.computed(), default=0) < 1 or len(computed) < 2:
            assert run.poll() is None and time.monotonic() < deadline, (project / "log").read_text()
            time.sleep(0.005)
        victim.suspend()  # it cannot finish what it computes now
        n_before = len(list(memo.rglob("*.safetensors")))
        busy = {name: tasks for name, tasks in cluster.computing().items() if tasks}
        cluster.workers[0].send_signal(signal.SIGKILL)
        cluster.workers[0].wait()
        assert run.poll() is None  # it died before the end
        assert "w0" in busy and any("compute_unit" in task for task in busy["w0"])
        assert run.wait(timeout=150) == 0, (project / "log").read_text()
    finally:
        run.kill()
        run.wait()
    n_after = len(list(memo.rglob("*.safetensors")))
    assert 2 <= n_before < n_after
    assert cluster.workers[0].returncode == -signal.SIGKILL
    assert cluster.workers[1].poll() is None
    provenance = assert_same_results(built, project)
    assert provenance["backend"]["name"] == "dask"
    assert provenance["backend"]["n_workers"] == 2
