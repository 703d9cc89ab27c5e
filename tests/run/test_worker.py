"""What a worker process checks before it computes: the store, the versions, the model."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from phase7.experiment.profile import Engine
from phase7.run import worker
from phase7.run.provenance import machine, package_versions
from phase7.run.units import Unit
from phase7.vocabulary.errors import UserError
from tests import tiny


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A workplace at which this process may work."""
    monkeypatch.setattr(worker, "appears", lambda is_there, timeout_s: is_there())
    files = tiny.load("llama").files
    store = tmp_path / "store"
    store.mkdir()
    (store / ".probe-1").write_text(".probe-1", encoding="utf-8")
    return worker.Workplace(
        files=files,
        engine=Engine(),
        store=store,
        probe=".probe-1",
        versions=package_versions(),
    )


def test_a_worker_at_the_right_place_tells_its_processor(place):
    assert worker.check_worker(place) == machine()["processor"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"probe": ".probe-2"}, "shared by all workers"),
        ({"store": Path("/nowhere/store")}, "shared by all workers"),
        ({"versions": {"torch": "1.0"}}, "expected torch 1.0, got torch 2"),
    ],
)
def test_a_worker_that_would_compute_something_else_refuses(place, changes, told):
    with pytest.raises(UserError, match=told) as caught:
        worker.check_worker(replace(place, **changes))
    assert "worker on" in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_a_worker_without_the_models_files_refuses(place):
    gone = replace(place, files=replace(place.files, folder=place.store / "gone"))
    with pytest.raises(UserError, match="the model's files"):
        worker.check_worker(gone)


def test_a_worker_with_other_weights_of_that_name_refuses(place, monkeypatch):
    monkeypatch.setattr(worker, "_held", {})
    other = replace(place, files=replace(place.files, fingerprint="0" * 64))
    with pytest.raises(UserError, match="fingerprint 0000"):
        worker.compute_units((other, (Unit(kind="capture", key={}, arguments=()),)), 0)


def test_a_users_error_survives_the_way_from_a_worker():
    error = UserError(expected="a", got="b", where="c", remedy="d")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), vars(again)) == (str(error), vars(error))
