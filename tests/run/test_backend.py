"""The options of a backend: those that do not go together are refused, the others give a number of batches."""

from __future__ import annotations

import pytest

from phase7.experiment.profile import Engine
from phase7.run import backend
from phase7.run.backend import Backend
from phase7.run.memory import Footprint
from phase7.vocabulary.errors import UserError


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"name": "dask"}, "--scheduler"),
        ({"name": "loky", "scheduler": "tcp://host:1"}, "--backend dask"),
        ({"name": "serial", "n_jobs": 2}, "--jobs"),
        ({"n_jobs": -1}, "--jobs"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, told):
    with pytest.raises(UserError, match=told):
        Backend(**options)


SMALL = Footprint(fixed_bytes=1, bytes_per_row=1)


@pytest.mark.parametrize(
    ("options", "device", "n"),
    [
        ({}, "cpu", 5),
        ({"n_jobs": 3}, "cpu", 3),
        ({"n_jobs": 3}, "cuda", 1),
        ({"name": "serial"}, "cpu", 1),
        ({"name": "loky", "n_jobs": 3}, "cpu", 1),
        ({"name": "dask", "scheduler": "tcp://host:1"}, "cpu", 1),
    ],
)
def test_only_threads_on_a_processor_compute_several_batches_here(monkeypatch, options, device, n):
    monkeypatch.setattr(backend, "n_processors", lambda: 5)
    engine = Engine(device=device, max_rows=32)
    assert Backend(**options).batches_here([SMALL], engine) == n


def test_the_environment_lowers_the_number_of_processors_and_never_raises_it(monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 6)
    for told, n in (("2", 2), ("600", 6), ("0", 1), ("many", 6), ("", 6)):
        monkeypatch.setenv("OMP_NUM_THREADS", told)
        assert backend.n_processors() == n
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert backend.n_processors() == 6
