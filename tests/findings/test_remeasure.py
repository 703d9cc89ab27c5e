"""A user's own metric on stored texts, and a user's own scorer by its import path."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

import phase7.accessor  # noqa: F401
from phase7.scoring.choose import choose_scorers
from phase7.statistics import paired_summary
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.metrics import METRICS
from tests.report.synthetic import Spec, tree

SPEC = Spec(planted=("1:2",), seed=3)


@pytest.fixture(scope="module")
def made() -> xr.DataTree:
    return tree(SPEC)


def test_the_numbers_are_the_paired_tests_of_the_stored_texts(made):
    group = made["tiny/gratitude"]
    own = group.phase7.measure("n_chars", len)
    texts = group["texts"].to_dataset().sel(prompt=group["texts"].split == "confirmation")
    for head_set in ("1:2", "1:2,3:0"):
        cell = texts.sel(head_set=head_set, mode="v_only")
        patched, control = (
            np.vectorize(len)(cell[name].values.astype(object)).mean(axis=1)
            for name in ("patched_text", "control_text")
        )
        summary = paired_summary((patched - control)[np.newaxis], seed=7)
        here = own.sel(head_set=head_set, mode="v_only", metric="n_chars")
        assert float(here.net_delta) == pytest.approx((patched - control).mean())
        assert float(here.net_p_value) == summary.p_value[0]
        assert float(here.net_ci_low) == summary.ci_low[0]
        assert int(here.n_prompts) == SPEC.n_confirmation
    assert len(own.phase7.top_heads("n_chars", 99, mode="all")) == 4 * 3


def test_a_constant_moves_nothing_and_a_marker_of_patched_texts_does(made):
    group = made["tiny/gratitude"]
    flat = group.phase7.measure("flat", lambda text: 1.0)
    assert not flat.net_delta.any() and (flat.net_p_value == 1.0).all()
    texts = group["texts"].to_dataset()
    only_patched = set(texts.patched_text.values.ravel()) - set(texts.control_text.values.ravel())
    only_patched -= set(texts.baseline_text.values.ravel())
    marked = group.phase7.measure("marked", lambda text: float(text in only_patched))
    assert (marked.net_delta > 0.3).all() and (marked.net_q_value < 0.05).all()


def test_each_text_is_scored_once_and_nan_is_not_measured(made):
    asked: list[str] = []

    def score(text: str) -> float:
        asked.append(text)
        return float("nan")

    own = made["tiny/gratitude"].phase7.measure("nothing", score)
    assert len(asked) == len(set(asked)) > 10
    assert own.delta.isnull().all() and own.phase7.top_heads("nothing").empty


def test_without_a_control_there_is_no_net_effect():
    own = tree(replace(SPEC, control=False))["tiny/gratitude"].phase7.measure("n_chars", len)
    assert own.net_delta.isnull().all() and own.delta.notnull().all()


@pytest.mark.parametrize("given", [None, "many", float("inf")])
def test_a_function_that_gives_no_number_is_refused(made, given):
    with pytest.raises(UserError, match="expected a finite number, or NaN"):
        made["tiny/gratitude"].phase7.measure("bad", lambda text: given)


def test_a_node_without_texts_is_refused(made):
    with pytest.raises(UserError, match="expected a group with its texts"):
        made.phase7.measure("n_chars", len)


SCORER = """
import numpy as np
class Loud:
    name, version, metrics = "loud", "1", ("politeness",)
    def score(self, texts):
        return {"politeness": np.array([float(text.isupper()) for text in texts])}
    def describe(self):
        return {"name": "loud", "version": "1", "metrics": ["politeness"], "description": "capitals",
                "quality": {}}
class Other(Loud):
    metrics = ("loudness",)
made = Loud()
broken = 3
def breaks():
    raise RuntimeError("no weights")
"""


@pytest.fixture
def module(tmp_path, monkeypatch) -> str:
    (tmp_path / "own_scorer_for_a_test.py").write_text(SCORER, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return "own_scorer_for_a_test"


@pytest.mark.parametrize("attribute", ["Loud", "made"])
def test_a_scorer_comes_by_its_import_path(module, attribute, tmp_path):
    own, keywords = choose_scorers(
        [f"{module}:{attribute}", "keywords"], root=tmp_path, store_root=tmp_path
    )
    assert own.score(["A", "a"])["politeness"].tolist() == [1.0, 0.0]
    assert keywords.name == "keywords" and json.dumps(own.describe())


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("Nobody", "expected module:attribute of a scorer"),
        ("breaks", "RuntimeError: no weights"),
        ("broken", "TypeError"),
        ("Other", "expected some of the 35 metrics, got loudness"),
    ],
)
def test_what_is_no_scorer_is_refused_in_a_line(module, attribute, message, tmp_path):
    with pytest.raises(UserError, match=message):
        choose_scorers([f"{module}:{attribute}"], root=tmp_path, store_root=tmp_path)
    with pytest.raises(UserError, match="without name, version, metrics, score, describe"):
        choose_scorers(["json:JSONDecoder"], root=tmp_path, store_root=tmp_path)
    assert "loudness" not in METRICS


def test_own_scorer_may_not_measure_what_another_does(module, tmp_path):
    with pytest.raises(UserError, match="expected one scorer for each metric"):
        choose_scorers(["embedded", f"{module}:Loud"], root=tmp_path, store_root=tmp_path)
