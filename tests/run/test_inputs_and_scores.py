"""What a run takes to be done already: the memo of scores, and the digest of everything that goes in.

The model is a folder with a configuration and no weights; nothing is generated.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from phase7.experiment.declared import Answer, Circuit, Screen
from phase7.run import record
from phase7.run.pipeline import Run
from phase7.scoring.memo import score_through_store
from phase7.vocabulary.metrics import METRICS
from tests.run import made_up
from tests.run.made_up import COUNTING, PROFILE, Counting, run, write_prompts
from tests.stages import BY_READOUTS, NEED_READOUTS, OTHER_VALUES, changed


class Other(Counting):
    """One that measures another metric."""

    name, metrics = "other", ("sentiment_positive",)


OTHER = f"{__name__}:Other"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The made-up project, as the current directory."""
    made_up.fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- the digest of what goes in ------------------------------------------------------------------


def digest(made: Run) -> str:
    """What a run compares with the last run's record."""
    return record.inputs_digest(made._given, made._lang, made.prompts, made.models, made.scorers)


SETTINGS = [f"{section}.{name}" for section, values in OTHER_VALUES.items() for name in values]
TOP = {
    "name": "renamed",
    "models": ("second",),
    "emotions": ("anger",),
    "scorers": (COUNTING, OTHER),
    "sweep": None,
    "answer": Answer(),
    "circuit": Circuit(),
    "screen": Screen(),
}


def test_the_same_inputs_have_the_same_digest(project):
    assert digest(run(project)) == digest(run(project))


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_goes_into_the_digest(project, setting):
    """`stages.OTHER_VALUES` has every setting of every section."""
    section, _, name = setting.partition(".")
    base = PROFILE
    if setting in NEED_READOUTS:
        base = replace(
            PROFILE, readouts=BY_READOUTS.readouts, statistics=BY_READOUTS.statistics
        )  # fmt: skip
    if setting == "confirm.write":  # of no use without a strength
        base = changed("confirm", base, strengths=(1.0,))
    if setting == "sweep.halving":  # of read-outs alone
        base = changed("sweep", base, text=False)
    found = [digest(run(project, base))]
    for value in OTHER_VALUES[section][name]:
        found.append(digest(run(project, changed(section, base, **{name: value}))))
    assert len(set(found)) == len(found)


def test_every_setting_outside_the_sections_goes_into_the_digest(project):
    assert {*TOP, *OTHER_VALUES} == set(PROFILE.as_dict())
    found = [digest(run(project))]
    for name, value in TOP.items():
        by_readouts = name in ("answer", "circuit", "screen")
        base = BY_READOUTS if by_readouts else PROFILE
        found.append(digest(run(project, replace(base, **{name: value}))))
    assert len({*found, digest(run(project, BY_READOUTS))}) == len(found) + 1


def test_what_stands_in_the_files_goes_into_the_digest(project):
    found = [digest(run(project))]
    write_prompts(project, "neutral", ["something else", "neutral 1", "neutral 2"])
    found.append(digest(run(project)))
    write_prompts(project, "gratitude", ["gratitude 0"])
    found.append(digest(run(project)))
    (project / "made-up" / "model.safetensors").write_bytes(b"others!")
    found.append(digest(run(project)))
    assert len(set(found)) == len(found)


def test_the_reports_language_goes_into_the_digest(project):
    assert digest(run(project, lang="en")) != digest(run(project, lang="ja"))


def test_a_scorers_version_goes_into_the_digest(project, monkeypatch):
    before = digest(run(project))
    monkeypatch.setattr(Counting, "version", "2")
    assert digest(run(project)) != before


@pytest.mark.parametrize("version", ["ENGINE_VERSION", "ANALYSIS_VERSION"])
def test_versions_of_the_computation_go_into_the_digest(project, monkeypatch, version):
    before = digest(run(project))
    monkeypatch.setattr(record, version, 10_000)
    assert digest(run(project)) != before


def test_how_the_machine_bounds_its_batches_does_not(project, monkeypatch):
    """`max_rows` 0 leaves them to the free memory, and the outputs do not depend on it."""
    profile = changed("engine", PROFILE, max_rows=0)
    found = set()
    for free in (2**40, 2**20):
        memory = type("Memory", (), {"available": free})
        monkeypatch.setattr("psutil.virtual_memory", lambda memory=memory: memory)
        made = run(project, profile)
        found.add((made.profile.engine.max_rows, digest(made)))
    assert len({rows for rows, _ in found}) == 2 and len({one for _, one in found}) == 1


# --- the memo of scores --------------------------------------------------------------------------


def scores(made: Run, texts: list[str]) -> dict[str, Any]:
    """Scores by text, from the store or made."""
    return score_through_store(made.scorers, texts, made.store)


def test_texts_that_were_scored_are_not_scored_again(project):
    texts = ["a", "bb", "ccc"]
    first = run(project)
    found = scores(first, texts)
    (scorer,) = first.scorers
    assert scorer.asked == [("a", "bb", "ccc")]
    again = run(project)
    kept = scores(again, texts)
    (scorer,) = again.scorers
    assert scorer.asked == []
    politeness = METRICS.index("politeness")
    for table in (found, kept):
        assert [table[text][politeness] for text in texts] == [1.0, 2.0, 3.0]
        assert np.isnan(np.delete(table["a"], politeness)).all()


def test_other_texts_are_scored(project):
    made = run(project)
    scores(made, ["a", "bb"])
    assert scores(made, ["a", "cc"]).keys() == {"a", "cc"}
    assert scores(made, ["a"]).keys() == {"a"}
    (scorer,) = made.scorers
    assert scorer.asked == [("a", "bb"), ("a", "cc"), ("a",)]


def test_another_version_of_a_scorer_scores_again(project, monkeypatch):
    politeness = METRICS.index("politeness")
    assert scores(run(project), ["aaa"])["aaa"][politeness] == 3.0
    monkeypatch.setattr(Counting, "version", "2")
    assert scores(run(project), ["aaa"])["aaa"][politeness] == 6.0


def test_other_scorers_score_again(project, monkeypatch):
    first = scores(run(project), ["a"])["a"]
    both = scores(run(project, replace(PROFILE, scorers=(COUNTING, OTHER))), ["a"])["a"]
    alone = scores(run(project, replace(PROFILE, scorers=(OTHER,))), ["a"])["a"]
    names = ("politeness", "sentiment_positive")
    measured = [
        [bool(~np.isnan(one[METRICS.index(name)])) for name in names] for one in (first, both, alone)
    ]
    assert measured == [[True, False], [True, True], [False, True]]
    monkeypatch.setattr(Counting, "name", "renamed")
    renamed = run(project)
    scores(renamed, ["a"])
    assert renamed.scorers[0].asked == [("a",)]
