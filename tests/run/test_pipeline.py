"""A run that is made has done nothing yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from phase7.experiment.profile import Profile
from phase7.run import pipeline
from phase7.run.paths import build_paths
from phase7.run.pipeline import Run
from phase7.vocabulary.errors import UserError

PROFILE = Profile(name="p", models=("gpt2",), emotions=("gratitude",))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run on which everything that does work is recorded."""
    did: list[str] = []
    for name in ("read_prompts", "fetch_models", "choose_scorers", "read_sizes", "Store", "Executor"):

        def work(*args, name=name, **kwargs):
            did.append(name)
            raise UserError(expected="nothing", got=name, where="here", remedy="none")

        monkeypatch.setattr(pipeline, name, work)
    paths = build_paths(
        "p", root=Path(), store=tmp_path / "store", results=tmp_path / "r", report=tmp_path / "r.md"
    )
    return Run(PROFILE, paths, show_progress=False), did


def test_making_a_run_does_no_work(run, tmp_path):
    assert run[1] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "work"),
    [
        ("store", "Store"),
        ("prompts", "read_prompts"),
        ("models", "fetch_models"),
        ("scorers", "choose_scorers"),
        ("profile", "fetch_models"),
    ],
)
def test_each_part_is_made_when_it_is_first_asked_for(run, name, work):
    """Liveness: the work that is recorded above is the work that is done."""
    made, did = run
    with pytest.raises(UserError):
        getattr(made, name)
    assert did == [work]


def test_a_run_begins_with_the_store(run):
    made, did = run
    with pytest.raises(UserError):
        made.execute()
    assert did == ["Store"]
